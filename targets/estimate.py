"""What a model costs on a target: latency from cost tables, bytes from exact counts.

Both functions are pure. An operator that the table does not price is an error that names it: an
unknown operator must never be counted as 0 ms.
"""

from __future__ import annotations

from .errors import UnsupportedOperatorError
from .evidence import Estimate, Footprint, Tier
from .target import CostTable, Target
from .workload import LayerWork, Workload


def estimate_latency(target: Target, workload: Workload) -> Estimate:
    """Latency of one inference in ms, from the strongest table of the workload's dtype.

    Of two tables of one tier the first in the profile counts: calibration puts its own there.

    Raises:
        UnsupportedOperatorError: no table of that dtype, or an operator that it does not price.
    """
    table = _strongest_table(target, workload.dtype)
    total_us = table.per_run_us + sum(_layer_us(target, table, layer) for layer in workload.layers)
    value_ms = total_us / 1e3
    return Estimate(
        value=value_ms,
        low=value_ms * table.low_ratio,
        high=value_ms * table.high_ratio,
        unit="ms",
        tier=table.tier,
        evidence_id=table.evidence_id,
    )


def footprint(target: Target, workload: Workload, arena_bytes: int, model_bytes: int) -> Footprint:
    """Latency, RAM and flash of one model.

    `arena_bytes` comes from the arena planner, `model_bytes` is the size of what the emitter
    writes; both are exact, so RAM and flash have no spread. The runtime's overheads are the
    profile's constants (tier T0) and are added to both.

    Raises:
        UnsupportedOperatorError: as `estimate_latency`.
    """
    runtime = target.runtime
    return Footprint(
        latency=estimate_latency(target, workload),
        ram=Estimate.exact(arena_bytes + runtime.ram_overhead, "bytes", Tier.T0, "planner"),
        flash=Estimate.exact(model_bytes + runtime.flash_overhead, "bytes", Tier.T0, "emitter"),
    )


def _strongest_table(target: Target, dtype: str) -> CostTable:
    tables = [table for table in target.costs if table.dtype == dtype]
    if not tables:
        msg = (
            f"target '{target.id}' has no cost table for {dtype}; make one with: "
            f"edgekiln targets calibrate {target.id}"
        )
        raise UnsupportedOperatorError(msg)
    return max(tables, key=lambda table: table.tier)


def _layer_us(target: Target, table: CostTable, layer: LayerWork) -> float:
    cost = table.ops.get(layer.op)
    if cost is None:
        msg = (
            f"target '{target.id}' has no {table.dtype} cost for operator '{layer.op}' "
            f"(layer '{layer.name}'); it prices: {', '.join(sorted(table.ops))}"
        )
        raise UnsupportedOperatorError(msg)
    work_ns = cost.ns_per_mac * layer.macs + cost.ns_per_byte * layer.bytes_moved
    return cost.per_call_us + work_ns / 1e3
