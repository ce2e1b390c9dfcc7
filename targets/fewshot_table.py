"""`few_shot_table`: a cost table of a device from the times of 10 to 20 models on it.

So few times carry few costs, so operators share them: one for a run, one for a call, one for a
multiply-accumulate (MAC) of convolutions and products, one for a MAC of depthwise convolutions,
which are bound by memory, and one for a byte of all the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .errors import MeasurementError
from .evidence import Tier
from .fewshot import FewShot, fit_few_shot
from .target import CostTable, OpCost
from .workload import Workload

FloatArray = npt.NDArray[np.float64]

PRODUCTS = ("conv2d", "fully_connected", "transpose_conv2d", "batch_matmul")
DEPTHWISE = "depthwise_conv2d"
FREE = "reshape"  # its output is its input's memory


def few_shot_table(
    readings: Mapping[str, Sequence[Workload]],
    times_ms: Sequence[float],
    ops: Collection[str],
    engine: str,
    evidence_id: str,
) -> tuple[CostTable, FewShot]:
    """The table (T4) that prices `ops`, and the fit that it is made of.

    `readings` are the same models as different engines would execute them, by rule; the table is
    that of the rule that predicts best what was left out.

    Raises:
        MeasurementError: too few models, models of two dtypes, a time that is not above 0, or more
            than half of the models without a multiply-accumulate.
    """
    dtypes = {work.dtype for works in readings.values() for work in works}
    if len(dtypes) != 1:
        found = ", ".join(sorted(dtypes)) or "none"
        raise MeasurementError(f"models of one dtype make a table, these are {found}")
    views = {rule: _design(works) for rule, works in readings.items()}
    fitted = fit_few_shot(views, np.asarray(times_ms, np.float64) * 1e3)
    best = fitted.best
    run_us, call_us, product, depthwise, other = (float(x) for x in best.coefficients)
    costs = {op: OpCost(call_us, 0.0, other) for op in sorted(ops)}
    costs |= {op: OpCost(call_us, product, 0.0) for op in PRODUCTS if op in costs}
    costs |= {op: OpCost(call_us, depthwise, 0.0) for op in (DEPTHWISE,) if op in costs}
    costs |= {op: OpCost(0.0, 0.0, 0.0) for op in (FREE,) if op in costs}
    table = CostTable(
        ops=costs,
        engine=engine,
        dtype=dtypes.pop(),
        tier=Tier.T4,
        evidence_id=evidence_id,
        low_ratio=fitted.low_ratio,
        high_ratio=fitted.high_ratio,
        per_run_us=run_us,
        samples=len(times_ms),
        heldout_median_ape=float(np.median(np.abs(1 / np.array(fitted.heldout_ratios) - 1))),
        heldout_ratios=fitted.heldout_ratios,
    )
    return table, fitted


def _design(works: Sequence[Workload]) -> FloatArray:
    """(models, 5): one, calls, thousands of MACs twice, thousands of bytes."""
    return np.array([_row(work) for work in works])


def _row(work: Workload) -> tuple[float, ...]:
    products = sum(layer.macs for layer in work.layers if layer.op in PRODUCTS)
    depthwise = sum(layer.macs for layer in work.layers if layer.op == DEPTHWISE)
    weighted = (*PRODUCTS, DEPTHWISE, FREE)
    others = sum(layer.bytes_moved for layer in work.layers if layer.op not in weighted)
    calls = sum(layer.op != FREE for layer in work.layers)
    return (1.0, calls, products / 1e3, depthwise / 1e3, others / 1e3)
