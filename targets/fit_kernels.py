"""Fitting what one pass of the parts of an engine's kernels takes, from whole models that it ran.

A model's time is a time for the run and the passes of its layers (`LayerWork.loops`) times what one
pass takes, none of it negative. Relative errors are minimised, those of models that something
disturbed counting little (iteratively reweighted least squares: Huber 1981, "Robust Statistics"),
and models that were slower than predicted less than faster ones, since that is what disturbs.

Probes are not networks: what networks of several families take over what the probes say is one
factor for all prices, the median over families. So the interval is that of each family's networks
under the factor of the others: a family that no calibration saw is as likely to differ.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .conformal import COVERAGE, fewest, ratio_interval
from .errors import MeasurementError
from .evidence import Tier
from .fit import MIN_SAMPLES, Sample, scaled_nnls
from .target import CostTable, OpCost, Tile
from .workload import LayerWork, Workload

FloatArray = npt.NDArray[np.float64]

_TURNS = 6  # of reweighting
_USUAL = 0.03  # relative errors up to this keep their whole weight
_SLOWER, _FASTER = 1.0, 0.5  # powers by which larger ones lose it: what disturbs a model slows it
_STRAY = 0.5  # and beyond this have none
_SHARED = 3  # operators that have a name, and any other may


@dataclass(frozen=True, slots=True)
class Source:
    """What ran the models: the engine, its number format, tile and the evidence for the times."""

    engine: str
    dtype: str
    tile: Tile
    tier: Tier
    evidence_id: str


@dataclass(frozen=True, slots=True)
class FamilySample:
    """A network of a family that the fit does not see."""

    family: str
    sample: Sample


@dataclass(frozen=True, slots=True)
class Prices:
    """µs of a run, and ns of one pass by name."""

    per_run_us: float
    passes: dict[str, float]

    def time_us(self, workload: Workload) -> float:
        """What a model takes. Raises MeasurementError where a name has no price."""
        total = 0.0
        for layer in workload.layers:
            for name, count in layer.loops:
                if name not in self.passes:
                    raise MeasurementError(f"no probe passes '{name}' of '{layer.op}'")
                total += self.passes[name] * count
        return self.per_run_us + total / 1e3


def fit_kernels(
    samples: Sequence[Sample], held_out: Sequence[FamilySample], source: Source
) -> CostTable:
    """The table that explains `samples`, centred on the networks `held_out`.

    Raises:
        MeasurementError: fewer than 3 samples or 9 held-out networks, held-out networks of one
            family, a time that is not above 0, another dtype, an operator that one sample alone
            has, or a name in a held-out network that no sample has.
    """
    _check(samples, held_out, source.dtype)
    prices = price(samples)
    ratios: dict[str, list[float]] = defaultdict(list)
    for item in held_out:
        predicted = prices.time_us(item.sample.workload)
        ratios[item.family].append(item.sample.time_us / predicted)
    centre, left_out = _centred(ratios)
    low, high = ratio_interval(left_out)
    passes = {name: ns * centre for name, ns in prices.passes.items()}
    return CostTable(
        ops=_by_op(samples, passes),
        engine=source.engine,
        dtype=source.dtype,
        tier=source.tier,
        evidence_id=source.evidence_id,
        low_ratio=low,
        high_ratio=high,
        per_run_us=prices.per_run_us * centre,
        samples=len(samples),
        heldout_median_ape=float(np.median(np.abs(1 / left_out - 1))),
        interval="family-out",
        heldout_ratios=tuple(float(ratio) for ratio in np.sort(left_out)),
        tile=source.tile,
    )


def price(samples: Sequence[Sample]) -> Prices:
    """Prices of every name that the samples have."""
    names = sorted(
        {name for s in samples for layer in s.workload.layers for name, _ in layer.loops}
    )
    columns = {name: index for index, name in enumerate(names, 1)}
    design = np.zeros((len(samples), 1 + len(names)))
    design[:, 0] = 1.0
    for row, sample in zip(design, samples, strict=True):
        for layer in sample.workload.layers:
            for name, count in layer.loops:
                row[columns[name]] += count / 1e3
    times = np.array([sample.time_us for sample in samples])
    solution = _robust(design, times)
    passes = {name: float(ns) for name, ns in zip(names, solution[1:], strict=True)}
    return Prices(float(solution[0]), passes)


def cross_validated(samples: Sequence[Sample], folds: int = 4) -> float:
    """Mean |log(predicted/actual)| of samples that a fit to the others predicts, each at most the
    half of a stray's; a name that the others lack costs nothing there."""
    place = np.arange(len(samples)) % folds
    errors = []
    for fold in range(folds):
        known = price([s for s, at in zip(samples, place, strict=True) if at != fold])
        for sample in (s for s, at in zip(samples, place, strict=True) if at == fold):
            predicted = known.per_run_us + sum(
                known.passes.get(name, 0.0) * count / 1e3
                for layer in sample.workload.layers
                for name, count in layer.loops
            )
            error = abs(math.log(max(predicted, 1e-9) / sample.time_us))
            errors.append(min(error, _STRAY / 2))
    return float(np.mean(errors))


