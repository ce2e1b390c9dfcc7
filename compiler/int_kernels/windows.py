"""Convolutions and pools of int8 images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array, Graph, Node
from ..ops import ConvAttrs, Op, PoolAttrs
from ..windows import pad_image, patches, pool_counts, sum_pool, taps
from .common import Int8, centred, exact_matmul, requantize, saturate


def _conv2d(graph: Graph, node: Node, x: Int8, weights: Int8, bias: Array) -> Int8:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(centred(graph, node, x).astype(np.int16), attrs.padding, 0)
    columns = patches(padded, weights.shape[1:3], attrs.stride, attrs.dilation)
    total = exact_matmul(columns, weights.reshape(weights.shape[0], -1).T) + bias
    return requantize(graph, node, total, attrs.activation)


def _depthwise(graph: Graph, node: Node, x: Int8, weights: Int8, bias: Array) -> Int8:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(centred(graph, node, x), attrs.padding, 0)
    total: Array = np.zeros((), np.int32)
    for row, column, view in taps(padded, weights.shape[1:3], attrs.stride, attrs.dilation):
        total = total + view * weights[0, row, column].astype(np.int32)
    return requantize(graph, node, total + bias, attrs.activation)


def _max_pool(graph: Graph, node: Node, x: Int8) -> Int8:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    padded = pad_image(x, attrs.padding, -128)
    views = [view for _, _, view in taps(padded, attrs.kernel, attrs.stride, (1, 1))]
    largest: Int8 = np.maximum.reduce(views)
    return largest


def _average_pool(graph: Graph, node: Node, x: Int8) -> Int8:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    total = sum_pool(x.astype(np.int64), attrs)
    count = pool_counts(x, attrs)
    # C division truncates: half away from zero after adding half the count.
    rounded = np.sign(total) * ((np.abs(total) + count // 2) // count)
    return saturate(rounded, -128, 127)


WINDOWS: dict[Op, Callable[..., Int8]] = {
    Op.CONV_2D: _conv2d,
    Op.DEPTHWISE_CONV_2D: _depthwise,
    Op.MAX_POOL_2D: _max_pool,
    Op.AVERAGE_POOL_2D: _average_pool,
}
