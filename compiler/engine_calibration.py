"""Prices of the kernels of LiteRT and ONNX Runtime on this host, from models that are run now.

A form is an engine's file format and a number format; each gets a table of its own. Probes are
timed once, or again as long as the budget lasts, held-out networks at three moments, and the
shortest time counts: whatever else runs only adds to it.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgekiln.targets.calibration_journal import CalibrationJournal
from edgekiln.targets.engines import engine_of
from edgekiln.targets.fit import Sample
from edgekiln.targets.fit_kernels import FamilySample, Source, fit_kernels
from edgekiln.targets.target import CostTable, Evidence, Target

from .calibration_measure import Measure, Measuring
from .engine_plan import EngineProbe, engine_probes
from .engine_workload import engine_workload
from .graph import Graph
from .ops import RECURRENT
from .tile_choice import choose_tile

ENGINE_FORMATS = ("tflite", "onnx")
TURNS = 3  # how often a model is timed at most


@dataclass(frozen=True, slots=True)
class Form:
    """What a table is for."""

    format: str
    dtype: str = "int8"

    def graph(self, probe: EngineProbe) -> Graph | None:
        """The probe in this form, or None where there is none."""
        graph = probe.int8 if self.dtype == "int8" else probe.float32
        lacks = self.format == "onnx" and not RECURRENT.isdisjoint(n.op for n in probe.int8.nodes)
        return None if lacks else graph


@dataclass(slots=True)
class TimedModel:
    """A model without its weights, which cost the same whatever they are, and its times in µs."""

    graph: Graph
    family: str
    times: list[float] = field(default_factory=list)

    @property
    def time_us(self) -> float:
        """The shortest of all."""
        return min(self.times)


Measured = dict[Form, dict[str, TimedModel]]


def time_probes(
    target: Target,
    measures: dict[Form, Measure],
    journal: CalibrationJournal,
    seed: int,
    ops: Collection[str],
    how: Measuring,
) -> Measured:
    """Times of every form by key; beyond what a table needs as long as the budget lasts."""
    done: Measured = {form: {} for form in measures}
    ends = how.clock() + (how.budget_s or 0.0)
    for number, (turn, probe) in enumerate(_order(seed, ops)):
        needed = probe.needed and (turn == 0 or probe.family != "")
        if not needed and how.clock() >= ends:
            how.say(f"{len(next(iter(done.values())))} models measured, turn {turn + 1}")
            break
        for form, measure in measures.items():
            graph = form.graph(probe)
            if graph is None:
                continue
            key = f"{form.format} {form.dtype} {turn}, {probe.key}"
            figures = journal.figures(key)
            if figures is None:
                figures = measure(graph, target)
                journal.append(key, figures)
            known = done[form].setdefault(
                probe.key, TimedModel(_without_weights(graph), probe.family)
            )
            known.times.append(figures[0])
        if number % 100 == 99:
            how.say(f"{number + 1} models measured")
    return done


def _order(seed: int, ops: Collection[str]) -> Iterator[tuple[int, EngineProbe]]:
    """What is needed, then all, turn by turn; networks are timed again between later probes."""
    first: list[EngineProbe] = []
    for probe in engine_probes(seed, ops):
        if not probe.needed:
            break
        yield 0, probe
        first += [probe] * (probe.family != "")
    for turn in range(1, TURNS):
        yield from ((turn, network) for network in first)
    for turn in range(TURNS):
        again: deque[tuple[int, EngineProbe]] = deque()
        for probe in engine_probes(seed, ops):
            if probe.needed and (turn == 0 or probe.family):
                continue
            if not probe.family:
                yield turn, probe
            elif turn == 0:
                yield from again  # of the networks before
                again = deque((more, network) for more, network in again if more < TURNS - 1)
                again = deque((more + 1, network) for more, network in again)
                again.append((1, probe))
                yield 0, probe


def engine_table(
    target: Target, form: Form, models: Sequence[TimedModel], evidence: Evidence
) -> CostTable:
    """The table of one form. Raises MeasurementError as `fit_kernels`."""
    engine = engine_of(target, form.format)
    probes = [model for model in models if not model.family]
    tile = choose_tile([(model.graph, model.time_us) for model in probes], engine)
    source = Source(engine, form.dtype, tile, evidence.tier, evidence.id)
    samples = [
        Sample(engine_workload(model.graph, engine, tile), model.time_us) for model in models
    ]
    held = [
        FamilySample(model.family, sample)
        for model, sample in zip(models, samples, strict=True)
        if model.family
    ]
    fit = [s for model, s in zip(models, samples, strict=True) if not model.family]
    return fit_kernels(fit, held, source)


def _without_weights(graph: Graph) -> Graph:
    """The graph with constants that take no memory: nothing here reads them."""
    values = (
        value
        if value.data is None
        else dataclasses.replace(
            value, data=np.broadcast_to(np.zeros((), value.data.dtype), value.data.shape)
        )
        for value in graph.values.values()
    )
    return graph.replace(values=values)
