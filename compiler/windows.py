"""Window views over NHWC batches, shared by the float and the integer interpreter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .graph import Array
from .ops import Padding, PoolAttrs


def pad_image(x: Array, padding: Padding, fill: float) -> Array:
    """`x` (n, h, w, c) with `fill` around height and width."""
    if padding == ((0, 0), (0, 0)):
        return x
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)


def taps(
    padded: Array, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[tuple[int, int, Array]]:
    """(row, column, view (n, oh, ow, c)) for each place of the window over a padded image."""
    height = (padded.shape[1] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    width = (padded.shape[2] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * dilation[0], column * dilation[1]
            yield (
                row,
                column,
                padded[
                    :,
                    top : top + (height - 1) * stride[0] + 1 : stride[0],
                    left : left + (width - 1) * stride[1] + 1 : stride[1],
                ],
            )


def patches(
    padded: Array, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    """Windows unrolled: (n, oh, ow, kh·kw·c), in the order of conv2d weights."""
    views = [view for _, _, view in taps(padded, kernel, stride, dilation)]
    return np.concatenate(views, axis=3) if len(views) > 1 else views[0]


def grouped_columns(
    padded: Array, weights: Array, stride: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[tuple[Array, Array]]:
    """(unrolled windows (n, oh, ow, kh·kw·share), weights) for each group of a convolution.

    `weights` (out, kh, kw, share): how many groups there are follows from the input's channels.
    """
    share = weights.shape[3]
    groups = padded.shape[3] // share
    each = len(weights) // groups
    for group in range(groups):
        part = padded if groups == 1 else padded[..., group * share : (group + 1) * share]
        yield (
            patches(part, (weights.shape[1], weights.shape[2]), stride, dilation),
            weights[group * each : (group + 1) * each],
        )


def scatter_windows(products: Array, stride: tuple[int, int], cut: Padding) -> Array:
    """Sum windows (n, h, w, out, kh, kw) into the output of a transposed convolution."""
    samples, height, width, channels, rows, columns = products.shape
    full_height = (height - 1) * stride[0] + rows
    full_width = (width - 1) * stride[1] + columns
    total = np.zeros((samples, full_height, full_width, channels), products.dtype)
    for row in range(rows):
        for column in range(columns):
            bottom, right = row + (height - 1) * stride[0] + 1, column + (width - 1) * stride[1] + 1
            total[:, row : bottom : stride[0], column : right : stride[1]] += products[
                ..., row, column
            ]
    (top, below), (left, beside) = cut
    return total[:, top : full_height - below, left : full_width - beside]


def sum_pool(x: Array, attrs: PoolAttrs) -> Array:
    """Sum of each window; padding adds nothing."""
    padded = pad_image(x, attrs.padding, 0)
    views = [view for _, _, view in taps(padded, attrs.kernel, attrs.stride, (1, 1))]
    total: Array = np.add.reduce(views)
    return total


def pool_counts(x: Array, attrs: PoolAttrs) -> Array:
    """(1, oh, ow, 1): elements of each window that are no padding."""
    return sum_pool(np.ones((1, *x.shape[1:3], 1), np.int32), attrs)
