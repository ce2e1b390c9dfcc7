"""What devices with one core share: `cores/NAME.toml`, which a profile names with `extends`.

Cost tables there are in instructions (counted under emulation) or cycles (fitted to published
times at known clocks), so that every device with that core shares them: its clock makes them into
time, instructions through its cycles per instruction. A device that has no such figure gets no
table of that kind: its latency is not known. (The module is not called cores.py, because mypy would
take the folder for it.)
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .errors import ProfileError
from .evidence import Tier
from .profile_schema import (
    CoreCostsPart,
    CoreFile,
    CoreOpCostPart,
    CostsPart,
    core_problem,
    explain,
)
from .target import CostTable, OpCost, Tile

CORES_FOLDER = Path(__file__).with_name("cores")
_DIGITS = 6  # of a cost, as profiles are written


@dataclass(frozen=True, slots=True)
class Core:
    """The file of a core: its tables as data, and its bytes, which a device's digest covers."""

    file: CoreFile
    document: dict[str, object]
    data: bytes


def core_names() -> tuple[str, ...]:
    """What `extends` may name."""
    return tuple(sorted(path.stem for path in CORES_FOLDER.glob("*.toml")))


@functools.cache
def read_core(name: str) -> Core:
    """The core of that name.

    Raises:
        ProfileError: there is none of that name, or its file breaks the schema.
    """
    if name not in core_names():
        raise ProfileError(f"key 'extends': no core '{name}'; allowed: {', '.join(core_names())}")
    path = CORES_FOLDER / f"{name}.toml"
    data = path.read_bytes()
    document = tomllib.loads(data.decode("utf-8"))
    try:
        file = msgspec.convert(document, CoreFile)
    except msgspec.ValidationError as error:
        raise ProfileError(f"core {path}: {explain(str(error))}") from error
    if problem := core_problem(file):
        raise ProfileError(f"core {path}: {problem}")
    return Core(file, document, data)


def cost_tables(
    core: Core, clock_hz: int, cycles_per_instruction: tuple[float, float, float] | None
) -> tuple[CostTable, ...]:
    """The core's tables in time at `clock_hz`, those that can be made into time."""
    tables = []
    for costs in core.file.costs:
        cpi = (1.0, 1.0, 1.0) if costs.unit == "cycles" else cycles_per_instruction
        if cpi is not None:
            tables.append(_table(costs, clock_hz, cpi))
    return tuple(tables)


def cost_table(costs: CostsPart) -> CostTable:
    """The table that a file states in time."""
    return CostTable(
        ops={name: OpCost(**msgspec.structs.asdict(cost)) for name, cost in costs.ops.items()},
        engine=costs.engine,
        dtype=costs.dtype,
        tier=Tier[costs.tier],
        evidence_id=costs.evidence,
        low_ratio=costs.low_ratio,
        high_ratio=costs.high_ratio,
        per_run_us=costs.per_run_us,
        samples=costs.samples,
        heldout_median_ape=costs.heldout_median_ape,
        interval=costs.interval,
        heldout_ratios=costs.heldout_ratios,
        tile=None if costs.tile is None else Tile(**msgspec.structs.asdict(costs.tile)),
    )


def _table(costs: CoreCostsPart, clock_hz: int, cpi: tuple[float, float, float]) -> CostTable:
    low, value, high = cpi
    unit_us = value * 1e6 / clock_hz
    return CostTable(
        ops={name: _op_cost(cost, unit_us) for name, cost in costs.ops.items()},
        engine=costs.engine,
        dtype=costs.dtype,
        tier=Tier[costs.tier],
        evidence_id=costs.evidence,
        low_ratio=_rounded(costs.low_ratio * low / value),
        high_ratio=_rounded(costs.high_ratio * high / value),
        per_run_us=_rounded(costs.per_run * unit_us),
        samples=costs.samples,
        heldout_median_ape=costs.heldout_median_ape,
    )


def _op_cost(cost: CoreOpCostPart, unit_us: float) -> OpCost:
    return OpCost(
        per_call_us=_rounded(cost.per_call * unit_us),
        ns_per_mac=_rounded(cost.per_mac * unit_us * 1e3),
        ns_per_byte=_rounded(cost.per_byte * unit_us * 1e3),
        ns_per_output=_rounded(cost.per_output * unit_us * 1e3),
        ns_per_im2col_byte=_rounded(cost.per_im2col_byte * unit_us * 1e3),
        ns_per_tail_mac=_rounded(cost.per_tail_mac * unit_us * 1e3),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
