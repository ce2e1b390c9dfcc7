"""Where a layer's scratch memory lies: in what the arena leaves free while the layer runs.

Activations are placed first, so scratch never moves them; it takes the lowest gap between the
buffers that are live in its step, and adds to the arena only what does not fit. What a layer
leaves in scratch is of no use to any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .graph import Graph
from .plan import ALIGNMENT, ArenaPlan, lifetimes, plan_arena, storage_roots


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The arena with scratch in it.

    `scratch` holds offsets by the name of the value that a layer computes; `scratch_bytes` is the
    largest need of one layer, `added_bytes` what scratch adds to the arena of activations.
    """

    arena: ArenaPlan
    scratch: Mapping[str, int]
    scratch_bytes: int
    added_bytes: int

    @property
    def total_bytes(self) -> int:
        """Bytes of one context."""
        return self.arena.arena_bytes + self.added_bytes


def plan_memory(graph: Graph, needs: Mapping[str, int]) -> MemoryPlan:
    """The plan of `graph`; `needs` are scratch bytes by the value that a layer computes."""
    arena = plan_arena(graph)
    buffers = lifetimes(graph, storage_roots(graph))
    scratch: dict[str, int] = {}
    top = arena.arena_bytes
    for step, node in enumerate(graph.nodes, start=1):
        need = needs.get(node.output, 0)
        if need:
            taken = sorted(
                (arena.offsets[b.name], arena.offsets[b.name] + b.nbytes)
                for b in buffers
                if b.first <= step <= b.last
            )
            scratch[node.output] = _lowest_gap(taken, need)
            top = max(top, scratch[node.output] + need)
    top = -(-top // ALIGNMENT) * ALIGNMENT
    return MemoryPlan(arena, scratch, max(needs.values(), default=0), top - arena.arena_bytes)


def _lowest_gap(taken: list[tuple[int, int]], nbytes: int) -> int:
    offset = 0
    for start, end in taken:
        if offset + nbytes <= start:
            break
        offset = max(offset, end)
    return offset