def _robust(design: FloatArray, times: FloatArray) -> FloatArray:
    weights = np.ones(len(times))
    solution = np.zeros(design.shape[1])
    for _ in range(_TURNS):
        kept = weights > 0
        solution = scaled_nnls(design[kept], times[kept], times[kept] / weights[kept])
        errors = design @ solution / times - 1
        size = np.maximum(np.abs(errors), 1e-9)
        power = np.where(errors < 0, _SLOWER, _FASTER)
        weights = np.minimum(1.0, (_USUAL / size) ** power)
        weights[size > _STRAY] = 0.0
        if np.count_nonzero(weights) < MIN_SAMPLES:
            break
    return solution


def _centred(ratios: dict[str, list[float]]) -> tuple[float, FloatArray]:
    """The factor of all families, and each network's ratio under the factor of the others."""
    middle = {family: float(np.median(found)) for family, found in ratios.items()}
    left_out = [
        ratio / float(np.median([m for other, m in middle.items() if other != family]))
        for family, found in ratios.items()
        for ratio in found
    ]
    return float(np.median(list(middle.values()))), np.array(left_out)


def _by_op(samples: Sequence[Sample], passes: dict[str, float]) -> dict[str, OpCost]:
    """Prices under the operators whose layers have them; what many have, any may have."""
    layers: list[LayerWork] = [layer for s in samples for layer in s.workload.layers]
    users: dict[str, set[str]] = defaultdict(set)
    for layer in layers:
        for name, _ in layer.loops:
            users[name].add(layer.op)
    shared = {name for name, ops in users.items() if len(ops) >= _SHARED}
    return {
        op: OpCost(
            *(0.0, 0.0, 0.0),
            loops={n: ns for n, ns in passes.items() if n in shared or op in users[n]},
        )
        for op in sorted({layer.op for layer in layers})
    }


def _check(samples: Sequence[Sample], held_out: Sequence[FamilySample], dtype: str) -> None:
    if len(samples) < MIN_SAMPLES:
        msg = f"a cost table needs at least {MIN_SAMPLES} timed models, there are {len(samples)}"
        raise MeasurementError(msg)
    if len(held_out) < fewest(COVERAGE) or len({item.family for item in held_out}) == 1:
        msg = f"{len(held_out)} held-out networks of {len({i.family for i in held_out})} families"
        raise MeasurementError(f"{msg} cannot bound at {COVERAGE:.0%}; it takes 9 of two or more")
    seen: dict[str, int] = defaultdict(int)
    for sample in (*samples, *(item.sample for item in held_out)):
        if sample.workload.dtype != dtype:
            msg = f"a sample is {sample.workload.dtype}, the cost table is for {dtype}"
            raise MeasurementError(msg)
        if not (sample.time_us > 0 and math.isfinite(sample.time_us)):
            raise MeasurementError(f"a sample took {sample.time_us} µs; a time must be above 0")
    for sample in samples:
        for op in {layer.op for layer in sample.workload.layers}:
            seen[op] += 1
    lonely = sorted(op for op, count in seen.items() if count == 1)
    if lonely:
        msg = f"operator '{lonely[0]}' is in one sample only; a checked cost needs two or more"
        raise MeasurementError(msg)
