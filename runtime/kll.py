"""KLL quantile sketches: ranks of a stream of float32 values in a size that does not grow with it.

A sketch keeps levels of items; an item of level h stands for 2^h values. A level that is full is
sorted and halved: every second item, from the first or the second as a fair coin falls, moves up.
So the weight stays exact and the error of any rank is a sum of independent fair coins (Karnin,
Lang and Liberty, "Optimal quantile approximation in streams", 2016). Capacities of levels, and the
bytes, are those of Apache DataSketches' `kll_floats_sketch`: either reads and merges the other's.

Here levels are matrices with a row for each sketch, because features of one sample come together:
sketches that have seen equally many values have levels of equal sizes, and are compacted at once.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .contract import FloatArray

MIN_K = 8
MAX_K = 65535
MIN_WIDTH = 8  # DataSketches' m: no level holds less
_STAGED = 32_768  # values that wait to be sorted in one go: 128 kB
_AT_ONCE = 64  # sketches that are merged in one step, so that memory stays bounded


@dataclass(frozen=True, eq=False)
class KllSketch:
    """What was seen of one stream; never changed, merging makes a new one.

    `levels` are float32 (size,), all but the first in ascending order. `min_k` is the smallest k
    of all that was merged into it and says how good its ranks are.
    """

    k: int
    min_k: int
    n: int
    minimum: float  # nan where there is no value
    maximum: float
    levels: tuple[FloatArray, ...]
    zero_sorted: bool = False  # the first level is in order too; kept for the bytes' sake

    @property
    def retained(self) -> int:
        """Items kept, at most `capacity(k, levels)`."""
        return sum(len(level) for level in self.levels)

    @property
    def rank_error(self) -> float:
        """See `rank_error`; 0 while every value is still kept."""
        return 0.0 if len(self.levels) == 1 else rank_error(self.min_k)

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...]:
        """The smallest kept value that at least a share of all are at most; nan without values."""
        if not self.n:
            return (float("nan"),) * len(shares)
        values, upto = self._ascending()
        wanted = np.clip(np.ceil(np.asarray(shares, float) * self.n), 1, self.n)
        places = np.searchsorted(upto, wanted, side="left")
        return tuple(float(value) for value in values[places])

    def ranks(self, values: Sequence[float], *, inclusive: bool = True) -> tuple[float, ...]:
        """The share of values that are at most each of these, or below it; nan without values."""
        if not self.n:
            return (float("nan"),) * len(values)
        return tuple(float(count) / self.n for count in self._counts(values, inclusive))

    def histogram(self, edges: Sequence[float]) -> tuple[int, ...]:
        """Counts between ascending edges, an open one at either end; an edge belongs above it."""
        if not self.n:
            return (0,) * (len(edges) + 1)
        below = self._counts(edges, inclusive=False)
        return tuple(int(count) for count in np.diff(below, prepend=0, append=self.n))

    def _counts(self, values: Sequence[float], inclusive: bool) -> npt.NDArray[np.int64]:
        kept, upto = self._ascending()
        asked = np.asarray(values, np.float32)
        places = np.searchsorted(kept, asked, side="right" if inclusive else "left")
        counts: npt.NDArray[np.int64] = np.concatenate(([0], upto))[places]
        return counts

    def _ascending(self) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Kept values in order, and the weight of each with all before it."""
        sizes = [len(level) for level in self.levels]
        weights = np.repeat(np.int64(1) << np.arange(len(sizes)), sizes)
        values = np.concatenate(self.levels)
        order = np.argsort(values, kind="stable")
        return values[order], np.cumsum(weights[order])


