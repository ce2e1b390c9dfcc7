"""`Places`: how much of the input the windows of a layer meet, summed over all places.

The kernels gather each window row by row; taps outside the input are filled. Rows and columns are
independent of each other, so sums over all places are products of sums over each axis.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .graph import Graph, Node
from .ops import ConvAttrs, PoolAttrs


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a sliding window: for each place (first tap inside, first tap after those)."""

    taps: tuple[tuple[int, int], ...]
    kernel: int
    dilation: int

    @property
    def inside(self) -> int:
        """Taps inside the input, over all places."""
        return sum(end - first for first, end in self.taps)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What gathering some places costs: passes of loops, summed over the places.

    `rows_in` and `rows_out` are rows of windows that meet the input and that do not; `segments`
    runs of `units` bytes are copied, `filled` taps are filled.
    """

    places: int
    rows_in: int
    rows_out: int
    segments: int
    chunks: int  # of `chunk` units, the unrolled part of the copies
    rest: int  # units that are left
    filled: int  # taps


@lru_cache(maxsize=4096)
def axis(size: int, out: int, kernel: int, stride: int, dilation: int, before: int) -> Axis:
    """Rows or columns of a window over `size` inputs with `before` of padding."""
    taps = []
    for place in range(out):
        start = place * stride - before
        first = max(0, -(start // dilation)) if start < 0 else 0
        end = min(kernel, -(-(size - start) // dilation)) if start < size else 0
        taps.append((first, max(first, end)))
    return Axis(tuple(taps), kernel, dilation)


def axes(graph: Graph, node: Node, kernel: tuple[int, int]) -> tuple[Axis, Axis]:
    """Rows and columns of the window of a convolution or a pooling."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs | PoolAttrs)
    dilation = attrs.dilation if isinstance(attrs, ConvAttrs) else (1, 1)
    _, *sizes, _ = graph.values[node.inputs[0]].shape
    _, *outs, _ = graph.values[node.output].shape
    rows, columns = (
        axis(sizes[i], outs[i], kernel[i], attrs.stride[i], dilation[i], attrs.padding[i][0])
        for i in (0, 1)
    )
    return rows, columns


@lru_cache(maxsize=4096)
def gathered(rows: Axis, columns: Axis, unit: int, chunk: int) -> Gathered:
    """Gathering every place, where a tap has `unit` bytes and a pass copies `chunk` of them."""
    inside = sum(end - first for first, end in rows.taps)
    per_row = [_row(place, columns, unit, chunk) for place in columns.taps]
    totals = (sum(part) for part in zip(*per_row, strict=True))
    segments, chunks, rest, filled = totals if per_row else (0, 0, 0, 0)
    windows = len(columns.taps)
    outside = len(rows.taps) * rows.kernel - inside
    return Gathered(
        places=len(rows.taps) * windows,
        rows_in=inside * windows,
        rows_out=outside * windows,
        segments=inside * segments,
        chunks=inside * chunks,
        rest=inside * rest,
        filled=inside * filled + outside * windows * columns.kernel,
    )


def within(rows: Axis, columns: Axis) -> tuple[Axis, Axis]:
    """The places whose windows lie inside the input, with rows whose taps are neighbours."""
    return _within(rows), _within(columns if columns.dilation == 1 else Axis((), 1, 1))


def _within(along: Axis) -> Axis:
    full = tuple(taps for taps in along.taps if taps == (0, along.kernel))
    return Axis(full, along.kernel, along.dilation)


def tail_places(rows: Axis, columns: Axis, unit: int, chunk: int, count: int) -> Gathered:
    """Gathering the last `count` places alone."""
    total = len(rows.taps) * len(columns.taps)
    last = [_place(rows, columns, index) for index in range(total - count, total)]
    return added(gathered(*place, unit, chunk) for place in last)


def tail_within(rows: Axis, columns: Axis, unit: int, chunk: int, count: int) -> Gathered:
    """Of the last `count` places those whose windows lie inside the input."""
    total = len(rows.taps) * len(columns.taps)
    last = [_place(rows, columns, index) for index in range(total - count, total)]
    return added(gathered(*within(*place), unit, chunk) for place in last)


def added(parts: Iterable[Gathered]) -> Gathered:
    """Sums over `parts`."""
    every = list(parts)
    return Gathered(*(sum(getattr(part, name) for part in every) for name in Gathered.__slots__))


def less(whole: Gathered, part: Gathered) -> Gathered:
    """What of `whole` is not of `part`."""
    names = Gathered.__slots__
    return Gathered(*(getattr(whole, name) - getattr(part, name) for name in names))


def _place(rows: Axis, columns: Axis, index: int) -> tuple[Axis, Axis]:
    """One place as axes with one each; places go from left to right, from top to bottom."""
    width = len(columns.taps)
    return (
        Axis((rows.taps[index // width],), rows.kernel, rows.dilation),
        Axis((columns.taps[index % width],), columns.kernel, columns.dilation),
    )


def _row(taps: tuple[int, int], columns: Axis, unit: int, chunk: int) -> tuple[int, int, int, int]:
    """Segments, unrolled passes, what is left and filled taps of one row of a window."""
    first, end = taps
    inside = end - first
    filled = columns.kernel - inside
    if not inside:
        return 0, 0, 0, filled
    segments, length = (1, inside * unit) if columns.dilation == 1 else (inside, unit)
    return segments, segments * (length // chunk), segments * (length % chunk), filled
