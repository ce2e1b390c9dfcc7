"""Where each operator of a model stands in a picture: layers from top to bottom, in strips.

An operator's rank is the length of the longest path to it. Ranks fill a strip from top to bottom
and go on in the next strip, so that a long chain is as readable as a short one. Inside a rank
operators stand in the order of their inputs' places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BOX_WIDTH, BOX_HEIGHT = 168, 40
GAP_X, GAP_Y, MARGIN = 22, 22, 16
CHANNEL = 30  # between strips
SHORTEST_STRIP = 8  # ranks
PAGE_WIDTH = 1290
MOST_BOXES = 600  # more are no picture any more


@dataclass(frozen=True, slots=True)
class Vertex:
    """An operator: `inputs` are the names of values that it reads, `output` the one it writes."""

    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, slots=True)
class Box:
    """Upper left corner of an operator, in SVG units; `index` is its place in the list."""

    index: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes in the order of the operators, and edges as SVG paths."""

    boxes: tuple[Box, ...]
    edges: tuple[str, ...]
    width: float
    height: float


def lay_out(vertices: Sequence[Vertex]) -> Layout:
    """Places for the first `MOST_BOXES` operators; values that nobody writes have no edge."""
    shown = vertices[:MOST_BOXES]
    parents = _parents(shown)
    ranks = _ranks(parents)
    rows = _rows(ranks, parents)
    per_strip = _ranks_per_strip(rows)
    boxes: dict[int, Box] = {}
    strip_left: dict[int, float] = {}  # of each operator
    left = float(MARGIN)
    for start in range(0, len(rows), per_strip):
        strip = rows[start : start + per_strip]
        width = _strip_width(strip)
        for level, row in enumerate(strip):
            inset = (width - len(row) * BOX_WIDTH - (len(row) - 1) * GAP_X) / 2
            for place, index in enumerate(row):
                x = left + inset + place * (BOX_WIDTH + GAP_X)
                boxes[index] = Box(index, x, MARGIN + GAP_Y + level * (BOX_HEIGHT + GAP_Y))
                strip_left[index] = left
        left += width + 2 * CHANNEL
    tallest = min(per_strip, len(rows))
    height = 2 * MARGIN + GAP_Y + tallest * (BOX_HEIGHT + GAP_Y)
    edges = tuple(
        _edge(boxes[parent], boxes[child], ranks[child] - ranks[parent], strip_left)
        for child, found in parents.items()
        for parent in found
    )
    ordered = tuple(boxes[index] for index in sorted(boxes))
    return Layout(ordered, edges, left + MARGIN - CHANNEL, height)


def _parents(vertices: Sequence[Vertex]) -> dict[int, tuple[int, ...]]:
    """Operators that wrote what each one reads; of cycles only the edges that go forward."""
    writers: dict[str, int] = {}
    found = {}
    for index, vertex in enumerate(vertices):
        known = (writers[name] for name in vertex.inputs if name in writers)
        found[index] = tuple(dict.fromkeys(known))
        writers.setdefault(vertex.output, index)
    return found


def _ranks(parents: Mapping[int, tuple[int, ...]]) -> dict[int, int]:
    ranks: dict[int, int] = {}
    for index, found in parents.items():
        ranks[index] = 1 + max((ranks[parent] for parent in found), default=-1)
    return ranks


def _rows(ranks: Mapping[int, int], parents: Mapping[int, tuple[int, ...]]) -> list[list[int]]:
    """Operators by rank, each row ordered by where its inputs stand."""
    rows: list[list[int]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for index, rank in ranks.items():
        rows[rank].append(index)
    place: dict[int, float] = {}
    for row in rows:
        row.sort(key=lambda index: (_mean([place[p] for p in parents[index]]), index))
        place.update({index: number - len(row) / 2 for number, index in enumerate(row)})
    return rows


def _mean(places: Sequence[float]) -> float:
    return sum(places) / len(places) if places else 0.0


def _strip_width(strip: Sequence[Sequence[int]]) -> float:
    widest = max(len(row) for row in strip)
    return widest * BOX_WIDTH + (widest - 1) * GAP_X


def _ranks_per_strip(rows: Sequence[Sequence[int]]) -> int:
    """As many strips of one length as a page is wide, none shorter than `SHORTEST_STRIP`."""
    most = max(1, math.ceil(len(rows) / SHORTEST_STRIP))
    for strips in range(most, 1, -1):
        size = math.ceil(len(rows) / strips)
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        if sum(_strip_width(part) + 2 * CHANNEL for part in parts) <= PAGE_WIDTH:
            return size
    return max(1, len(rows))


def _edge(parent: Box, child: Box, span: int, strip_left: Mapping[int, float]) -> str:
    start_x, start_y = parent.x + BOX_WIDTH / 2, parent.y + BOX_HEIGHT
    end_x, end_y = child.x + BOX_WIDTH / 2, child.y
    if strip_left[parent.index] != strip_left[child.index]:
        # Down, into the channel before the child's strip, up or down in it, and into the child.
        turn_y, enter_y = start_y + GAP_Y / 2, end_y - GAP_Y / 2
        channel = strip_left[child.index] - CHANNEL / 2 + (parent.index % 4 - 2) * 4
        return (
            f"M{start_x:.0f} {start_y:.0f}V{turn_y:.0f}H{channel:.0f}V{enter_y:.0f}"
            f"H{end_x:.0f}V{end_y:.0f}"
        )
    if span > 1:
        # Around what stands between, on the right.
        bulge = max(parent.x, child.x) + BOX_WIDTH + min(10 + 5 * span, CHANNEL + GAP_X)
        side_x, side_y = parent.x + BOX_WIDTH, parent.y + BOX_HEIGHT / 2
        return (
            f"M{side_x:.0f} {side_y:.0f}C{bulge:.0f} {side_y:.0f} {bulge:.0f} "
            f"{child.y + BOX_HEIGHT / 2:.0f} {child.x + BOX_WIDTH:.0f} "
            f"{child.y + BOX_HEIGHT / 2:.0f}"
        )
    middle = (start_y + end_y) / 2
    return (
        f"M{start_x:.0f} {start_y:.0f}C{start_x:.0f} {middle:.0f} {end_x:.0f} {middle:.0f} "
        f"{end_x:.0f} {end_y:.0f}"
    )
