"""`price_builds`: what each artifact costs on each target, and which of them a bundle gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgekiln.targets.errors import UnsupportedOperatorError
from edgekiln.targets.evidence import Budget

from .artifacts import ArtifactKind, EmittedArtifact, kind_for
from .assemble import Build
from .gate import Priced, effective_budget, overrun
from .graph import Graph
from .pricing import EmulatedArtifact, measure_artifact, price
from .request import TargetRequest

Artifacts = Mapping[ArtifactKind, EmittedArtifact]


def wanted_formats(wanted: TargetRequest) -> tuple[str, ...]:
    """The formats that are made for a target."""
    return wanted.formats or wanted.target.formats


def required_formats(wanted: TargetRequest) -> tuple[str, ...]:
    """Formats that must keep the budget: those asked for by name, or else the one that runs best.

    A search judges a candidate on a target by that one too.
    """
    return wanted.formats or wanted.target.formats[:1]


def price_builds(
    graph: Graph,
    targets: Sequence[TargetRequest],
    artifacts: Artifacts,
    emulations: Mapping[str, EmulatedArtifact],
    sample: npt.NDArray[np.float32],
) -> tuple[tuple[Build, ...], tuple[str, ...]]:
    """Every target's artifacts, in the order of the request, and notes on their prices.

    `emulations` of generated C are by target id, `sample` is one preprocessed sample to time. A
    format that is not required is left out where it misses the budget or an operator of it has no
    price: a note says so.

    Raises:
        NoCostTableError: nothing says what an engine costs.
        UnsupportedOperatorError: a required format has an operator without a price.
    """
    builds: list[Build] = []
    notes: list[str] = []
    for wanted in targets:
        budget = effective_budget(wanted.target, wanted.budget)
        for fmt in wanted_formats(wanted):
            artifact = artifacts[kind_for(wanted.target, fmt)]
            emulated = emulations.get(wanted.target.id) if fmt == "c" else None
            emulated = emulated or EmulatedArtifact(None)
            try:
                build, said = _build(graph, wanted, artifact, emulated, budget, sample)
                refusal = overrun(build.priced)
            except UnsupportedOperatorError as error:
                if fmt in required_formats(wanted):
                    raise
                refusal = str(error)
            if refusal and fmt not in required_formats(wanted):
                notes.append(f"{wanted.target.id}/{fmt} is left out: {refusal}")
                continue
            builds.append(build)
            notes += said
    return tuple(builds), tuple(notes)


def _build(
    graph: Graph,
    wanted: TargetRequest,
    artifact: EmittedArtifact,
    emulated: EmulatedArtifact,
    budget: Budget,
    sample: npt.NDArray[np.float32],
) -> tuple[Build, tuple[str, ...]]:
    target = wanted.target
    cost, notes = price(graph, artifact, target, emulated, budget)
    priced = Priced(target.id, artifact.format, cost, budget)
    measured = measure_artifact(artifact, target, sample)
    return Build(target, artifact, priced, measured, emulated.figures), notes
