"""What a model costs on a target: latency from cost tables, bytes from exact counts.

All functions are pure. A table prices its own engine and no other, and an operator that it does
not price is an error that names it: what is unknown must never be counted as 0 ms.
"""

from __future__ import annotations

from collections.abc import Iterable

from .conformal import upper_ratio
from .core_costs import core_table
from .energy import energy_of
from .errors import NoCostTableError, UnsupportedOperatorError
from .evidence import Estimate, Footprint, Tier
from .machines import MACHINES
from .published import published_table
from .target import CostTable, OpCost, Target
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
    (estimate,) = estimate_many(target, (workload,), engine)
    return estimate


def estimate_many(
    target: Target, workloads: Iterable[Workload], engine: str
) -> tuple[Estimate, ...]:
    """`estimate_latency` of every workload; layers that many of them share are priced once."""
    tables: dict[str, CostTable] = {}
    priced: dict[str, dict[LayerWork, float]] = {}
    estimates = []
    for workload in workloads:
        dtype = workload.dtype
        if dtype not in tables:
            tables[dtype], priced[dtype] = strongest_table(target, engine, dtype), {}
        table, layers = tables[dtype], priced[dtype]
        total_us = table.per_run_us
        for layer in workload.layers:
            cost_us = layers.get(layer)
            if cost_us is None:
                cost_us = layers[layer] = layer_us(target, table, layer)
            total_us += cost_us
        estimates.append(_estimate(total_us / 1e3, table))
    return tuple(estimates)


def upper_bound_ms(target: Target, workload: Workload, engine: str, confidence: float) -> float:
    """What one inference takes at most, in ms, at the rate `confidence`.

    Raises:
        TargetError: the table's held-out models cannot carry that rate; says what can.
        NoCostTableError, UnsupportedOperatorError: as `estimate_latency`.
    """
    table = strongest_table(target, engine, workload.dtype)
    return estimate_latency(target, workload, engine).value * upper_ratio(table, confidence)


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
        energy=energy_of(target, latency),
        ram=Estimate.exact(arena_bytes + runtime.ram_overhead, "bytes", Tier.T0, "planner"),
        flash=Estimate.exact(model_bytes + runtime.flash_overhead, "bytes", Tier.T0, "emitter"),
    )


def strongest_table(target: Target, engine: str, dtype: str) -> CostTable:
    """The table that estimates come from: the profile's strongest, the first of one tier.

    Where the profile has none of the engine, what is known of its core stands in: instructions of
    our own kernels (T2), or published results on boards with such a core (T1).

    Raises:
        NoCostTableError: no table of that engine and dtype; names the command that makes one.
    """
    tables = [t for t in target.costs if (t.engine, t.dtype) == (engine, dtype)]
    if tables:
        return max(tables, key=lambda table: table.tier)
    of_core = core_table(target) if engine == "c" and dtype == "int8" else None
    found = of_core or published_table(target, engine, dtype)
    if found is None:
        msg = f"target '{target.id}' has no cost model of engine '{engine}' for {dtype}"
        raise NoCostTableError(f"{msg}; {_way_to_one(target, engine)}")
    return found


def _estimate(value_ms: float, table: CostTable) -> Estimate:
    return Estimate(
        value=value_ms,
        low=value_ms * table.low_ratio,
        high=value_ms * table.high_ratio,
        unit="ms",
        tier=table.tier,
        evidence_id=table.evidence_id,
    )


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
    if target.npu is not None:
        return (
            "edgekiln targets measure shows Vela's cycles, which are no evidence for a budget: "
            f'add [[costs]] of engine = "{engine}" to the profile'
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
        raise _unpriced(target, table, layer, f"it prices: {', '.join(sorted(table.ops))}")
    if cost.loops:
        return _loops_us(target, table, layer, cost)
    work_ns = (
        cost.ns_per_mac * layer.macs
        + cost.ns_per_byte * layer.bytes_moved
        + cost.ns_per_output * layer.output_elements
        + cost.ns_per_im2col_byte * layer.im2col_bytes
        + cost.ns_per_tail_mac * layer.tail_macs
    )
    return cost.per_call_us + work_ns / 1e3


def _loops_us(target: Target, table: CostTable, layer: LayerWork, cost: OpCost) -> float:
    unknown = sorted(name for name, _ in layer.loops if name not in cost.loops)
    if unknown or not layer.loops:
        detail = f"nothing prices its loop '{unknown[0]}'" if unknown else "its loops are unknown"
        raise _unpriced(target, table, layer, detail)
    return sum(cost.loops[name] * passes for name, passes in layer.loops) / 1e3


def _unpriced(
    target: Target, table: CostTable, layer: LayerWork, detail: str
) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"target '{target.id}' has no {table.dtype} cost in engine '{table.engine}' for operator "
        f"'{layer.op}' (layer '{layer.name}'); {detail}"
    )
