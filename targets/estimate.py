"""What a model costs on a target: latency from cost tables, bytes from exact counts.

Both functions are pure. A table prices its own engine and no other, and an operator that it does
not price is an error that names it: what is unknown must never be counted as 0 ms.
"""

from __future__ import annotations

from .errors import NoCostTableError, UnsupportedOperatorError
from .evidence import Estimate, Footprint, Tier
from .machines import MACHINES
from .target import CostTable, Target
from .workload import LayerWork, Workload

# Engines that `edgekiln targets calibrate` runs on a host.
_CALIBRATED = ("litert", "onnxruntime", "c")


def estimate_latency(target: Target, workload: Workload, engine: str) -> Estimate:
    """Latency of one inference in ms, from the engine's strongest table of the workload's dtype.

    Of two tables of one tier the first in the profile counts: calibration puts its own there.

    Raises:
        NoCostTableError: no table of that engine and dtype; names the command that makes one.
        UnsupportedOperatorError: an operator that the table does not price.
    """
    table = strongest_table(target, engine, workload.dtype)
    total_us = table.per_run_us + sum(layer_us(target, table, layer) for layer in workload.layers)
    value_ms = total_us / 1e3
    return Estimate(
        value=value_ms,
        low=value_ms * table.low_ratio,
        high=value_ms * table.high_ratio,
        unit="ms",
        tier=table.tier,
        evidence_id=table.evidence_id,
    )


def footprint(
    target: Target, latency: Estimate | None, arena_bytes: int, model_bytes: int
) -> Footprint:
    """Latency, RAM and flash of one model.

    `arena_bytes` comes from the arena planner, `model_bytes` is the size of what the emitter
    writes; both are exact, so RAM and flash have no spread. The runtime's overheads are the
    profile's constants (tier T0) and are added to both.
    """
    runtime = target.runtime
    return Footprint(
        latency=latency,
        ram=Estimate.exact(arena_bytes + runtime.ram_overhead, "bytes", Tier.T0, "planner"),
        flash=Estimate.exact(model_bytes + runtime.flash_overhead, "bytes", Tier.T0, "emitter"),
    )


def strongest_table(target: Target, engine: str, dtype: str) -> CostTable:
    """The table that estimates come from.

    Raises:
        NoCostTableError: no table of that engine and dtype; names the command that makes one.
    """
    tables = [t for t in target.costs if (t.engine, t.dtype) == (engine, dtype)]
    if not tables:
        msg = f"target '{target.id}' has no cost model of engine '{engine}' for {dtype}"
        raise NoCostTableError(f"{msg}; {_way_to_one(target, engine)}")
    return max(tables, key=lambda table: table.tier)


def _way_to_one(target: Target, engine: str) -> str:
    """How the missing table can be had, as a sentence to put behind a semicolon."""
    if target.device_class == "host" and engine in _CALIBRATED:
        return f"make one with: edgekiln targets calibrate {target.id}"
    if target.device_class == "linux" and engine in _CALIBRATED:
        return "make one on the device itself: edgekiln targets calibrate host -o PROFILE.toml"
    if target.device_class == "mcu" and engine == "c" and target.core.lower() in MACHINES:
        if target.cycles_per_instruction is not None:
            return f"make one with: edgekiln targets calibrate {target.id}"
        return (
            "its instructions can be counted (edgekiln targets measure), what they take cannot: "
            "state cycles_per_instruction = [low, value, high] in the profile"
        )
    return f'nothing here runs it: add [[costs]] of engine = "{engine}" to the profile'


def check_operators(target: Target, workload: Workload) -> None:
    """Refuse work that a profile with `[ops]` leaves out; without, a target runs everything.

    Raises:
        UnsupportedOperatorError: names the first layer that the target has no kernel for.
    """
    for layer in workload.layers:
        if target.ops and workload.dtype not in target.ops.get(layer.op, ()):
            runs = ", ".join(op for op, types in target.ops.items() if workload.dtype in types)
            raise UnsupportedOperatorError(
                f"target '{target.id}' does not run operator '{layer.op}' in {workload.dtype} "
                f"(layer '{layer.name}'); its profile lists: {runs or 'nothing in that format'}"
            )


def layer_us(target: Target, table: CostTable, layer: LayerWork) -> float:
    """Microseconds of one layer; UnsupportedOperatorError where the table lacks its operator."""
    cost = table.ops.get(layer.op)
    if cost is None:
        msg = (
            f"target '{target.id}' has no {table.dtype} cost in engine '{table.engine}' for "
            f"operator '{layer.op}' (layer '{layer.name}'); it prices: "
            f"{', '.join(sorted(table.ops))}"
        )
        raise UnsupportedOperatorError(msg)
    work_ns = (
        cost.ns_per_mac * layer.macs
        + cost.ns_per_byte * layer.bytes_moved
        + cost.ns_per_output * layer.output_elements
    )
    return cost.per_call_us + work_ns / 1e3
