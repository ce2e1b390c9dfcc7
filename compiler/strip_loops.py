"""Loops of layers that run together in strips: those of every strip, and what the strips add.

A layer in strips is its kernel called once a strip, on images of that many rows; between two
strips the rows that both need are moved (`ek_copy_bytes`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from edgekiln.targets.workload import Loops

from .graph import Graph, Node
from .strips import CutChain, Strip, padding_above, part_of

LoopsOf = Callable[[Graph, Node], Loops]
COPIED_BYTES = 4  # at a time, ek_copy_bytes
PREFIX = "strips_"
"""Of the names of loops that no layer has by itself."""


def loops_in_strips(graph: Graph, cut: CutChain, node: Node, loops_of: LoopsOf) -> Loops:
    """Passes of `node`'s loops over all strips; with the depthwise one go those of the strips."""
    passes: Counter[str] = Counter()
    for strip, times in _kinds(cut, node).items():
        for name, count in loops_of(*part_of(graph, cut.chain, node, strip)):
            passes[name] += times * count
    if node is cut.chain.depthwise:
        passes.update(_added(graph, cut))
    return tuple((name, count) for name, count in passes.items() if count)


def _kinds(cut: CutChain, node: Node) -> Counter[Strip]:
    """Strips that differ in nothing that `node` sees, by the first of them."""
    firsts: dict[tuple[int, ...], Strip] = {}
    kinds: Counter[Strip] = Counter()
    for strip in cut.strips:
        if node is cut.chain.expand and strip.low + strip.kept >= strip.high:
            continue  # all its rows are there already
        above = padding_above(cut.chain, strip)
        seen = strip.rows, strip.high - strip.low, strip.kept, above
        kinds[firsts.setdefault(seen, strip)] += 1
    return kinds


def _added(graph: Graph, cut: CutChain) -> Counter[str]:
    """What runs beside the kernels."""
    _, _, width, channels = graph.values[cut.chain.depthwise.inputs[0]].shape
    kept = [strip.kept * width * channels for strip in cut.strips if strip.kept]
    passes = Counter({"strips_call": 1, "strips_each": len(cut.strips)})
    if cut.chain.expand is not None:
        passes["strips_copies"] = len(kept)
        passes["strips_copied"] = sum(nbytes // COPIED_BYTES for nbytes in kept)
    return passes