class KllBank:
    """Sketches of `rows` streams whose values come together; for one thread.

    Values wait unsorted until there are many, so that most calls are one copy.
    """

    def __init__(self, rows: int, k: int, rng: np.random.Generator) -> None:
        """`k` from 8 to 65535; `rng` throws the coins."""
        self._k = k
        self._rng = rng
        room = max(_STAGED // max(rows, 1) // 2, 32)
        self._staged = np.empty((room, rows), np.float32)
        self._rows = rows
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._waiting = 0
        self._n = 0
        self.skipped = 0
        self._levels = [np.empty((self._rows, 0), np.float32)]
        self._least = np.full(self._rows, np.inf, np.float32)
        self._most = np.full(self._rows, -np.inf, np.float32)

    def add(self, values: FloatArray) -> None:
        """One value a row for each of n samples, (n, rows).

        A sample with a value that is no number is left out of every row and counted in `skipped`.
        """
        start = 0
        while start < len(values):
            part = values[start : start + len(self._staged) - self._waiting]
            self._staged[self._waiting : self._waiting + len(part)] = part
            self._waiting += len(part)
            start += len(part)
            if self._waiting == len(self._staged):
                self._settle()

    def sketches(self) -> tuple[KllSketch, ...]:
        """One a row, of everything since `clear`."""
        self._settle()
        nothing = self._n == 0
        return tuple(
            KllSketch(
                k=self._k,
                min_k=self._k,
                n=self._n,
                minimum=float("nan") if nothing else float(self._least[row]),
                maximum=float("nan") if nothing else float(self._most[row]),
                levels=tuple(level[row].copy() for level in self._levels),
            )
            for row in range(self._rows)
        )

    def _settle(self) -> None:
        """Take what waits into the levels."""
        fresh = self._staged[: self._waiting]
        self._waiting = 0
        bad = np.isnan(fresh).any(axis=1)
        if bad.any():
            self.skipped += int(bad.sum())
            fresh = fresh[~bad]
        if not len(fresh):
            return
        self._n += len(fresh)
        np.minimum(self._least, fresh.min(axis=0), out=self._least)
        np.maximum(self._most, fresh.max(axis=0), out=self._most)
        # The newest value comes first, as in DataSketches.
        self._levels[0] = np.concatenate((fresh[::-1].T, self._levels[0]), axis=1)
        _compress(self._levels, self._k, self._rng)


def sketch_of(values: npt.ArrayLike, k: int, rng: np.random.Generator) -> KllSketch:
    """The sketch of one stream (n,)."""
    bank = KllBank(1, k, rng)
    bank.add(np.asarray(values, np.float32).reshape(-1, 1))
    return bank.sketches()[0]


def merge_sketches(sketches: Sequence[KllSketch], rng: np.random.Generator) -> KllSketch:
    """All of them, one or more, as one; in whatever order they come, up to the coins.

    The smallest k holds for the whole: its ranks cannot be better than those of its worst part.
    """
    if len(sketches) > _AT_ONCE:
        parts = range(0, len(sketches), _AT_ONCE)
        return merge_sketches(
            [merge_sketches(sketches[at : at + _AT_ONCE], rng) for at in parts], rng
        )
    filled = [sketch for sketch in sketches if sketch.n]
    if len(filled) < 2:
        return (filled or list(sketches))[0]
    k = min(sketch.k for sketch in filled)
    height = max(len(sketch.levels) for sketch in filled)
    levels = []
    for at in range(height):
        parts_here = [sketch.levels[at] for sketch in filled if at < len(sketch.levels)]
        levels.append(np.sort(np.concatenate(parts_here))[None])
    _compress(levels, k, rng)
    return KllSketch(
        k=k,
        min_k=min(sketch.min_k for sketch in filled),
        n=sum(sketch.n for sketch in filled),
        minimum=min(sketch.minimum for sketch in filled),
        maximum=max(sketch.maximum for sketch in filled),
        levels=tuple(level[0] for level in levels),
    )


def rank_error(k: int) -> float:
    """How far a rank may be off, as a share of all values, in 99 of 100 sketches.

    DataSketches' fit to its own measurements, `get_normalized_rank_error(k, False)`.
    """
    return float(2.296 / k**0.9723)


@functools.lru_cache(maxsize=1024)
def capacity(k: int, levels: int) -> int:
    """Items that so many levels hold."""
    return sum(level_capacity(k, levels, height) for height in range(levels))


def level_capacity(k: int, levels: int, height: int) -> int:
    """Items of one level: k at the top, two thirds of the one above it below, at least 8."""
    depth = levels - height - 1
    if depth <= 30:
        return max(MIN_WIDTH, _shrunk(k, depth))
    return max(MIN_WIDTH, _shrunk(_shrunk(k, depth // 2), depth - depth // 2))


def _shrunk(k: int, depth: int) -> int:
    return (((2 * k << depth) // int(3**depth)) + 1) // 2


def _compress(levels: list[FloatArray], k: int, rng: np.random.Generator) -> None:
    """Halve the lowest full level until everything fits; levels are (rows, size)."""
    while sum(level.shape[1] for level in levels) > capacity(k, len(levels)):
        full = next(
            height
            for height, level in enumerate(levels)
            if level.shape[1] >= level_capacity(k, len(levels), height)
        )
        _halve(levels, full, rng)


def _halve(levels: list[FloatArray], height: int, rng: np.random.Generator) -> None:
    """Move every second item of a level up; of an odd number the smallest stays."""
    level = np.sort(levels[height], axis=1) if height == 0 else levels[height]
    rows, size = level.shape
    pairs = level[:, size % 2 :].reshape(rows, size // 2, 2)
    half = pairs[np.arange(rows), :, rng.integers(0, 2, rows)]
    levels[height] = level[:, : size % 2]
    if height + 1 == len(levels):
        levels.append(half)
    else:
        levels[height + 1] = np.sort(np.concatenate((levels[height + 1], half), axis=1), axis=1)
