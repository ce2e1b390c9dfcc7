"""Padding: inside the graph it belongs to convolutions and pools, whatever its amount.

`fuse_padding` moves PAD nodes there. `lower_padding` undoes it for TensorFlow Lite, which knows
only VALID and its own SAME: everything else becomes a PAD node again, with the same numbers.
"""

from __future__ import annotations

import dataclasses

from ..errors import EmitError
from ..graph import Graph, Node
from ..ops import NO_PADDING, Activation, ConvAttrs, Op, PadAttrs, Padding, PoolAttrs, image_pad
from ..shapes import Shape, output_shape, same_padding, weight_kernel
from .rewrite import edit, producer

_CONVOLUTIONS = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D)
_CLAMPED = (Activation.RELU, Activation.RELU6)


def fuse_padding(graph: Graph) -> Graph:
    """PAD nodes that only convolutions read become padding of those convolutions."""
    for node in reversed(graph.nodes):  # the last of several in a row goes first
        readers = graph.consumers(node.output)
        if not isinstance(node.attrs, PadAttrs) or node.output in graph.outputs or not readers:
            continue
        amount = node.attrs.image_padding
        if amount is not None and all(reader.op in _CONVOLUTIONS for reader in readers):
            edits = {reader.name: (_add_padding(reader, amount),) for reader in readers}
            graph = edit(
                graph,
                nodes=edits | {node.name: ()},
                redirect={node.output: node.inputs[0]},
            )
    return graph


def is_same(node: Node, x: Shape, weights: Shape) -> bool:
    """Whether TensorFlow's SAME pads exactly what `node` pads. `weights` is () for pools."""
    if isinstance(node.attrs, ConvAttrs):
        kernel = weight_kernel(node.op, weights)
        expected = same_padding((x[1], x[2]), kernel, node.attrs.stride, node.attrs.dilation)
        return node.attrs.padding == expected
    assert isinstance(node.attrs, PoolAttrs)
    return node.attrs.padding == same_padding((x[1], x[2]), node.attrs.kernel, node.attrs.stride)


def lower_padding(graph: Graph) -> Graph:
    """Only VALID and SAME padding is left: what a TensorFlow Lite file holds, node for node.

    Raises EmitError for a pool whose padding has no equivalent there.
    """
    for node in graph.nodes:
        if not isinstance(node.attrs, ConvAttrs | PoolAttrs) or node.attrs.padding == NO_PADDING:
            continue
        x = graph.values[node.inputs[0]].shape
        weights = graph.values[node.inputs[1]].shape if len(node.inputs) > 1 else ()
        if not is_same(node, x, weights):
            graph = _split(graph, node)
    return graph


def _add_padding(node: Node, amount: Padding) -> Node:
    assert isinstance(node.attrs, ConvAttrs)
    (top, bottom), (left, right) = node.attrs.padding
    padding = (
        (top + amount[0][0], bottom + amount[0][1]),
        (left + amount[1][0], right + amount[1][1]),
    )
    return dataclasses.replace(node, attrs=dataclasses.replace(node.attrs, padding=padding))


def _split(graph: Graph, node: Node) -> Graph:
    assert isinstance(node.attrs, ConvAttrs | PoolAttrs)
    if node.op is Op.AVERAGE_POOL_2D or (
        node.op is Op.MAX_POOL_2D and not _non_negative(graph, node.inputs[0])
    ):
        raise EmitError(
            f"{node.name} ({node.source or node.op}): TensorFlow Lite cannot pad this pool by "
            f"{node.attrs.padding}; use a kernel, stride and size that need no padding, "
            "or put a ReLU before a max pool"
        )
    x = graph.values[node.inputs[0]]
    attrs = image_pad(node.attrs.padding)
    padded = dataclasses.replace(
        x, name=f"{node.name}.padded", shape=output_shape(Op.PAD, attrs, (x.shape,)), data=None
    )
    pad = Node(Op.PAD, f"{node.name}.pad", (x.name,), (padded.name,), attrs, node.source)
    bare = dataclasses.replace(
        node,
        inputs=(padded.name, *node.inputs[1:]),
        attrs=dataclasses.replace(node.attrs, padding=NO_PADDING),
    )
    return edit(graph, nodes={node.name: (pad, bare)}, values=(padded,))


def _non_negative(graph: Graph, value: str) -> bool:
    """Whether no element can be below zero, so that zeros never win a maximum."""
    node = producer(graph, value)
    while node is not None and node.op in (Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D, Op.PAD):
        node = producer(graph, node.inputs[0])
    return node is not None and getattr(node.attrs, "activation", None) in _CLAMPED
