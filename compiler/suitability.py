"""`suitability`: where a model runs, format by format, and what stands in the way elsewhere.

RAM is the planner's and flash the emitter's, of an Ethos-U Vela's, exact for the model, plus what
the profile says of its runtime. Latency is the best that can be had without a compile: measured on
this machine (T3) for a host, from counted instructions (T2) where emulation is asked for, else from
the target's cost table; where none says anything it is not known, and a limit on it cannot be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekiln.targets.emulate import Emulation, image_footprint
from edgekiln.targets.energy import with_energy
from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import NoCostTableError, UnsupportedOperatorError
from edgekiln.targets.estimate import check_operators, footprint
from edgekiln.targets.evidence import Budget, Estimate, Footprint
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.target import Target
from edgekiln.targets.workload import Workload

from .artifacts import ArtifactKind, EmittedArtifact, emit_artifact, kind_for
from .errors import CompileError
from .gate import effective_budget
from .graph import Graph
from .kernel_loops import workload_on
from .npu_footprint import footprint_on
from .oracles import run_c_emulated
from .pricing import arena_bytes, estimated_latency, flash_bytes, measure_artifact
from .reference import quantize_input

_SEED = 0


@dataclass(frozen=True, slots=True)
class _Written:
    """An artifact, the bytes of its activations, and one input (…) to time it with."""

    artifact: EmittedArtifact
    arena_bytes: int
    sample: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Asked:
    """A target and the limits on it beyond the profile's own."""

    target: Target
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Suitability:
    """One format of a model on one target. `reasons` say why it does not fit; empty: it fits.

    No footprint: it cannot be written in that format, or the target does not run an operator.
    `budget` are the limits that it was held to, `note` says why its latency is not known,
    and whose RAM and flash these are for an Ethos-U.
    """

    target_id: str
    format: str
    engine: str
    budget: Budget
    footprint: Footprint | None
    reasons: tuple[str, ...]
    note: str = ""

    @property
    def fits(self) -> bool:
        """True when it can be written and every limit holds."""
        return not self.reasons


def suitability(
    graph: Graph, asked: Sequence[Asked], *, emulate: bool = False
) -> tuple[Suitability, ...]:
    """Every format of every target, in that order.

    `emulate` runs generated C on the emulated core of each microcontroller, once for each core.

    Raises:
        CompileError: an energy limit on a target whose profile does not say what it draws.
        MeasurementError: the emulator is not installed, or its run failed.
    """
    written: dict[ArtifactKind, _Written | CompileError] = {}
    emulations: dict[str, Emulation] = {}
    found = []
    for item in asked:
        budget = effective_budget(item.target, item.budget)
        for fmt in item.target.formats:
            kind = kind_for(item.target, fmt)
            if kind not in written:
                written[kind] = _written(graph, kind)
            file = written[kind]
            if isinstance(file, CompileError):
                found.append(_refused(item.target, fmt, budget, str(file)))
                continue
            if emulate:
                _emulate(file.artifact, item.target, emulations)
            emulation = emulations.get(item.target.core) if fmt == "c" else None
            work = workload_on(graph, item.target, engine_of(item.target, fmt))
            found.append(_judged(work, file, item.target, emulation, budget))
    return tuple(found)


def _written(graph: Graph, kind: ArtifactKind) -> _Written | CompileError:
    """The artifact, or why the format cannot hold the graph."""
    sample = _sample(graph.input.shape)
    try:
        artifact = emit_artifact(graph, kind, quantize_input(graph, sample))
    except CompileError as error:
        return error
    return _Written(artifact, arena_bytes(graph, artifact), sample[0])


def _sample(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """One input of shape (1, …); what it holds matters neither to bytes nor, hardly, to time."""
    return np.random.default_rng(_SEED).normal(0, 1, (1, *shape[1:])).astype(np.float32)


def _emulate(artifact: EmittedArtifact, target: Target, emulations: dict[str, Emulation]) -> None:
    """Count on the core of `target`, unless that was done, or cannot be done here."""
    known = target.core in emulations or target.core.lower() not in MACHINES
    if artifact.format != "c" or target.device_class != "mcu" or known:
        return
    emulations[target.core] = run_c_emulated(artifact.files, target)


def _judged(
    work: Workload,
    written: _Written,
    target: Target,
    emulation: Emulation | None,
    budget: Budget,
) -> Suitability:
    artifact = written.artifact
    try:
        check_operators(target, work)
    except UnsupportedOperatorError as error:
        return _refused(target, artifact.format, budget, str(error))
    latency: Estimate | None = measure_artifact(artifact, target, written.sample)
    note = ""
    if latency is None:
        try:
            latency = estimated_latency(work, artifact, target, emulation)
        except (NoCostTableError, UnsupportedOperatorError) as error:
            note = str(error)
    if emulation is not None:
        cost, said = with_energy(target, image_footprint(latency, emulation)), ""
    else:
        planned = footprint(target, latency, written.arena_bytes, flash_bytes(artifact))
        cost, said = footprint_on(target, artifact, planned, budget.ram_bytes)
    return Suitability(
        target_id=target.id,
        format=artifact.format,
        engine=engine_of(target, artifact.format),
        budget=budget,
        footprint=cost,
        reasons=_reasons(cost, budget, note),
        note="; ".join(text for text in (note, said) if text),
    )


def _reasons(cost: Footprint, budget: Budget, note: str) -> tuple[str, ...]:
    """Broken limits; a limit on a latency that nothing prices is one."""
    checked = budget
    unknown: tuple[str, ...] = ()
    if cost.latency is None:
        checked = Budget(ram_bytes=budget.ram_bytes, flash_bytes=budget.flash_bytes)
        limits = (("latency", budget.latency_ms, "ms"), ("energy", budget.energy_mj, "mJ"))
        unknown = tuple(
            f"{what} is limited to {limit:.4g} {unit} and not known: {note}"
            for what, limit, unit in limits
            if limit is not None
        )
    broken = tuple(check.message for check in cost.check(checked) if not check.passed)
    return (*broken, *unknown)


def _refused(target: Target, fmt: str, budget: Budget, reason: str) -> Suitability:
    return Suitability(target.id, fmt, engine_of(target, fmt), budget, None, (reason,))
