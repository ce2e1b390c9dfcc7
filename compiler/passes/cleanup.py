"""Clean-up: nodes that change nothing, and nodes and values that nobody reads."""

from __future__ import annotations

import dataclasses

from ..graph import DType, Graph, Node
from ..ops import (
    Activation,
    BinaryAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    SliceAttrs,
    TransposeAttrs,
)
from .rewrite import edit, has_one_reader, producer


def clean_up(graph: Graph) -> Graph:
    """Identity nodes, chains of reshapes and of transposes, and what nobody reads are gone."""
    return _drop_dead(_drop_identities(_merge_transposes(_merge_reshapes(graph))))


def _merge_reshapes(graph: Graph) -> Graph:
    for node in graph.nodes:
        before = producer(graph, node.inputs[0]) if node.op is Op.RESHAPE else None
        if before is not None and before.op is Op.RESHAPE and has_one_reader(graph, before.output):
            merged = dataclasses.replace(node, inputs=before.inputs)
            graph = edit(graph, nodes={before.name: (), node.name: (merged,)})
    return graph


def _merge_transposes(graph: Graph) -> Graph:
    for name in [node.name for node in graph.nodes if node.op is Op.TRANSPOSE]:
        node = next(kept for kept in graph.nodes if kept.name == name)
        before = producer(graph, node.inputs[0])
        if before is None or not has_one_reader(graph, before.output):
            continue
        if isinstance(before.attrs, TransposeAttrs) and isinstance(node.attrs, TransposeAttrs):
            perm = tuple(before.attrs.perm[axis] for axis in node.attrs.perm)
            merged = dataclasses.replace(node, inputs=before.inputs, attrs=TransposeAttrs(perm))
            graph = edit(graph, nodes={before.name: (), node.name: (merged,)})
    return graph


def _drop_identities(graph: Graph) -> Graph:
    for node in graph.nodes:
        place = _passed_place(graph, node)
        if place is not None:
            # A node before this one may just have been dropped: look its new input up.
            current = next(kept for kept in graph.nodes if kept.name == node.name)
            graph = edit(
                graph,
                nodes={node.name: ()},
                redirect={current.output: current.inputs[place]},
            )
    return graph


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
