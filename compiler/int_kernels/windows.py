"""Convolutions, pools and resizes of int8 and int16 images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..float_kernels.windows import WINDOWS as FLOAT_WINDOWS
from ..graph import Array, Graph, Node
from ..ops import ConvAttrs, Op, PoolAttrs, ResizeAttrs, TransposeConvAttrs
from ..windows import grouped_columns, pad_image, pool_counts, scatter_windows, sum_pool, taps
from .requantize import centred, code_range, exact_product, requantize

_ONE = 1 << 10  # one row in the fixed point of a bilinear resize


def _conv2d(graph: Graph, node: Node, x: Array, weights: Array, bias: Array) -> Array:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(centred(graph, node.inputs[0], x), attrs.padding, 0)
    parts = [
        exact_product(graph, node, columns, kernel.reshape(len(kernel), -1).T)
        for columns, kernel in grouped_columns(padded, weights, attrs.stride, attrs.dilation)
    ]
    return requantize(graph, node, np.concatenate(parts, axis=-1) + bias, attrs.activation)


def _depthwise(graph: Graph, node: Node, x: Array, weights: Array, bias: Array) -> Array:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(centred(graph, node.inputs[0], x), attrs.padding, 0)
    repeated = np.repeat(padded, weights.shape[3] // x.shape[3], axis=3).astype(bias.dtype)
    total: Array = np.zeros((), bias.dtype)
    for row, column, view in taps(repeated, weights.shape[1:3], attrs.stride, attrs.dilation):
        total = total + view * weights[0, row, column].astype(bias.dtype)
    return requantize(graph, node, total + bias, attrs.activation)


def _transpose_conv(graph: Graph, node: Node, x: Array, weights: Array, bias: Array) -> Array:
    attrs = node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    channels, rows, columns, depth = weights.shape
    spread = weights.transpose(3, 0, 1, 2).reshape(depth, -1)
    products = exact_product(graph, node, centred(graph, node.inputs[0], x), spread)
    windows = products.reshape(*x.shape[:3], channels, rows, columns)
    total = scatter_windows(windows, attrs.stride, attrs.padding)
    return requantize(graph, node, total + bias, attrs.activation)


def _max_pool(graph: Graph, node: Node, x: Array) -> Array:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    lowest = code_range(graph.values[node.output].dtype)[0]
    padded = pad_image(x, attrs.padding, lowest)
    views = [view for _, _, view in taps(padded, attrs.kernel, attrs.stride, (1, 1))]
    largest: Array = np.maximum.reduce(views)
    return largest


def _average_pool(graph: Graph, node: Node, x: Array) -> Array:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    total = sum_pool(x.astype(np.int64), attrs)
    count = pool_counts(x, attrs)
    # C division truncates: half away from zero after adding half the count.
    rounded: Array = np.sign(total) * ((np.abs(total) + count // 2) // count)
    return rounded.astype(x.dtype)


def _resize_bilinear(graph: Graph, node: Node, x: Array) -> Array:
    """Shares of 1/1024 along each axis; the sum of four products is rounded half away."""
    attrs = node.attrs
    assert isinstance(attrs, ResizeAttrs)
    top, bottom, down = bilinear_lines(x.shape[1], attrs.size[0], attrs)
    left, right, along = bilinear_lines(x.shape[2], attrs.size[1], attrs)
    wide = x.astype(np.int64)
    down, along = down[:, None, None], along[:, None]
    rows = wide[:, top] * (_ONE - down) + wide[:, bottom] * down
    total = rows[:, :, left] * (_ONE - along) + rows[:, :, right] * along
    half = np.where(total > 0, _ONE * _ONE // 2, -_ONE * _ONE // 2)
    rounded: Array = _truncated(total + half, _ONE * _ONE)
    return rounded.astype(x.dtype)


def bilinear_lines(before: int, after: int, attrs: ResizeAttrs) -> tuple[Array, Array, Array]:
    """For each output row: the rows it lies between, and the share of the second in 1/1024."""
    span, steps = before, after
    if attrs.align_corners and after > 1:
        span, steps = before - 1, after - 1
    step = (_ONE * span + steps // 2) // steps
    places = np.arange(after, dtype=np.int64) * step
    if attrs.half_pixel_centers:
        places += step // 2 - _ONE // 2
    low = np.clip(_truncated(places, _ONE), 0, before - 1)
    high = np.clip(_truncated(places + _ONE - 1, _ONE), 0, before - 1)
    return low, high, places - low * _ONE


def _truncated(numbers: Array, divisor: int) -> Array:
    """Quotients rounded toward zero, as C's."""
    quotients: Array = np.sign(numbers) * (np.abs(numbers) // divisor)
    return quotients


WINDOWS: dict[Op, Callable[..., Array]] = {
    Op.CONV_2D: _conv2d,
    Op.DEPTHWISE_CONV_2D: _depthwise,
    Op.TRANSPOSE_CONV: _transpose_conv,
    Op.MAX_POOL_2D: _max_pool,
    Op.AVERAGE_POOL_2D: _average_pool,
    Op.RESIZE_NEAREST_NEIGHBOR: FLOAT_WINDOWS[Op.RESIZE_NEAREST_NEIGHBOR],
    Op.RESIZE_BILINEAR: _resize_bilinear,
}
