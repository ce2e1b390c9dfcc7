"""What a device is, and what a number about it is worth.

Profiles (`load_target`), evidence tiers and budgets, cost models, and the harnesses that time what
they are handed. Everything above this room speaks these words.
"""

from .engines import engine_of, first_engine
from .errors import (
    MeasurementError,
    MissingToolError,
    NoCostTableError,
    ProfileError,
    TargetError,
    UnknownTargetError,
    UnsupportedOperatorError,
)
from .estimate import estimate_latency, footprint
from .evidence import Budget, BudgetCheck, Estimate, Footprint, Tier
from .fit import Sample, fit_cost_table
from .measure import Measurement, measure_callable
from .npu import Npu
from .profile_text import profile_text
from .profiles import check_profile_path, list_targets, load_target, read_profile
from .target import CostTable, Evidence, Memory, OpCost, Runtime, Target
from .workload import LayerWork, Workload

__all__ = [
    "Budget",
    "BudgetCheck",
    "CostTable",
    "Estimate",
    "Evidence",
    "Footprint",
    "LayerWork",
    "Measurement",
    "MeasurementError",
    "Memory",
    "MissingToolError",
    "NoCostTableError",
    "Npu",
    "OpCost",
    "ProfileError",
    "Runtime",
    "Sample",
    "Target",
    "TargetError",
    "Tier",
    "UnknownTargetError",
    "UnsupportedOperatorError",
    "Workload",
    "check_profile_path",
    "engine_of",
    "estimate_latency",
    "first_engine",
    "fit_cost_table",
    "footprint",
    "list_targets",
    "load_target",
    "measure_callable",
    "profile_text",
    "read_profile",
]
