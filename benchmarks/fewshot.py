"""A new device from 10 and 20 measured architectures, on two public latency sets.

NAS-Bench-201 (15,625 cells) and FBNet (5,000 networks), six devices each, from HELP's repository
(MIT; `latency` of the data folder). Architectures to measure are drawn at random, 12 times for each
device and number; all others are the test. A second row chooses them by D-optimal design out of 300
drawn at random. No other device's times are used. Beside it stand a MACs-only fit to the same
measurements, and the table fitted to every architecture, which is what its form can reach at best.

The rules that are tried (every operator runs; results that nothing uses are dropped; a result that
does not depend on the input costs nothing as well) were found on the pixel3 of NAS-Bench-201, whose
times follow the third.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.targets.design import choose
from edgekiln.targets.fewshot import fit_few_shot, robust_nnls

from .architectures import fbnet_views, nasbench_views
from .figure import FULL, Figure, Scale

FloatArray = npt.NDArray[np.float64]

SIZES = (10, 20)
DRAWS, QUICK_DRAWS = 12, 1
POOL = 300  # architectures that a design chooses from
TESTED = 3000  # of the others, drawn once: ranks of more say the same
SETS = {"nasbench201": nasbench_views, "fbnet": fbnet_views}


@dataclass(frozen=True, slots=True)
class Device:
    """Times in ms (architectures,) of one device, and the designs of each rule."""

    name: str
    views: Mapping[str, FloatArray]
    macs: FloatArray
    times: FloatArray


@dataclass(frozen=True, slots=True)
class Score:
    """Rank correlation with the measured times, and the share within 10 %."""

    rho: float
    within: float


def run(scale: Scale) -> Iterator[Figure]:
    """Mean rank correlation and ±10 % accuracy of each set, number and way of choosing."""
    folder = _folder()
    for name, make in SETS.items():
        path = folder / f"{name}_latency_ms.npz"
        if not path.is_file():
            yield Figure(f"few-shot, {name}: no data, set EDGEKILN_DATA", 0, "devices", "T3")
            continue
        devices = _devices(path, make)
        draws = DRAWS if scale.samples >= FULL.samples else QUICK_DRAWS
        sizes = SIZES if draws == DRAWS else SIZES[:1]
        if draws == DRAWS:
            ceiling = [_score(d, _everything(d), np.arange(len(d.times))) for d in devices]
            yield from _figures(f"few-shot, {name}, all measured", ceiling)
        for size in sizes:
            for way in ("random", "designed", "MACs only"):
                scores = [
                    _one(device, size, way, (scale.seed, draw, size))
                    for device in devices
                    for draw in range(draws)
                ]
                yield from _figures(f"few-shot, {name}, {size} {way}", scores)
                if way == "random":
                    for index, device in enumerate(devices):
                        own = scores[index * draws : (index + 1) * draws]
                        rho = float(np.mean([score.rho for score in own]))
                        title = f"few-shot, {name}, {size} {way}: {device.name}"
                        yield Figure(title, rho, "ρ", "T3")


def _figures(name: str, scores: Sequence[Score]) -> Iterator[Figure]:
    yield Figure(f"{name}: Spearman", float(np.mean([s.rho for s in scores])), "ρ", "T3")
    within = float(np.mean([score.within for score in scores]))
    yield Figure(f"{name}: within 10 %", within, "of models", "T3")


def _one(device: Device, size: int, way: str, seed: tuple[int, ...]) -> Score:
    rng = np.random.default_rng((*seed, len(device.name)))
    order = rng.permutation(len(device.times))
    shown = order[:size]
    if way == "designed":
        pool = order[:POOL]
        both = np.concatenate(list(device.views.values()), axis=1)
        shown = pool[choose([both[index : index + 1] for index in pool], size)]
    test = np.setdiff1d(order[:TESTED], shown)
    times = np.maximum(device.times, 1e-6)
    if way == "MACs only":
        line = np.stack([np.ones(len(times)), device.macs], axis=1)
        return _score(device, line @ robust_nnls(line[shown], times[shown]), test)
    fitted = fit_few_shot({rule: view[shown] for rule, view in device.views.items()}, times[shown])
    return _score(device, fitted.predict(device.views), test)


def _everything(device: Device) -> FloatArray:
    """The best rule, fitted to all architectures."""
    times = np.maximum(device.times, 1e-6)
    guesses = [view @ robust_nnls(view, times) for view in device.views.values()]
    return max(guesses, key=lambda guess: _rho(guess, times))


def _score(device: Device, guessed: FloatArray, test: npt.NDArray[np.int64]) -> Score:
    actual, guess = device.times[test], guessed[test]
    within = np.abs(guess / np.maximum(actual, 1e-9) - 1) <= 0.1
    return Score(_rho(guess, actual), float(np.mean(within)))


def _rho(guessed: FloatArray, actual: FloatArray) -> float:
    from scipy.stats import rankdata

    if np.ptp(guessed) == 0:
        return 0.0  # a constant orders nothing
    return float(np.corrcoef(rankdata(guessed), rankdata(actual))[0, 1])


def _devices(path: Path, make: object) -> list[Device]:
    assert callable(make)
    with np.load(path, allow_pickle=False) as data:
        views, macs = make(data["arch"])
        names = [name for name in data.files if name != "arch"]
        return [Device(name, views, macs, data[name].astype(np.float64)) for name in names]


def _folder() -> Path:
    default = Path(__file__).parents[2] / "shared" / "data"
    return Path(os.environ.get("EDGEKILN_DATA", default)) / "latency"
