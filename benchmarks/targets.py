"""What predictions are worth: published rows, few measurements, instructions, bounds, speed.

Every part has its baselines in the same run: a fit to multiply-accumulates (MACs) alone, and for
instructions a table of layers looked up by their shape. Parts that need data or an emulator say so
where these are absent.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.engine_workload import engine_workload
from edgekiln.compiler.kernel_loops import kernel_workload
from edgekiln.compiler.layer_counts import counted_model, layer_instructions
from edgekiln.compiler.probe_networks import networks
from edgekiln.targets.conformal import rank
from edgekiln.targets.core_costs import instruction_table
from edgekiln.targets.emulate import missing_tools
from edgekiln.targets.estimate import estimate_many
from edgekiln.targets.evidence import Tier
from edgekiln.targets.fit import relative_nnls
from edgekiln.targets.fit_loops import CountedModel, predicted
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import CostTable, OpCost, Target, Tile
from edgekiln.targets.workload import Workload

from . import fewshot
from .figure import FULL, Figure, Scale
from .fit_published import (
    LeftOut,
    leave_boards_out,
    macs_alone,
    macs_and_clock,
    median_error,
    published_rows,
)

TARGET = "cortex-m4"
UNSEEN, QUICK_UNSEEN = 100, 4  # networks; their seeds are not those of the fit
UNSEEN_SEED = 1
WITHIN = 0.03
SPEED_NETWORKS, SPEED_ESTIMATES = 50, 20_000
PER_SECOND = 20_000
TILE = Tile(rows=7, columns=16, depth=8, lanes=16)
COVERAGE_ROUNDS = 2000
COVERAGE_SLACK = 0.02  # of a rate found by simulation


def run(scale: Scale) -> Iterator[Figure]:
    """All parts."""
    yield from _published()
    yield from fewshot.run(scale)
    yield from _instructions(scale)
    yield from _speed()
    yield from _coverage(scale.seed)


def _published() -> Iterator[Figure]:
    """Median error on boards that are left out, and those of the baselines over it."""
    default = Path(__file__).parents[2] / "shared" / "data"
    data = Path(os.environ.get("EDGEKILN_DATA", default))
    if not (data / "latency" / "mlperf_tiny_published.csv").is_file():
        yield Figure("published rows: no data, set EDGEKILN_DATA", 0, "rows", "T1")
        return
    rows = published_rows(data)
    ours = leave_boards_out(rows)
    error = median_error(ours)
    known = LeftOut(ours.rows, ours.ratios[ours.known], ours.known)
    yield Figure("published rows, boards left out: rows", len(rows), "rows", "T1")
    yield Figure("published rows, boards left out: median error", error, "", "T1")
    yield Figure("published rows, class of core known: median error", median_error(known), "", "T1")
    for name, fitted in (("MACs", macs_alone), ("MACs and clock", macs_and_clock)):
        alone = median_error(leave_boards_out(rows, fitted))
        yield Figure(f"published rows, {name} only: median error", alone, "", "T1")
        yield Figure(f"published rows, ours over {name} only", error / alone, "", "T1", 0.5)


def _instructions(scale: Scale) -> Iterator[Figure]:
    """Predicted instructions of networks that no fit has seen, on the emulated Cortex-M4."""
    table, absent = instruction_table(TARGET), missing_tools()
    if absent or table is None:
        yield Figure(f"instructions: not installed: {', '.join(absent)}", 0, "networks", "T2")
        return
    target = load_target(TARGET)
    family = family_of_core(target.core)
    count = UNSEEN if scale.samples >= FULL.samples else QUICK_UNSEEN
    models = [
        counted_model(graph, family, layer_instructions(graph, target))
        for graph in networks(UNSEEN_SEED + scale.seed, count)
    ]
    ratios = np.array([predicted(m, table.ops) / m.instructions for m in models])
    yield Figure("instructions, unseen networks", len(models), "networks", "T2")
    off = np.abs(ratios - 1) > WITHIN
    together = np.array([any(len(call.works) > 1 for call in m.calls) for m in models])
    yield Figure("instructions, with layers in strips", int(together.sum()), "networks", "T2")
    alone = float(np.mean(off[~together])) if not together.all() else 0.0
    yield Figure("instructions, more than 3 % off, no strips", alone, "of networks", "T2")
    yield Figure("instructions, more than 3 % off", float(np.mean(off)), "of networks", "T2", 0.05)
    yield Figure("instructions, median error", float(np.median(np.abs(ratios - 1))), "", "T2")
    yield Figure("instructions, largest error", float(np.max(np.abs(ratios - 1))), "", "T2")
    covered = float(np.mean(1 / ratios <= table.high_ratio))
    yield Figure("instructions, under the 90 % bound", covered, "of networks", "T2")
    for name, guesses in (
        ("MACs only", _by_macs(models)),
        ("layers looked up", _by_lookup(models)),
    ):
        errors = np.abs(guesses / np.array([m.instructions for m in models]) - 1)
        yield Figure(f"instructions, {name}: median error", float(np.median(errors)), "", "T2")
        outside = float(np.mean(errors > WITHIN))
        yield Figure(f"instructions, {name}: more than 3 % off", outside, "of networks", "T2")


def _by_macs(models: Sequence[CountedModel]) -> np.ndarray:
    """Each network by instructions per MAC of the others: a baseline."""
    macs = np.array([[1.0, sum(work.macs for work in m.works)] for m in models])
    counts = np.array([float(m.instructions) for m in models])
    guesses = np.empty(len(models))
    for index in range(len(models)):
        others = np.arange(len(models)) != index
        guesses[index] = macs[index] @ relative_nnls(macs[others], counts[others])
    return guesses


def _by_lookup(models: Sequence[CountedModel]) -> np.ndarray:
    """Each layer by the nearest one of its operator in the other networks: a baseline.

    Nearest by the logarithms of MACs, bytes and outputs, scaled by MACs (by bytes where there are
    none).
    """
    guesses = []
    for index, model in enumerate(models):
        others = [call for i, m in enumerate(models) if i != index for call in m.calls]
        others = [call for call in others if len(call.works) == 1]
        total = 0.0
        for work in model.works:
            alike = [o for o in others if o.works[0].op == work.op] or others
            place = _place(work)
            near = min(alike, key=lambda o: float(np.sum((_place(o.works[0]) - place) ** 2)))
            by = "macs" if work.macs and near.works[0].macs else "bytes_moved"
            scale = getattr(work, by) / max(1, getattr(near.works[0], by))
            total += near.instructions * scale
        guesses.append(total)
    return np.array(guesses)


def _place(work: object) -> np.ndarray:
    names = ("macs", "bytes_moved", "output_elements")
    return np.log1p([getattr(work, name) for name in names])


def _speed() -> Iterator[Figure]:
    """Estimates of search-sized networks: layers that many of them share are priced once."""
    target = load_target(TARGET)
    family = family_of_core(target.core)
    distinct = [kernel_workload(graph, family) for graph in networks(7, SPEED_NETWORKS)]
    layers = float(np.mean([len(work.layers) for work in distinct]))
    yield Figure("estimates, layers of a network", layers, "layers", "T2")
    yield from _timed_estimates("generated C", target, distinct, "c")
    given = [engine_workload(graph, "litert", TILE) for graph in networks(7, SPEED_NETWORKS)]
    host = dataclasses.replace(load_target("host"), costs=(_priced(given),))
    yield from _timed_estimates("LiteRT", host, given, "litert")


def _timed_estimates(
    name: str, target: Target, distinct: Sequence[Workload], engine: str
) -> Iterator[Figure]:
    # Objects of their own, as a search makes them: nothing is recognised by its identity.
    works = [_copied(distinct[i % len(distinct)]) for i in range(SPEED_ESTIMATES)]
    estimate_many(target, works[:SPEED_NETWORKS], engine)
    started = time.process_time()
    estimate_many(target, works, engine)
    spent = time.process_time() - started
    yield Figure(f"estimates a second of CPU, {name}", SPEED_ESTIMATES / spent, "1/s", "measured")
    taken = spent * PER_SECOND / SPEED_ESTIMATES
    yield Figure(f"estimates, 20,000 take, {name}", taken, "CPU s", "measured", 1.0)


def _priced(works: Sequence[Workload]) -> CostTable:
    """A table with a price for all that the works pass: what it is does not change the speed."""
    layers = [layer for work in works for layer in work.layers]
    passes = {name: 1.0 for layer in layers for name, _ in layer.loops}
    ops = {layer.op: OpCost(0.0, 0.0, 0.0, loops=passes) for layer in layers}
    return CostTable(ops, "litert", "int8", Tier.T3, "made up", 0.9, 1.1, tile=TILE)


def _copied(work: Workload) -> Workload:
    return Workload(tuple(copy.copy(layer) for layer in work.layers), work.dtype)


def _coverage(seed: int) -> Iterator[Figure]:
    """How often a new ratio is under the bound of held-out ones, by simulation."""
    rng = np.random.default_rng(seed)
    for count in (9, 14, 21):
        ratios = rng.lognormal(0, 0.3, (COVERAGE_ROUNDS, count + 1))
        bounds = np.sort(ratios[:, :-1], axis=1)[:, rank(count, 0.9) - 1]
        missed = float(np.mean(ratios[:, -1] > bounds))
        name = f"bound at 90 % of n = {count}, simulated: above it"
        yield Figure(name, missed, "of models", "exact", 0.1 + COVERAGE_SLACK)
