"""What an emitted artifact costs on its target, with the best evidence that this machine has.

Latency: instructions of the compiled candidate under emulation (T2) where the target is a
microcontroller with an emulated core and the tools are here, else the target's cost table of the
engine that runs the artifact's format. RAM is the arena planner's, flash the emitter's, both plus
the runtime's overheads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekiln.targets.emulate import Emulation, latency_from_instructions
from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import MeasurementError, NoCostTableError, UnsupportedOperatorError
from edgekiln.targets.estimate import estimate_latency, footprint
from edgekiln.targets.evidence import Budget, Estimate, Footprint, Tier
from edgekiln.targets.measure import measure_callable
from edgekiln.targets.target import Target

from .artifacts import EmittedArtifact, c_constant_bytes
from .emit_c import memory_plan
from .graph import DType, Graph
from .kernel_loops import workload_on
from .oracles import RUNTIME_CALLS, run_c_emulated
from .passes import lower_padding
from .plan import plan_arena


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
            None, f"{target.id}/c: not emulated here, its latency is the profile's: {error}"
        )


def price(
    graph: Graph,
    artifact: EmittedArtifact,
    target: Target,
    emulated: EmulatedArtifact,
    budget: Budget,
) -> tuple[Footprint, tuple[str, ...]]:
    """Latency, RAM and flash of `artifact` on `target`, and notes on what they rest on.

    Where the table lacks an operator, or there is none for this number format, and nothing limits
    latency, it stays unknown: a note says so.

    Raises:
        NoCostTableError: nothing was emulated, and no cost table is of the artifact's engine.
        UnsupportedOperatorError: latency is limited, and the table lacks an operator of the graph.
    """
    emulation = emulated.emulation
    notes = (emulated.note,) if emulated.note else ()
    latency: Estimate | None = None
    if emulation is None:
        try:
            engine = engine_of(target, artifact.format)
            latency = estimate_latency(target, workload_on(graph, target, engine), engine)
        except (NoCostTableError, UnsupportedOperatorError) as error:
            if budget.latency_ms is not None or _calibrates(error, graph):
                raise
            notes = (*notes, f"{target.id}/{artifact.format}: its latency is not known: {error}")
    else:
        latency = latency_from_instructions(target, emulation.instructions)
        notes = (*notes, _emulation_note(f"{target.id}/{artifact.format}", emulation))
    arena, flash = _arena_bytes(graph, artifact), _flash(artifact, target, emulation)
    return footprint(target, latency, arena, flash), notes


def _calibrates(error: Exception, graph: Graph) -> bool:
    """Whether a calibration would make the table that lacks: tables are of int8 so far."""
    return isinstance(error, NoCostTableError) and graph.input.dtype is DType.INT8


def measure_artifact(
    artifact: EmittedArtifact, target: Target, sample: npt.NDArray[np.float32]
) -> Estimate | None:
    """Latency (T3) of one preprocessed sample, where `target` is this machine.

    `low` is the first quartile of the runs, `high` the 95 % quantile.
    """
    call = RUNTIME_CALLS.get(artifact.format)
    if target.device_class != "host" or call is None:
        return None
    taken = measure_callable(call(artifact.model, sample), budget_s=0.2)
    return Estimate(
        value=taken.median_us / 1e3,
        low=taken.low_us / 1e3,
        high=max(taken.p95_us, taken.median_us) / 1e3,
        unit="ms",
        tier=Tier.T3,
        evidence_id="measured-now",
    )


def measured_note(
    place: str, estimate: Estimate | None, measured: Estimate | None, budget: Budget
) -> str:
    """A sentence where the measurement contradicts the estimate or the budget, else nothing."""
    if measured is None:
        return ""
    now = f"{place}: measured now {measured.value:.4g} ms"
    limit = budget.latency_ms
    if limit is not None and measured.high > limit:
        return f"{now} (95 % under {measured.high:.4g}), which is over the budget of {limit:.4g} ms"
    if estimate is None:
        return now
    if measured.value > estimate.high or measured.value < estimate.low:
        return f"{now}, outside the estimate of {estimate.low:.4g} to {estimate.high:.4g} ms"
    return ""


def _emulation_note(place: str, emulation: Emulation) -> str:
    return (
        f"{place}: emulated, {emulation.instructions} instructions, code {emulation.code_bytes}, "
        f"parameters {emulation.weight_bytes}, RAM {emulation.ram_bytes}, "
        f"stack {emulation.stack_bytes} bytes"
    )


def _arena_bytes(graph: Graph, artifact: EmittedArtifact) -> int:
    """TFLite cannot pad freely inside a convolution, so its files hold extra PAD tensors; generated
    C has scratch beside its activations."""
    if artifact.format == "c":
        return memory_plan(graph, artifact.family).arena_bytes
    planned = lower_padding(graph) if artifact.format == "tflite" else graph
    return plan_arena(planned).arena_bytes


def _flash(artifact: EmittedArtifact, target: Target, emulation: Emulation | None) -> int:
    """Bytes of the artifact; for `c` parameters, and code that the overhead does not cover."""
    if artifact.format != "c":
        return artifact.nbytes
    code = emulation.code_bytes if emulation else 0
    return c_constant_bytes(artifact.files) + max(0, code - target.runtime.flash_overhead)
