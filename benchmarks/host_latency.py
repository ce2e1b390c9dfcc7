"""What predictions for this machine are worth: networks of families that nothing has seen, timed.

Prices LiteRT's kernels (int8 and float32) and ONNX Runtime's from nothing, then predicts and times
networks of the five families of `host_families`. Beside them in the same run: a fit to MACs alone,
each layer looked up by the nearest one that was timed alone, and the same networks timed again,
which is as near as a prediction can come. A busy machine prints larger errors; nothing here has a
bound.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.calibration_measure import MEASURES, Measuring, stopwatch
from edgekiln.compiler.engine_calibration import Form, TimedModel, engine_table, time_probes
from edgekiln.compiler.engine_workload import engine_workload
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.workload import workload
from edgekiln.targets.calibration_journal import CalibrationJournal
from edgekiln.targets.engines import engine_of
from edgekiln.targets.estimate import estimate_latency
from edgekiln.targets.evidence import Tier
from edgekiln.targets.fit import relative_nnls
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import CostTable, Evidence, Target
from edgekiln.targets.workload import LayerWork

from .figure import FULL, Figure, Scale
from .host_families import Unseen, unseen

NETWORKS, QUICK_NETWORKS = 80, 5
BUDGET_S = 70.0  # of a full run's calibration; a quick one measures what a table needs
SEED = 41_000  # of the networks; nothing was tried on them
PASSES = 6
WITHIN = 0.10
FORMS = (Form("tflite"), Form("tflite", "float32"), Form("onnx"))
QUICK_FORMS = (Form("tflite"),)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Judged:
    """Networks of one form: µs measured now and predicted, by name of what predicted them."""

    families: tuple[str, ...]
    measured: Floats
    again: Floats  # half of the timings, against the other half
    predicted: Mapping[str, Floats]
    upper: Floats


def run(scale: Scale) -> Iterator[Figure]:
    """Seconds of the calibration, then errors and cover of every form beside the baselines."""
    full = scale.samples >= FULL.samples
    forms = FORMS if full else QUICK_FORMS
    target = load_target("host")
    how = Measuring(budget_s=BUDGET_S if full else None)
    measures = {form: MEASURES["host", form.format] for form in forms}
    started = time.monotonic()
    timed = time_probes(target, measures, CalibrationJournal(None, ""), scale.seed, (), how)
    tables = {form: _table(target, form, list(timed[form].values())) for form in forms}
    yield Figure("host: calibration from nothing", time.monotonic() - started, "s", "T3")
    networks = tuple(unseen(SEED + scale.seed, NETWORKS if full else QUICK_NETWORKS))
    measured = _measured(networks, forms)
    for form in forms:
        judged = _judged(networks, form, tables[form], list(timed[form].values()), measured[form])
        yield from _figures(form, tables[form], judged)


def _table(target: Target, form: Form, models: Sequence[TimedModel]) -> CostTable:
    evidence = Evidence("probes", Tier.T3, "this run")
    return engine_table(target, form, models, evidence)


def _graph(network: Unseen, form: Form) -> Graph:
    return network.int8 if form.dtype == "int8" else network.float32


def _measured(networks: Sequence[Unseen], forms: Sequence[Form]) -> dict[Form, Floats]:
    """µs (networks, passes); a pass goes over all of them, so that its moments lie apart."""
    watches = {
        form: [stopwatch(_graph(network, form), form.format) for network in networks]
        for form in forms
    }
    taken = [{form: [watch() for watch in watches[form]] for form in forms} for _ in range(PASSES)]
    return {form: np.array([one[form] for one in taken]).T for form in forms}


def _judged(
    networks: Sequence[Unseen],
    form: Form,
    table: CostTable,
    models: Sequence[TimedModel],
    times: Floats,
) -> _Judged:
    target = load_target("host")
    engine = engine_of(target, form.format)
    priced = dataclasses.replace(target, costs=(table,))
    assert table.tile is not None
    estimates = [
        estimate_latency(priced, engine_workload(_graph(n, form), engine, table.tile), engine)
        for n in networks
    ]
    graphs = [_graph(network, form) for network in networks]
    half = times.shape[1] // 2
    return _Judged(
        families=tuple(network.family for network in networks),
        measured=np.median(times, axis=1),
        again=np.median(times[:, :half], axis=1) / np.median(times[:, half:], axis=1),
        predicted={
            "": np.array([estimate.value * 1e3 for estimate in estimates]),
            "MACs alone": _by_macs(graphs, models),
            "layers looked up": _by_lookup(graphs, models),
        },
        upper=np.array([estimate.high * 1e3 for estimate in estimates]),
    )


def _figures(form: Form, table: CostTable, judged: _Judged) -> Iterator[Figure]:
    name = f"{table.engine} {table.dtype}"
    yield Figure(f"{name}: probes", table.samples, "models", "T3")
    yield Figure(f"{name}: unseen networks", len(judged.measured), "networks", "T3")
    for what, guesses in judged.predicted.items():
        errors = np.abs(guesses / judged.measured - 1)
        label = f"{name}, {what}" if what else name
        yield Figure(f"{label}: within 10 %", _share(errors <= WITHIN), "of networks", "T3")
        yield Figure(f"{label}: median error", float(np.median(errors)), "", "T3")
        if what:
            continue
        yield Figure(f"{name}: largest error", float(np.max(errors)), "", "T3")
        for family in dict.fromkeys(judged.families):
            there = np.array([own == family for own in judged.families])
            within = _share(errors[there] <= WITHIN)
            yield Figure(f"{name}: within 10 %, {family}", within, "of networks", "T3")
    covered = _share(judged.measured <= judged.upper)
    yield Figure(f"{name}: under the 90 % bound", covered, "of networks", "T3")
    yield Figure(f"{name}: the bound over the estimate", table.high_ratio, "x", "T3")
    apart = np.abs(judged.again - 1)
    yield Figure(f"{name}, timed again: within 10 %", _share(apart <= WITHIN), "of networks", "T3")
    yield Figure(f"{name}, timed again: median difference", float(np.median(apart)), "", "T3")


def _by_macs(graphs: Sequence[Graph], models: Sequence[TimedModel]) -> Floats:
    """A time for the run and one for a MAC, fitted to the networks of the calibration."""
    known = [model for model in models if model.family]
    design = np.array([[1.0, workload(model.graph).macs / 1e3] for model in known])
    prices = relative_nnls(design, np.array([model.time_us for model in known]))
    return np.array([[1.0, workload(graph).macs / 1e3] for graph in graphs]) @ prices


def _by_lookup(graphs: Sequence[Graph], models: Sequence[TimedModel]) -> Floats:
    """Each layer by the nearest of its operator that was timed alone, scaled by MACs or bytes.

    What the quickest of all takes is the run's.
    """
    alone = [(workload(model.graph).layers, model.time_us) for model in models]
    run_us = min(model.time_us for model in models)
    known = [(layers[0], us - run_us) for layers, us in alone if len(layers) == 1]
    return np.array(
        [run_us + sum(_looked_up(layer, known) for layer in workload(g).layers) for g in graphs]
    )


def _looked_up(layer: LayerWork, known: Sequence[tuple[LayerWork, float]]) -> float:
    alike = [item for item in known if item[0].op == layer.op] or known
    place = _place(layer)
    near, took_us = min(alike, key=lambda item: math.dist(_place(item[0]), place))
    by = "macs" if layer.macs and near.macs else "bytes_moved"
    return took_us * float(getattr(layer, by)) / max(1, getattr(near, by))


def _place(layer: LayerWork) -> tuple[float, ...]:
    return tuple(math.log1p(n) for n in (layer.macs, layer.bytes_moved, layer.output_elements))


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(np.mean(hits))
