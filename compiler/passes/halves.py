"""Weights of float16: operators of the graph read them as they are, those of files float32."""

from __future__ import annotations

import dataclasses

from ..graph import DType, Graph, Node
from ..ops import NoAttrs, Op
from .rewrite import edit


def dequantize_halves(graph: Graph) -> Graph:
    """A DEQUANTIZE for every float16 constant that another operator reads, before the first one."""
    halves = [value for value in graph.values.values() if value.dtype is DType.FLOAT16]
    for value in halves:
        readers = [node for node in graph.consumers(value.name) if node.op is not Op.DEQUANTIZE]
        if not readers:
            continue
        full = dataclasses.replace(
            value, name=f"{value.name}.float32", dtype=DType.FLOAT32, data=None
        )
        widen = Node(Op.DEQUANTIZE, full.name, (value.name,), (full.name,), NoAttrs())
        edits = {
            node.name: (dataclasses.replace(node, inputs=_renamed(node, value.name, full.name)),)
            for node in readers
        }
        first = readers[0].name
        graph = edit(graph, nodes=edits | {first: (widen, *edits[first])}, values=(full,))
    return graph


def _renamed(node: Node, old: str, new: str) -> tuple[str, ...]:
    return tuple(new if name == old else name for name in node.inputs)
