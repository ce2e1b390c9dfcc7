"""Second moments of what a weighted layer reads: all that its output error depends on.

A layer's weights are seen as (groups, outputs of a group, weights of an output). Plain convolutions
and fully connected layers have one group, depthwise convolutions one for each input channel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .graph import Array, Graph, Node
from .ops import ConvAttrs, Op
from .windows import pad_image, patches

_ROWS = 1 << 16  # windows looked at, at most
_BATCH = 16  # samples unrolled at once

Floats = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SUPPORTED = frozenset({Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED})
"""Operators whose windows `covariance` knows."""


def second_moments(graph: Graph, node: Node, x: Floats, seed: int) -> Float64:
    """(groups, k, k): the mean of products of what each pair of an output's weights multiplies."""
    total, count = _accumulate(graph, node, x, seed)[:2]
    return total / count


def covariance(graph: Graph, node: Node, x: Floats, seed: int) -> Float64:
    """The same about the means: what is left where the bias takes up every constant error."""
    total, count, sums = _accumulate(graph, node, x, seed)
    means = sums / count
    return total / count - means[:, :, None] * means[:, None, :]


def to_rows(graph: Graph, node: Node, weights: Float64) -> Float64:
    """Weights in the graph's layout as (groups, outputs of a group, k)."""
    if node.op is Op.DEPTHWISE_CONV_2D:
        weights = weights.transpose(3, 1, 2, 0)
    groups = _groups(graph, node)
    return weights.reshape(groups, len(weights) // groups, -1)


def from_rows(graph: Graph, node: Node, rows: Float64) -> Float64:
    """The inverse of `to_rows`."""
    shape = graph.values[node.inputs[1]].shape
    if node.op is Op.DEPTHWISE_CONV_2D:
        return rows.reshape(shape[3], shape[1], shape[2], 1).transpose(3, 1, 2, 0)
    return rows.reshape(shape)


def _groups(graph: Graph, node: Node) -> int:
    channels = graph.values[node.inputs[0]].shape[-1]
    if node.op is Op.DEPTHWISE_CONV_2D:
        return channels
    return channels // graph.values[node.inputs[1]].shape[-1]


def _accumulate(graph: Graph, node: Node, x: Floats, seed: int) -> tuple[Float64, int, Float64]:
    """Sums of products (groups, k, k), how many rows, sums (groups, k)."""
    rng = np.random.default_rng(seed)
    most = max(_ROWS * _BATCH // max(len(x), _BATCH), 1)  # of one batch
    products, sums, count = np.zeros(()), np.zeros(()), 0
    for start in range(0, len(x), _BATCH):
        rows = _windows(graph, node, x[start : start + _BATCH])
        if rows.shape[1] > most:
            rows = rows[:, rng.choice(rows.shape[1], most, replace=False)]
        products = products + (rows.transpose(0, 2, 1) @ rows).astype(np.float64)
        sums = sums + rows.sum(axis=1, dtype=np.float64)
        count += rows.shape[1]
    return products, count, sums


def _windows(graph: Graph, node: Node, x: Array) -> Floats:
    """(groups, windows, k) of samples."""
    attrs = node.attrs
    if not isinstance(attrs, ConvAttrs):
        return x.reshape(1, -1, x.shape[-1])
    shape = graph.values[node.inputs[1]].shape
    padded = pad_image(x, attrs.padding, 0)
    columns = patches(padded, (shape[1], shape[2]), attrs.stride, attrs.dilation)
    groups, taps = _groups(graph, node), shape[1] * shape[2]
    split = columns.reshape(-1, taps, groups, x.shape[-1] // groups)
    return split.transpose(2, 0, 1, 3).reshape(groups, len(split), -1)
