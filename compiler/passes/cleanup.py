"""Clean-up: nodes that change nothing, and nodes and values that nobody reads."""

from __future__ import annotations

import dataclasses
from collections import Counter

from ..graph import DType, Graph, Node
from ..ops import (
    Activation,
    Attrs,
    BinaryAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    SliceAttrs,
    TransposeAttrs,
)


def clean_up(graph: Graph) -> Graph:
    """Identity nodes, chains of reshapes and of transposes, and what nobody reads are gone."""
    return _drop_dead(_drop_identities(_merge_moves(graph)))


def _merge_moves(graph: Graph) -> Graph:
    """Of two reshapes or transposes in a row, of which nobody reads the first, one is left."""
    readers = Counter(name for node in graph.nodes for name in set(node.inputs))
    readers.update(graph.outputs)
    written: dict[str, Node] = {}
    merged: set[str] = set()
    for node in graph.nodes:
        before = written.get(node.inputs[0]) if node.op in (Op.RESHAPE, Op.TRANSPOSE) else None
        one = node
        if before is not None and before.op is node.op and readers[before.output] == 1:
            merged.add(before.name)
            one = dataclasses.replace(
                node, inputs=before.inputs, attrs=_in_one(before.attrs, node.attrs)
            )
        written[node.output] = one
    return graph.replace(
        nodes=[written[node.output] for node in graph.nodes if node.name not in merged]
    )


def _in_one(first: Attrs, second: Attrs) -> Attrs:
    if isinstance(first, TransposeAttrs) and isinstance(second, TransposeAttrs):
        return TransposeAttrs(tuple(first.perm[axis] for axis in second.perm))
    return second


def _drop_identities(graph: Graph) -> Graph:
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        place = _passed_place(graph, node)
        if place is None:
            kept.append(dataclasses.replace(node, inputs=inputs))
        else:
            renamed[node.output] = inputs[place]
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return dataclasses.replace(graph, nodes=tuple(kept), outputs=outputs)


def _passed_place(graph: Graph, node: Node) -> int | None:
    """Which operand the node hands on as it is."""
    if isinstance(node.attrs, BinaryAttrs):
        return _unchanged_side(graph, node, node.attrs)
    return 0 if _is_identity(graph, node) else None


def _unchanged_side(graph: Graph, node: Node, attrs: BinaryAttrs) -> int | None:
    """The side to which 0 is added, or that is multiplied by 1; floats only."""
    if attrs.activation is not Activation.NONE:
        return None
    nothing = 0.0 if node.op in (Op.ADD, Op.SUB) else 1.0
    for place in (0,) if node.op in (Op.SUB, Op.DIV) else (0, 1):
        x, other = (graph.values[node.inputs[side]] for side in (place, 1 - place))
        fits = other.dtype is DType.FLOAT32 and x.shape == graph.values[node.output].shape
        if fits and other.data is not None and (other.data == nothing).all():
            return place
    return None


def _is_identity(graph: Graph, node: Node) -> bool:
    if node.op is Op.RESHAPE:
        return graph.values[node.inputs[0]].shape == graph.values[node.output].shape
    if isinstance(node.attrs, PadAttrs):
        return not any(map(any, node.attrs.amounts))
    if isinstance(node.attrs, PoolAttrs):
        return node.attrs == PoolAttrs((1, 1), (1, 1))
    if isinstance(node.attrs, TransposeAttrs):
        return list(node.attrs.perm) == sorted(node.attrs.perm)
    if isinstance(node.attrs, SliceAttrs):
        whole = node.attrs.size == graph.values[node.inputs[0]].shape
        return whole and set(node.attrs.stride) == {1}
    return False


def _drop_dead(graph: Graph) -> Graph:
    wanted = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in wanted:
            kept.append(node)
            wanted.update(node.inputs)
    wanted.update(graph.inputs)
    values = [value for name, value in graph.values.items() if name in wanted]
    return graph.replace(values=values, nodes=reversed(kept))
