"""Padding: inside the graph it belongs to convolutions and pools, whatever its amount.

`fuse_padding` moves PAD nodes there. `lower_padding` undoes it for TensorFlow Lite, which knows
only VALID and its own SAME: everything else becomes several operators, with the same numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from ..graph import Graph, Node
from ..int_kernels.moves import fill_code
from ..ops import (
    NO_PADDING,
    ConvAttrs,
    Op,
    PadAttrs,
    Padding,
    PoolAttrs,
    TransposeConvAttrs,
    image_pad,
)
from ..shapes import same_padding, weight_kernel
from .rewrite import edit
from .uneven import LOWEST, Steps, split_average_pool, split_max_pool, split_transpose_conv

_CONVOLUTIONS = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D)


def fuse_padding(graph: Graph) -> Graph:
    """PAD nodes that only convolutions read become padding of those convolutions.

    So do those that hold the lowest number there is, where only max pools read them.
    """
    for node in reversed(graph.nodes):  # the last of several in a row goes first
        if not isinstance(node.attrs, PadAttrs) or node.output in graph.outputs:
            continue
        amount, readers = _around_image(node.attrs), graph.consumers(node.output)
        fits = bool(readers) and all(_takes(graph, node, reader) for reader in readers)
        if amount is not None and fits:
            edits = {reader.name: (_add_padding(reader, amount),) for reader in readers}
            graph = edit(
                graph,
                nodes=edits | {node.name: ()},
                redirect={node.output: node.inputs[0]},
            )
    return graph


def _around_image(attrs: PadAttrs) -> Padding | None:
    """The amounts where only height and width of an image are padded, with whatever number."""
    return dataclasses.replace(attrs, fill=0.0).image_padding


def _takes(graph: Graph, pad: Node, reader: Node) -> bool:
    """Whether the padding of `reader` means what `pad` does."""
    assert isinstance(pad.attrs, PadAttrs)
    if reader.op in _CONVOLUTIONS:
        return pad.attrs.fill == 0.0
    if not isinstance(reader.attrs, PoolAttrs) or reader.op is not Op.MAX_POOL_2D:
        return False
    amounts = _sum(reader.attrs.padding, (pad.attrs.amounts[1], pad.attrs.amounts[2]))
    inside = all(max(amounts[axis]) < reader.attrs.kernel[axis] for axis in (0, 1))
    return inside and _is_lowest(graph, pad)


def _is_lowest(graph: Graph, pad: Node) -> bool:
    """Whether no element can be below what `pad` holds."""
    assert isinstance(pad.attrs, PadAttrs)
    value = graph.values[pad.output]
    if value.quant is None:
        return pad.attrs.fill <= LOWEST
    return fill_code(graph, pad) == np.iinfo(value.dtype.numpy).min


def lower_padding(graph: Graph) -> Graph:
    """Only VALID and SAME padding is left: what a TensorFlow Lite file holds, node for node."""
    for node in graph.nodes:
        if node.op in _SPLITS and _padding(node) not in (NO_PADDING, _same(graph, node)):
            steps = _SPLITS[node.op](graph, node)
            graph = edit(graph, nodes={node.name: tuple(steps.nodes)}, values=steps.values)
    return graph


def _padding(node: Node) -> Padding:
    assert isinstance(node.attrs, ConvAttrs | PoolAttrs | TransposeConvAttrs)
    return node.attrs.padding


def _same(graph: Graph, node: Node) -> Padding | None:
    """What SAME pads around the input, or cuts off the output of a transposed convolution."""
    attrs, x = node.attrs, graph.values[node.inputs[0]].shape
    if isinstance(attrs, PoolAttrs):
        return same_padding((x[1], x[2]), attrs.kernel, attrs.stride)
    kernel = weight_kernel(node.op, graph.values[node.inputs[1]].shape)
    if isinstance(attrs, ConvAttrs):
        return same_padding((x[1], x[2]), kernel, attrs.stride, attrs.dilation)
    assert isinstance(attrs, TransposeConvAttrs)
    # It is the convolution back that SAME pads: from the output to the input.
    out, stride = graph.values[node.output].shape, attrs.stride
    if any(-(-out[axis] // stride[axis - 1]) != x[axis] for axis in (1, 2)):
        return None
    return same_padding((out[1], out[2]), kernel, stride)


def _add_padding(node: Node, amount: Padding) -> Node:
    assert isinstance(node.attrs, ConvAttrs | PoolAttrs)
    padding = _sum(node.attrs.padding, amount)
    return dataclasses.replace(node, attrs=dataclasses.replace(node.attrs, padding=padding))


def _sum(inner: Padding, outer: Padding) -> Padding:
    (top, bottom), (left, right) = inner
    return (
        (top + outer[0][0], bottom + outer[0][1]),
        (left + outer[1][0], right + outer[1][1]),
    )


def _split_convolution(graph: Graph, node: Node) -> Steps:
    """PAD with zeros, then the convolution without padding."""
    assert isinstance(node.attrs, ConvAttrs)
    steps, x = Steps(graph, node), node.inputs[0]
    padded = steps.add(Op.PAD, (x,), image_pad(node.attrs.padding), x)
    bare = dataclasses.replace(node.attrs, padding=NO_PADDING)
    steps.end(node.op, (padded, *node.inputs[1:]), bare)
    return steps


_SPLITS: Mapping[Op, Callable[[Graph, Node], Steps]] = {
    Op.CONV_2D: _split_convolution,
    Op.DEPTHWISE_CONV_2D: _split_convolution,
    Op.MAX_POOL_2D: split_max_pool,
    Op.AVERAGE_POOL_2D: split_average_pool,
    Op.TRANSPOSE_CONV: split_transpose_conv,
}
