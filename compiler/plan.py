"""`plan_arena`: where every activation lives in one static block of memory.

A buffer is live from the node that writes it to the last node that reads it; the graph's input is
live before the first node, its output after the last one. A reshape copies nothing: its output
shares its input's buffer. Buffers are placed greedily, largest first, each at the lowest offset
that no buffer of an overlapping lifetime covers (greedy by size, as in Pisarchyk and Lee,
"Efficient Memory Management for Deep Neural Net Inference", 2020). Offsets are multiples of 16
bytes, which is what vector loads of every supported core want. Batch is 1.

Only shapes are read, so an unquantized graph can be planned as if it were int8. No buffer is
written in the place of one that is still read: `plan_memory.py` does that where kernels allow it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .graph import Graph
from .ops import Op

ALIGNMENT = 16


@dataclass(frozen=True, slots=True)
class Buffer:
    """One block of the arena: live in the steps `first`..`last`, both included."""

    name: str
    first: int
    last: int
    nbytes: int  # a multiple of ALIGNMENT

    def meets(self, other: Buffer) -> bool:
        """True when both are live in some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class ArenaPlan:
    """Byte offset of every activation, the arena's size, and the size nothing can beat.

    `lower_bound_bytes` is the largest sum of buffers that are live in one step.
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    lower_bound_bytes: int


def plan_arena(graph: Graph, element_bytes: int | None = None) -> ArenaPlan:
    """The arena of `graph`, each value at its own dtype's size.

    With `element_bytes` every activation element takes that many bytes instead: a float graph
    planned with `element_bytes=1` has the arena of its int8 form.
    """
    roots = storage_roots(graph)
    buffers = lifetimes(graph, roots, element_bytes)
    placed = _place(buffers)
    offsets = {name: placed[root] for name, root in roots.items()}
    top = max((placed[buffer.name] + buffer.nbytes for buffer in buffers), default=0)
    return ArenaPlan(MappingProxyType(offsets), top, _lower_bound(buffers))


def storage_roots(graph: Graph) -> Mapping[str, str]:
    """Each activation with the value whose buffer it lives in: itself, or a reshape's source."""
    roots = {name: name for name in graph.inputs}
    for node in graph.nodes:
        for output in node.outputs:
            roots[output] = roots[node.inputs[0]] if node.op is Op.RESHAPE else output
    return roots


def lifetimes(
    graph: Graph, roots: Mapping[str, str], element_bytes: int | None = None
) -> tuple[Buffer, ...]:
    """One buffer for each root. Step 0 is before the first node, node i runs in step i + 1."""
    first = dict.fromkeys(graph.inputs, 0)
    last = dict(first)
    for step, node in enumerate(graph.nodes, start=1):
        for name in (*node.inputs, *node.outputs):
            if name in roots:
                first.setdefault(roots[name], step)
                last[roots[name]] = step
    for name in graph.outputs:
        last[roots[name]] = len(graph.nodes) + 1
    return tuple(
        Buffer(name, first[name], last[name], _aligned(_nbytes(graph, name, element_bytes)))
        for name in first
    )


def _nbytes(graph: Graph, name: str, element_bytes: int | None) -> int:
    value = graph.values[name]
    return value.nbytes if element_bytes is None else value.elements * element_bytes


def _aligned(nbytes: int) -> int:
    return math.ceil(nbytes / ALIGNMENT) * ALIGNMENT


def _place(buffers: tuple[Buffer, ...]) -> dict[str, int]:
    """Offsets by name. Ties go to the earlier buffer, so the plan depends on the graph alone."""
    order = sorted(buffers, key=lambda buffer: (-buffer.nbytes, buffer.first, buffer.name))
    offsets: dict[str, int] = {}
    done: list[Buffer] = []
    for buffer in order:
        taken = sorted(
            (offsets[other.name], offsets[other.name] + other.nbytes)
            for other in done
            if other.meets(buffer)
        )
        offsets[buffer.name] = _first_gap(taken, buffer.nbytes)
        done.append(buffer)
    return offsets


def _first_gap(taken: list[tuple[int, int]], nbytes: int) -> int:
    """The lowest offset where `nbytes` fit between intervals that are sorted by their start."""
    offset = 0
    for start, end in taken:
        if offset + nbytes <= start:
            break
        offset = max(offset, end)
    return offset


def _lower_bound(buffers: tuple[Buffer, ...]) -> int:
    steps = {buffer.first for buffer in buffers}
    return max(
        (sum(b.nbytes for b in buffers if b.first <= step <= b.last) for step in steps), default=0
    )
