"""What drift detectors say of streams of normal values, many streams at once: ours and its peers.

A detector's *path* is its statistic after each observation, (observations, streams), and it alarms
where that reaches a threshold. Page-Hinkley's and KS's are computed for all streams together and
compared with river's and scipy's on a few in the same run; ADWIN, which has no such statistic, is
river's own, stream by stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.drift import DriftDetector
from edgekiln.runtime.reference import Binner, Reference, describe

Array = npt.NDArray[np.float32]
Path = Callable[[Array], Array]


class Peer(Protocol):
    """river's detectors."""

    drift_detected: bool

    def update(self, x: float) -> object:
        """One more value."""


WINDOW = 200  # observations, of those that compare windows
DELTA = 0.15  # of Page-Hinkley, where it is tuned: of 0.005 to 0.25, what finds 0.5 sd soonest
_ALPHA = 1 - 0.0001  # river's
_DEFAULT_DELTA = 0.005
_WARM = 30
_CHUNK = 32


def e_detector(reference: Array, seed: int) -> Path:
    """Ours, with a reference sample (n, streams) for each stream: the path is its evidence."""

    def path(values: Array) -> Array:
        detector, binner = _detectors(reference, 1e9)
        rng = np.random.default_rng(seed)
        found = np.empty(values.shape, np.float32)
        answer = np.zeros(1, np.int64)
        for start in range(0, len(values), WINDOW):
            part = values[start : start + WINDOW]
            bins = binner.bins(part, rng.random(part.shape, np.float32))
            for at, row in enumerate(bins, start):
                detector.observe(row[None], answer)
                found[at] = detector.binned.evidence
        return found

    return path


def psi(reference: Array) -> Path:
    """The population stability index of windows, in 10 bins of the reference's quantiles."""
    edges = np.quantile(reference, np.arange(1, 10) / 10, axis=0).astype(np.float32)

    def statistic(window: Array) -> Array:
        below = np.stack([(window < edge).sum(axis=0) for edge in edges])
        counts = np.diff(below, axis=0, prepend=0, append=len(window))
        shares = np.maximum(counts / len(window), 1e-4)
        return ((shares - 0.1) * np.log(shares * 10)).sum(axis=0).astype(np.float32)

    return _windows(statistic)


def ks(reference: Array) -> Path:
    """The two-sample Kolmogorov-Smirnov statistic of windows against the reference."""
    ordered = np.sort(reference, axis=0)

    def statistic(window: Array) -> Array:
        return np.array(
            [_distance(ordered[:, row], np.sort(window[:, row])) for row in range(window.shape[1])],
            np.float32,
        )

    return _windows(statistic)


def page_hinkley(delta: float = _DEFAULT_DELTA) -> Path:
    """river's Page-Hinkley test both ways, until its first alarm."""

    def path(values: Array) -> Array:
        found = np.zeros(values.shape, np.float32)
        mean, up, down = np.zeros((3, values.shape[1]))
        lowest, highest = np.full(values.shape[1], np.inf), np.full(values.shape[1], -1.0)
        for at, row in enumerate(values.astype(np.float64)):
            mean += (row - mean) / (at + 1)
            up = _ALPHA * up + (row - mean) - delta
            down = _ALPHA * down + (row - mean) + delta
            np.minimum(lowest, up, out=lowest)
            np.maximum(highest, down, out=highest)
            if at + 1 >= _WARM:
                found[at] = np.maximum(up - lowest, highest - down)
        return found

    return path


def adwin_first(values: Array, delta: float, after: int = 0) -> npt.NDArray[np.int64]:
    """For each stream, the first observation at or behind `after` at which river's ADWIN alarms.

    It is counted from 1, and 0 where there is none.
    """
    from river.drift import ADWIN

    first = np.zeros(values.shape[1], np.int64)
    for stream, column in enumerate(values.T.tolist()):
        detector = ADWIN(delta=delta)
        for at, value in enumerate(column):
            detector.update(value)
            if at >= after and detector.drift_detected:
                first[stream] = at + 1
                break
    return first


def first_alarms(path: Array, threshold: float, after: int = 0) -> npt.NDArray[np.int64]:
    """As `adwin_first`, of a path."""
    over = path[after:] >= threshold
    return np.where(over.any(axis=0), over.argmax(axis=0) + after + 1, 0)


def disagreements(seed: int) -> int:
    """How many of 40 figures differ from those of scipy and river: none should."""
    from river.drift import PageHinkley
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(seed)
    reference, values = (rng.normal(size=(size, 20)).astype(np.float32) for size in (500, 2 * 1000))
    values[1000:] += 1
    found = ks(reference)(values[:WINDOW])[-1]
    theirs = [ks_2samp(reference[:, row], values[:WINDOW, row]).statistic for row in range(20)]
    wrong = int((np.abs(found - theirs) > 1e-6).sum())
    ours = first_alarms(page_hinkley()(values), 50.0)
    for row in range(20):
        detector, first = PageHinkley(), 0
        for at, value in enumerate(values[:, row].tolist()):
            detector.update(value)
            if detector.drift_detected:
                first = at + 1
                break
        wrong += int(first != ours[row])
    return wrong


def _windows(statistic: Callable[[Array], Array]) -> Path:
    """A path that stands at 0 but where a window ends."""

    def path(values: Array) -> Array:
        found = np.zeros(values.shape, np.float32)
        for end in range(WINDOW, len(values) + 1, WINDOW):
            found[end - 1] = statistic(values[end - WINDOW : end])
        return found

    return path


def _distance(ordered: Array, window: Array) -> float:
    """Between two sorted samples."""
    below = np.searchsorted(ordered, window, side="left") / len(ordered)
    upto = np.searchsorted(ordered, window, side="right") / len(ordered)
    count = np.arange(len(window)) / len(window)
    return float(max((upto - count).max(), (count + 1 / len(window) - below).max()))


def raised(
    reference: Array, rng: np.random.Generator, observations: int, threshold: float
) -> npt.NDArray[np.bool_]:
    """Which of our detectors, one for each stream, alarm on so many values like the reference's."""
    detector, binner = _detectors(reference, threshold)
    answers = np.zeros(_CHUNK, np.int64)
    for _ in range(0, observations, _CHUNK):
        values = rng.standard_normal((_CHUNK, reference.shape[1]), np.float32)
        detector.observe(binner.bins(values, rng.random(values.shape, np.float32)), answers)
    return detector.take_raised()[0]


def _detectors(reference: Array, threshold: float) -> tuple[DriftDetector, Binner]:
    count, streams = reference.shape
    features = tuple(describe(str(row), column) for row, column in enumerate(reference.T))
    sums = Reference(features[:-1], (0.5, 0.5), features[-1], samples=count, answers=count)
    return DriftDetector(sums, threshold / (streams + 1)), Binner(features)
