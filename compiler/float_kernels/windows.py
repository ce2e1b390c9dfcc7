"""Convolutions, pools and resizes of images (n, height, width, channels)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array, Graph, Node
from ..ops import ConvAttrs, Op, PoolAttrs, ResizeAttrs, TransposeConvAttrs
from ..windows import grouped_columns, pad_image, pool_counts, scatter_windows, sum_pool, taps
from .common import Float, activate


def _conv2d(graph: Graph, node: Node, x: Float, weights: Float, bias: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded = pad_image(x, attrs.padding, 0.0)
    parts = [
        columns @ kernel.reshape(len(kernel), -1).T
        for columns, kernel in grouped_columns(padded, weights, attrs.stride, attrs.dilation)
    ]
    return activate(np.concatenate(parts, axis=-1) + bias, attrs.activation)


def _depthwise(graph: Graph, node: Node, x: Float, weights: Float, bias: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    padded: Float = np.repeat(
        pad_image(x, attrs.padding, 0.0), weights.shape[3] // x.shape[3], axis=3
    )
    total: Float = np.zeros((), np.float32)
    for row, column, view in taps(padded, weights.shape[1:3], attrs.stride, attrs.dilation):
        total = total + view * weights[0, row, column]
    return activate(total + bias, attrs.activation)


def _transpose_conv(graph: Graph, node: Node, x: Float, weights: Float, bias: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    products = np.tensordot(x, weights, axes=([3], [3]))  # (n, h, w, out, kh, kw)
    total: Float = scatter_windows(products, attrs.stride, attrs.padding)
    return activate(total + bias, attrs.activation)


def _max_pool(graph: Graph, node: Node, x: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    padded = pad_image(x, attrs.padding, -np.inf)
    views = [view for _, _, view in taps(padded, attrs.kernel, attrs.stride, (1, 1))]
    largest: Float = np.maximum.reduce(views)
    return largest


def _average_pool(graph: Graph, node: Node, x: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    return (sum_pool(x, attrs) / pool_counts(x, attrs)).astype(np.float32)


def _resize_nearest(graph: Graph, node: Node, x: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, ResizeAttrs)
    rows = nearest_rows(x.shape[1], attrs.size[0], attrs)
    columns = nearest_rows(x.shape[2], attrs.size[1], attrs)
    chosen: Float = np.take(np.take(x, rows, axis=1), columns, axis=2)
    return chosen


def nearest_rows(before: int, after: int, attrs: ResizeAttrs) -> Array:
    """Which of `before` rows each of `after` rows reads; float32 steps, as TensorFlow Lite's."""
    offset = np.float32(0.5 if attrs.half_pixel_centers else 0.0)
    places = (np.arange(after, dtype=np.float32) + offset) * _step(before, after, attrs)
    rows = np.floor(places + np.float32(0.5)) if attrs.align_corners else np.floor(places)
    clipped: Array = np.clip(rows, 0, before - 1).astype(np.int64)
    return clipped


def _step(before: int, after: int, attrs: ResizeAttrs) -> np.float32:
    """Input rows for each output row."""
    if attrs.align_corners and after > 1:
        return np.float32(before - 1) / np.float32(after - 1)
    return np.float32(before) / np.float32(after)


def _resize_bilinear(graph: Graph, node: Node, x: Float) -> Float:
    attrs = node.attrs
    assert isinstance(attrs, ResizeAttrs)
    top, bottom, down = _blend(x.shape[1], attrs.size[0], attrs)
    left, right, along = _blend(x.shape[2], attrs.size[1], attrs)
    down = down[:, None, None]
    along = along[:, None]
    rows: Array = x[:, top] * (1 - down) + x[:, bottom] * down
    blended: Array = rows[:, :, left] * (1 - along) + rows[:, :, right] * along
    return blended


def _blend(before: int, after: int, attrs: ResizeAttrs) -> tuple[Array, Array, Float]:
    """For each output row: the rows it lies between, and the share of the second."""
    half = np.float32(0.5 if attrs.half_pixel_centers else 0.0)
    places = (np.arange(after, dtype=np.float32) + half) * _step(before, after, attrs) - half
    low = np.clip(np.floor(places), 0, before - 1).astype(np.int64)
    high = np.clip(np.ceil(places), 0, before - 1).astype(np.int64)
    share: Float = (np.maximum(places, 0) - low).astype(np.float32)
    return low, high, share


WINDOWS: dict[Op, Callable[..., Float]] = {
    Op.CONV_2D: _conv2d,
    Op.DEPTHWISE_CONV_2D: _depthwise,
    Op.TRANSPOSE_CONV: _transpose_conv,
    Op.MAX_POOL_2D: _max_pool,
    Op.AVERAGE_POOL_2D: _average_pool,
    Op.RESIZE_NEAREST_NEIGHBOR: _resize_nearest,
    Op.RESIZE_BILINEAR: _resize_bilinear,
}
