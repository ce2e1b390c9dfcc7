"""Small edits of an immutable graph that the passes share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from ..graph import Array, DType, Graph, Node, Value


def producer(graph: Graph, value: str) -> Node | None:
    """The node that writes `value`; None for the input and constants."""
    return next((node for node in graph.nodes if node.output == value), None)


def has_one_reader(graph: Graph, value: str) -> bool:
    """Whether exactly one node reads `value` and it is no graph output."""
    return len(graph.consumers(value)) == 1 and value not in graph.outputs


def constant(name: str, data: Array) -> Value:
    """A float32 constant."""
    array = np.ascontiguousarray(data, np.float32)
    return Value(name, array.shape, DType.FLOAT32, data=array)


def edit(
    graph: Graph,
    *,
    nodes: Mapping[str, tuple[Node, ...]],
    values: Iterable[Value] = (),
    redirect: Mapping[str, str] | None = None,
) -> Graph:
    """Replace nodes by name (by none: drop them), add values, then rename what readers read."""
    renamed = redirect or {}
    edited = [
        dataclasses.replace(new, inputs=tuple(renamed.get(name, name) for name in new.inputs))
        for node in graph.nodes
        for new in nodes.get(node.name, (node,))
    ]
    merged = dict(graph.values) | {value.name: value for value in values}
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return dataclasses.replace(graph, values=merged, nodes=tuple(edited), outputs=outputs)
