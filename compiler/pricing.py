"""What an emitted artifact costs on its target, with the best evidence that this machine has.

Latency: instructions of the compiled candidate under emulation (T2) where the target is a
microcontroller with an emulated core and the tools are here, else the target's cost table of the
engine that runs the artifact's format. RAM and flash: of the image that was linked and run there,
static memory and the deepest stack, code and constants; else the arena planner's and the emitter's,
and for an Ethos-U Vela's, all plus the runtime's overheads, which are reserves for what the image
would have shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.c_library import library_name
from edgekiln.targets.emulate import Emulation, image_footprint, latency_from_instructions
from edgekiln.targets.energy import with_energy
from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import (
    BrokenImageError,
    MeasurementError,
    NoCostTableError,
    UnsupportedOperatorError,
)
from edgekiln.targets.estimate import check_operators, estimate_latency, footprint
from edgekiln.targets.evidence import Budget, Estimate, Footprint, Tier
from edgekiln.targets.measure import measure_callable
from edgekiln.targets.target import Target
from edgekiln.targets.workload import Workload

from .artifacts import EmittedArtifact, c_constant_bytes
from .c_report import CFigures, planned_figures
from .emit_c import memory_plan
from .errors import CompileError
from .graph import DType, Graph
from .kernel_loops import workload_on
from .measure_c import measure_files
from .npu_footprint import footprint_on
from .oracles import RUNTIME_CALLS, core_compiler_version
from .passes import lower_padding
from .plan import plan_arena
from .streams import remembered_bytes, variable_bytes

TIMED_S = 0.2  # timed runs of one artifact


@dataclass(frozen=True, slots=True)
class EmulatedArtifact:
    """An emulation of generated C, or the sentence that says why there is none.

    `figures` are those of generated C, counted or as far as its files tell them; `compiler` is
    the version of the one that built what ran.
    """

    emulation: Emulation | None
    note: str = ""
    figures: CFigures | None = None
    compiler: str = ""


def emulate_artifact(artifact: EmittedArtifact, target: Target) -> EmulatedArtifact:
    """Run generated C on the emulated core of a microcontroller; other artifacts need none.

    Raises CompileError where it does not build for the core, or faults there.
    """
    if artifact.format != "c":
        return EmulatedArtifact(None)
    figures = planned_figures(artifact.files)
    place = f"{target.id}/c"
    if target.device_class != "mcu":
        return EmulatedArtifact(None, f"{place}: {_library_note(artifact)}", figures)
    try:
        measured = measure_files(artifact.files, place, target)
    except BrokenImageError as error:
        raise CompileError(f"{place}: generated C is broken: {error}") from error
    except MeasurementError as error:
        note = f"{place}: not emulated here, its numbers are planned or the profile's: {error}"
        return EmulatedArtifact(None, note, figures)
    version = core_compiler_version(target)
    return EmulatedArtifact(measured.emulation, "", measured.report, version)


def _library_note(artifact: EmittedArtifact) -> str:
    counted = "instructions are counted on emulated microcontrollers only"
    if artifact.runnable is not None:
        return f"{counted}; its shared library is {library_name()}"
    return (
        f"{counted}; it has no shared library, so a device needs a C compiler to run it "
        "(compile for host where one is installed: apt-get install gcc)"
    )


def price(
    graph: Graph,
    artifact: EmittedArtifact,
    target: Target,
    emulated: EmulatedArtifact,
    budget: Budget,
) -> tuple[Footprint, tuple[str, ...]]:
    """Latency, RAM and flash of `artifact` on `target`, and notes on what they rest on.

    Where nothing says what the target takes, or the table lacks an operator, and nothing limits
    latency, it stays unknown: a note says why.

    Raises:
        UnsupportedOperatorError: the profile leaves an operator of the graph out, or latency is
            limited and the table lacks one.
        NoCostTableError: latency is limited, or could be calibrated here, and nothing prices it.
    """
    work = workload_on(graph, target, engine_of(target, artifact.format))
    emulation = emulated.emulation
    check_operators(target, work)
    latency, notes = _latency(graph, work, artifact, target, emulation, budget)
    if emulation is not None:
        said = _emulation_note(f"{target.id}/{artifact.format}", emulation)
        return with_energy(target, image_footprint(latency, emulation)), (said, *notes)
    arena, flash = arena_bytes(graph, artifact), flash_bytes(artifact)
    planned = footprint(target, latency, arena, flash)
    cost, said = footprint_on(target, artifact, planned, budget.ram_bytes)
    of_npu = f"{target.id}/{artifact.format}: {said}" if said else ""
    return cost, (*(note for note in (emulated.note, of_npu) if note), *notes)


def _latency(
    graph: Graph,
    work: Workload,
    artifact: EmittedArtifact,
    target: Target,
    emulation: Emulation | None,
    budget: Budget,
) -> tuple[Estimate | None, tuple[str, ...]]:
    """The estimate, or a note that says why there is none."""
    try:
        return estimated_latency(work, artifact, target, emulation), ()
    except (NoCostTableError, UnsupportedOperatorError) as error:
        if budget.latency_ms is not None or _calibrates(error, target, graph):
            raise
        place = f"{target.id}/{artifact.format}"
        return None, (f"{place}: its latency is not known: {error}",)


def estimated_latency(
    work: Workload, artifact: EmittedArtifact, target: Target, emulation: Emulation | None
) -> Estimate:
    """From counted instructions where the profile says what one takes, else from a cost table.

    Raises:
        NoCostTableError: there is neither; says how one is made.
        UnsupportedOperatorError: the table lacks an operator.
    """
    if emulation is not None and target.cycles_per_instruction is not None:
        return latency_from_instructions(target, emulation.instructions)
    return estimate_latency(target, work, engine_of(target, artifact.format))


def _calibrates(error: Exception, target: Target, graph: Graph) -> bool:
    """Whether a calibration of this machine would make the table that lacks: it was left out."""
    measurable = target.device_class == "host" and graph.input.dtype is DType.INT8
    return isinstance(error, NoCostTableError) and measurable


def measure_artifact(
    artifact: EmittedArtifact, target: Target, sample: npt.NDArray[np.float32]
) -> Estimate | None:
    """Latency (T3) of one preprocessed sample, where `target` is this machine.

    `low` is the first quartile of the runs, `high` the 95 % quantile.
    """
    if target.device_class != "host" or artifact.runnable is None:
        return None
    call = RUNTIME_CALLS[artifact.format](artifact.runnable, sample)
    taken = measure_callable(call, budget_s=TIMED_S)
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


def arena_bytes(graph: Graph, artifact: EmittedArtifact) -> int:
    """RAM of the activations of an artifact on its target, as its planner lays them out.

    TFLite cannot pad freely inside a convolution, so its files hold extra PAD tensors; generated
    C has scratch beside its activations. Neither reuses what a stream remembers.
    """
    if artifact.format == "c":
        return memory_plan(graph, artifact.family).arena_bytes + remembered_bytes(graph)
    planned = lower_padding(graph) if artifact.format == "tflite" else graph
    return plan_arena(planned).arena_bytes + variable_bytes(graph)


def flash_bytes(artifact: EmittedArtifact) -> int:
    """Bytes of what is stored to be run; of C without a shared object, the parameters."""
    runnable = artifact.runnable
    return c_constant_bytes(artifact.files) if runnable is None else len(runnable)
