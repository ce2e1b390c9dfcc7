"""What an emitted artifact costs on its target, with the best evidence that this machine has.

Latency: instructions of the compiled candidate under emulation (T2) where the target is a
microcontroller with an emulated core and the tools are here, else the target's cost table. RAM is
the arena planner's, flash the emitter's, both plus the runtime's overheads.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekiln.targets.emulate import Emulation, latency_from_instructions
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.estimate import footprint
from edgekiln.targets.evidence import Budget, Estimate, Footprint, Tier
from edgekiln.targets.measure import measure_callable
from edgekiln.targets.target import CostTable, Target
from edgekiln.targets.workload import Workload

from .artifacts import EmittedArtifact, c_constant_bytes
from .graph import Graph
from .oracles import litert_call, onnx_call, run_c_emulated
from .passes import lower_padding
from .plan import plan_arena
from .workload import workload

# The format that a runtime's cost tables are of.
_OWN_FORMAT = {"litert": "tflite", "onnxruntime": "onnx", "c": "c"}
# Published results for microcontrollers are of several engines, TensorFlow Lite's among them.
_PUBLISHED_FORMAT = {"c": "tflite"}


@dataclass(frozen=True, slots=True)
class EmulatedArtifact:
    """An emulation of generated C, or the sentence that says why there is none."""

    emulation: Emulation | None
    note: str = ""


def emulate_artifact(artifact: EmittedArtifact, target: Target) -> EmulatedArtifact:
    """Run generated C on the emulated core of a microcontroller; other artifacts need none."""
    if artifact.format != "c" or target.device_class != "mcu":
        return EmulatedArtifact(None)
    try:
        return EmulatedArtifact(run_c_emulated(artifact.files, target))
    except MeasurementError as error:
        return EmulatedArtifact(
            None, f"{target.id}/c: not emulated, so its latency is the table's: {error}"
        )


def price(
    graph: Graph, artifact: EmittedArtifact, target: Target, emulated: EmulatedArtifact
) -> tuple[Footprint, tuple[str, ...]]:
    """Latency, RAM and flash of `artifact` on `target`, and notes on what they rest on.

    Raises:
        UnsupportedOperatorError: the target has no cost for an operator of the graph.
    """
    emulation = emulated.emulation
    place = f"{target.id}/{artifact.format}"
    notes = [emulated.note] if emulated.note else []
    work, tables = workload(graph), _tables_for(artifact.format, target)
    arena, flash = _arena_bytes(graph, artifact), _flash(artifact, target, emulation)
    cost = footprint(dataclasses.replace(target, costs=tables or target.costs), work, arena, flash)
    if not tables:
        cost = dataclasses.replace(cost, latency=_foreign_latency(cost.latency, work))
        notes.append(
            f"{place}: no cost table is of its engine; its latency is a rule of thumb "
            f"on that of {target.runtime.name}"
        )
    if emulation is None:
        return cost, tuple(notes)
    latency = latency_from_instructions(target, emulation.instructions)
    notes.append(
        f"{place}: emulated, {emulation.instructions} instructions, code {emulation.code_bytes}, "
        f"parameters {emulation.weight_bytes}, RAM {emulation.ram_bytes}, "
        f"stack {emulation.stack_bytes} bytes"
    )
    return dataclasses.replace(cost, latency=latency), tuple(notes)


def measure_artifact(
    artifact: EmittedArtifact, target: Target, sample: npt.NDArray[np.float32]
) -> Estimate | None:
    """Latency (T3) of one preprocessed sample, where `target` is this machine.

    `low` is the first quartile of the runs, `high` the 95 % quantile.
    """
    calls = {"tflite": litert_call, "onnx": onnx_call}
    if target.device_class != "host" or artifact.format not in calls:
        return None
    taken = measure_callable(calls[artifact.format](artifact.model, sample), budget_s=0.2)
    return Estimate(
        value=taken.median_us / 1e3,
        low=taken.low_us / 1e3,
        high=max(taken.p95_us, taken.median_us) / 1e3,
        unit="ms",
        tier=Tier.T3,
        evidence_id="measured-now",
    )


def measured_note(place: str, estimate: Estimate, measured: Estimate | None, budget: Budget) -> str:
    """A sentence where the measurement contradicts the estimate or the budget, else nothing."""
    if measured is None:
        return ""
    now = f"{place}: measured now {measured.value:.4g} ms"
    limit = budget.latency_ms
    if limit is not None and measured.high > limit:
        return f"{now} (95 % under {measured.high:.4g}), which is over the budget of {limit:.4g} ms"
    if measured.value > estimate.high or measured.value < estimate.low:
        return f"{now}, outside the estimate of {estimate.low:.4g} to {estimate.high:.4g} ms"
    return ""


def _tables_for(fmt: str, target: Target) -> tuple[CostTable, ...]:
    """The tables of `target` that speak of the engine which runs `fmt`; may be none."""
    runtime = target.runtime.name
    if fmt == _OWN_FORMAT.get(runtime, fmt):
        return tuple(target.costs)
    if fmt == _PUBLISHED_FORMAT.get(runtime):
        return tuple(table for table in target.costs if table.tier is Tier.T1)
    return ()


def _foreign_latency(own: Estimate, work: Workload) -> Estimate:
    """Another engine's time from the own engine's: a share of it, and a toll for every operator.

    Fits ONNX Runtime against LiteRT, int8 and one thread, on five small networks of 3 to 28
    operators on one x86 server: 9 to 221 µs where LiteRT takes 1 to 89. Tier T0, because it is
    a rule from another machine; the upper bound leaves room for a core four times slower.
    """
    toll_ms = (5 + 1.2 * len(work.layers)) / 1e3
    return Estimate(
        value=1.3 * own.value + toll_ms,
        low=own.low,
        high=2.5 * own.high + 4 * toll_ms,
        unit=own.unit,
        tier=Tier.T0,
        evidence_id="other-engine-rule",
    )


def _arena_bytes(graph: Graph, artifact: EmittedArtifact) -> int:
    """TFLite cannot pad freely inside a convolution, so its files hold extra PAD tensors."""
    planned = lower_padding(graph) if artifact.format == "tflite" else graph
    return plan_arena(planned).arena_bytes


def _flash(artifact: EmittedArtifact, target: Target, emulation: Emulation | None) -> int:
    """Bytes of the artifact; for `c` parameters, and code that the overhead does not cover."""
    if artifact.format != "c":
        return artifact.nbytes
    code = emulation.code_bytes if emulation else 0
    return c_constant_bytes(artifact.files) + max(0, code - target.runtime.flash_overhead)
