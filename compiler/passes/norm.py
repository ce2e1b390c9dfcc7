"""Batch norm: folded into the weighted operator before it, else turned into a 1×1 depthwise."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..grammar import CHANNEL_AXIS, WEIGHTED
from ..graph import Array, Graph, Node
from ..ops import Activation, ConvAttrs, DenseAttrs, Op
from .rewrite import constant, edit, has_one_reader, producer


def fold_batch_norms(graph: Graph) -> Graph:
    """No BATCH_NORM is left: γ·(W·x + b) + β becomes (γ·W)·x + (γ·b + β)."""
    while True:
        node = next((node for node in graph.nodes if node.op is Op.BATCH_NORM), None)
        if node is None:
            return graph
        before = producer(graph, node.inputs[0])
        if before is not None and _takes_scale(graph, before):
            graph = _fold(graph, before, node)
        else:
            graph = _standalone(graph, node)


def scale_node(
    graph: Graph, node: Node, scale: Array, offset: Array, activation: Activation
) -> Graph:
    """Replace `node` by activation(x · scale + offset) as an operator with weights."""
    channels = scale.shape[0]
    image = len(graph.values[node.inputs[0]].shape) == 4
    weights = scale.reshape(1, 1, 1, channels) if image else np.diag(scale)
    operands = (
        constant(f"{node.name}.weights", weights),
        constant(f"{node.name}.bias", offset),
    )
    replacement = dataclasses.replace(
        node,
        op=Op.DEPTHWISE_CONV_2D if image else Op.FULLY_CONNECTED,
        inputs=(node.inputs[0], operands[0].name, operands[1].name),
        attrs=ConvAttrs(activation=activation) if image else DenseAttrs(activation),
    )
    return edit(graph, nodes={node.name: (replacement,)}, values=operands)


def _takes_scale(graph: Graph, node: Node) -> bool:
    plain = getattr(node.attrs, "activation", None) is Activation.NONE
    return node.op in WEIGHTED and plain and has_one_reader(graph, node.output)


def _fold(graph: Graph, before: Node, norm: Node) -> Graph:
    scale = graph.constant(norm.inputs[1]).astype(np.float64)
    offset = graph.constant(norm.inputs[2]).astype(np.float64)
    weights, bias = (graph.constant(name).astype(np.float64) for name in before.inputs[1:])
    along = [1] * weights.ndim
    along[CHANNEL_AXIS[before.op]] = -1
    folded = (
        constant(f"{norm.name}.folded_weights", weights * scale.reshape(along)),
        constant(f"{norm.name}.folded_bias", bias * scale + offset),
    )
    merged = dataclasses.replace(
        before,
        inputs=(before.inputs[0], folded[0].name, folded[1].name),
        outputs=norm.outputs,
    )
    return edit(graph, nodes={before.name: (merged,), norm.name: ()}, values=folded)


def _standalone(graph: Graph, node: Node) -> Graph:
    scale, offset = (graph.constant(name) for name in node.inputs[1:])
    return scale_node(graph, node, scale, offset, Activation.NONE)
