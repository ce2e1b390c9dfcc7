"""Observers: the range of an activation from batches of calibration data, in bounded memory.

An observer is fed arrays of any shape and size and then asked for one range (low, high), zero
always included. How the data was cut into batches changes nothing.

All but min-max stand on one streaming histogram. Its bins are [i·w, (i+1)·w) with w a power of
two, so widening merges bins in pairs and no element is ever counted in a bin it is not in.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Range = tuple[float, float]
Float64 = npt.NDArray[np.float64]

BINS = 2048  # of a histogram; 8 for each of the 256 codes of an int8
_FINEST = -60  # exponent of the finest bin width; data below 2^-60 is as good as zero
_LEVELS = 256  # codes of an int8
_SHRINKS = 100  # candidate ranges of one search


class Observer(Protocol):
    """What watches one activation."""

    def update(self, data: npt.NDArray[Any]) -> None:
        """Take in finite elements of any shape."""

    def range(self) -> Range:
        """(low, high) with low ≤ 0 ≤ high; (0, 0) before any element."""


class ObserverName(enum.StrEnum):
    """Rules that make a range, as recipes spell them."""

    MIN_MAX = "min_max"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"


class MinMaxObserver:
    """From the smallest to the largest element: nothing is clipped."""

    def __init__(self) -> None:
        self._low = self._high = 0.0

    def update(self, data: npt.NDArray[Any]) -> None:
        """Take in finite elements of any shape."""
        if data.size:
            self._low = min(self._low, float(data.min()))
            self._high = max(self._high, float(data.max()))

    def range(self) -> Range:
        """The exact ends."""
        return self._low, self._high


class Histogram:
    """Exact counts of bins [i·width, (i+1)·width), of which at most BINS are in use.

    `width` is the smallest power of two for which zero and every element seen fit into BINS bins:
    it depends on the data alone, not on the batches.
    """

    def __init__(self) -> None:
        self._extremes = MinMaxObserver()
        self._exponent = _FINEST
        # Zero is always inside and the span is at most BINS, so |i| ≤ BINS: no offset to keep.
        self._counts = np.zeros(2 * BINS, np.int64)

    @property
    def width(self) -> float:
        """Of one bin."""
        return math.ldexp(1.0, self._exponent)

    @property
    def extremes(self) -> Range:
        """Smallest and largest element, zero included, exact."""
        return self._extremes.range()

    @property
    def nbytes(self) -> int:
        """Memory of the counts."""
        return self._counts.nbytes

    def update(self, data: npt.NDArray[Any]) -> None:
        """Count finite elements."""
        if data.size == 0:
            return
        self._extremes.update(data)
        while self._span() > BINS:
            self._widen()
        scaled = np.floor(data.astype(np.float64).ravel() / self.width).astype(np.int64)
        self._counts += np.bincount(scaled + BINS, minlength=2 * BINS)

    def bins(self) -> tuple[Float64, npt.NDArray[np.int64]]:
        """Lower edges and counts of every bin between the extremes, ascending."""
        low, high = (math.floor(end / self.width) for end in self.extremes)
        edges = np.arange(low, high + 1, dtype=np.float64) * self.width
        return edges, self._counts[low + BINS : high + BINS + 1]

    def _span(self) -> int:
        low, high = self.extremes
        return math.floor(high / self.width) - math.floor(low / self.width) + 1

    def _widen(self) -> None:
        """Twice the width: bins 2i and 2i + 1 become bin i."""
        merged = self._counts.reshape(BINS, 2).sum(axis=1)
        self._counts = np.zeros_like(self._counts)
        self._counts[BINS // 2 : BINS // 2 + BINS] = merged
        self._exponent += 1


class HistogramObserver:
    """A histogram and the rule that reads a range off it."""

    def __init__(self, rule: Callable[[Histogram], Range]) -> None:
        self.histogram = Histogram()
        self._rule = rule

    def update(self, data: npt.NDArray[Any]) -> None:
        """Take in finite elements of any shape."""
        self.histogram.update(data)

    def range(self) -> Range:
        """What the rule makes of the histogram, zero included."""
        if self.histogram.extremes == (0.0, 0.0):
            return 0.0, 0.0
        low, high = self._rule(self.histogram)
        return min(low, 0.0), max(high, 0.0)


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """The middle `percentile` % of all elements, within one bin; an equal share is cut each side.

    The ends are outer edges of the bins that hold the two order statistics, never wider than the
    extremes.
    """
    edges, counts = histogram.bins()
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1])
    tail = (100.0 - percentile) / 200.0
    first = int(np.searchsorted(cumulative, max(math.ceil(tail * total), 1)))
    last = int(np.searchsorted(cumulative, max(math.ceil((1.0 - tail) * total), 1)))
    low, high = histogram.extremes
    return max(low, float(edges[first])), min(high, float(edges[last]) + histogram.width)


def mse_range(histogram: Histogram) -> Range:
    """The range, among shrunk ones, with the least squared error of rounding and clipping."""
    return _best_range(histogram, _squared_error)


def entropy_range(histogram: Histogram) -> Range:
    """The range, among shrunk ones, whose int8 histogram diverges least from the data's.

    Kullback-Leibler divergence as in S. Migacz, 8-bit inference with TensorRT (GTC 2017), for
    ranges that need not be symmetric.
    """
    return _best_range(histogram, _divergence)


Cost = Callable[[Float64, Float64, Range], float]


def _best_range(histogram: Histogram, cost: Cost) -> Range:
    """Shrink both ends together, then each on its own; ties go to the wider range."""
    low, high = histogram.extremes
    edges, counts = histogram.bins()
    centres = np.clip(edges + histogram.width / 2, low, high)
    weights = counts.astype(np.float64)
    shares = [step / _SHRINKS for step in range(_SHRINKS, 0, -1)]

    def best(candidates: list[Range]) -> Range:
        return min(candidates, key=lambda ends: cost(centres, weights, ends))

    chosen = best([(low * share, high * share) for share in shares])
    chosen = best([chosen, *((low * share, chosen[1]) for share in shares)])
    return best([chosen, *((chosen[0], high * share) for share in shares)])


def _squared_error(centres: Float64, weights: Float64, ends: Range) -> float:
    low, high = ends
    if high <= low:
        return math.inf
    step = (high - low) / (_LEVELS - 1)
    zero_point = np.rint(-low / step)
    codes = np.clip(np.rint(centres / step) + zero_point, 0, _LEVELS - 1)
    return float(weights @ (centres - (codes - zero_point) * step) ** 2)


def _divergence(centres: Float64, weights: Float64, ends: Range) -> float:
    low, high = ends
    inside = np.flatnonzero((centres >= low) & (centres <= high))
    if len(inside) < _LEVELS or weights[inside].sum() == 0:
        return math.inf  # fewer bins than codes say nothing about rounding
    kept = weights[inside]
    exact = kept.copy()
    exact[0] += weights[: inside[0]].sum()  # what is clipped piles up at the ends
    exact[-1] += weights[inside[-1] + 1 :].sum()
    codes = np.arange(len(inside)) * _LEVELS // len(inside)
    sums = np.bincount(codes, kept, _LEVELS)
    filled = np.maximum(np.bincount(codes, kept > 0, _LEVELS), 1)
    rounded = np.where(kept > 0, (sums / filled)[codes], 0.0)
    return _kullback_leibler(exact / exact.sum(), rounded / rounded.sum())


def _kullback_leibler(p: Float64, q: Float64) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))))


def _percentile_observer(percentile: float) -> Observer:
    return HistogramObserver(lambda histogram: percentile_range(histogram, percentile))


OBSERVERS: Mapping[ObserverName, Callable[[float], Observer]] = {
    ObserverName.MIN_MAX: lambda percentile: MinMaxObserver(),
    ObserverName.PERCENTILE: _percentile_observer,
    ObserverName.ENTROPY: lambda percentile: HistogramObserver(entropy_range),
    ObserverName.MSE: lambda percentile: HistogramObserver(mse_range),
}
"""Makers of a fresh observer by name; the argument is the percentile, 50 to 100."""
