"""Window views over NHWC batches, shared by the float and the integer interpreter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .graph import Array, Padding


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
