"""Activations: fused into the operator before them.

Where that operator only moves elements the activation steps over it first; where it cannot take
an activation (a mean, the input, an operator read twice) a 1×1 depthwise carries it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..graph import Graph, Node
from ..ops import Activation, BinaryAttrs, ConvAttrs, DenseAttrs, Op, TransposeConvAttrs
from .norm import scale_node
from .rewrite import edit, has_one_reader, producer

ACTIVATIONS = {Op.RELU: Activation.RELU, Op.RELU6: Activation.RELU6}

# max(x, 0) and min(x, 6) commute with these: they only choose among their input and zero.
STEPPED_OVER = frozenset({Op.RESHAPE, Op.MAX_POOL_2D, Op.PAD})


def fuse_activations(graph: Graph) -> Graph:
    """RELU and RELU6 nodes are left only after what is neither image nor vector."""
    while True:
        fused = next((edited for edited in _edits(graph) if edited is not None), None)
        if fused is None:
            return graph
        graph = fused


def _edits(graph: Graph) -> Iterator[Graph | None]:
    return (_fuse(graph, node) for node in graph.nodes if node.op in ACTIVATIONS)


def _fuse(graph: Graph, node: Node) -> Graph | None:
    """The graph without `node`; None where it stays."""
    activation = ACTIVATIONS[node.op]
    before = producer(graph, node.inputs[0])
    if before is not None and has_one_reader(graph, before.output):
        if hasattr(before.attrs, "activation"):
            return _merge(graph, before, node, activation)
        if before.op in ACTIVATIONS:
            tighter = before if before.op is Op.RELU6 else node
            kept = dataclasses.replace(tighter, inputs=before.inputs, outputs=node.outputs)
            return edit(graph, nodes={before.name: (), node.name: (kept,)})
        if before.op in STEPPED_OVER:
            return _step_over(graph, before, node)
    if len(graph.values[node.output].shape) not in (2, 4):
        return None
    channels = graph.values[node.output].shape[-1]
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return scale_node(graph, node, ones, zeros, activation)


def _merge(graph: Graph, before: Node, node: Node, activation: Activation) -> Graph:
    attrs = before.attrs
    assert isinstance(attrs, ConvAttrs | DenseAttrs | BinaryAttrs | TransposeConvAttrs)
    if Activation.RELU6 in (attrs.activation, activation):
        activation = Activation.RELU6
    merged = dataclasses.replace(
        before,
        attrs=dataclasses.replace(attrs, activation=activation),
        outputs=node.outputs,
    )
    return edit(graph, nodes={before.name: (merged,), node.name: ()})


def _step_over(graph: Graph, before: Node, node: Node) -> Graph:
    """x → before → activation becomes x → activation → before."""
    between = dataclasses.replace(
        graph.values[before.output], shape=graph.values[before.inputs[0]].shape
    )
    first = dataclasses.replace(node, inputs=before.inputs, outputs=(between.name,))
    second = dataclasses.replace(before, inputs=(between.name,), outputs=node.outputs)
    return edit(graph, nodes={before.name: (first,), node.name: (second,)}, values=(between,))
