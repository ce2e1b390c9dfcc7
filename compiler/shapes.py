"""Shape rules: the one place that says what shape an operator's output has."""

from __future__ import annotations

import math

from .errors import GrammarError
from .graph import Attrs, ConvAttrs, Op, PadAttrs, Padding, PoolAttrs

Shape = tuple[int, ...]


def window_size(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int = 1
) -> int:
    """Positions of a window along one axis; partial windows do not count."""
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


def same_padding(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Padding:
    """What TensorFlow pads under SAME: as much before as after, an odd element goes after."""

    def axis(index: int) -> tuple[int, int]:
        out = -(-size[index] // stride[index])
        covered = (out - 1) * stride[index] + dilation[index] * (kernel[index] - 1) + 1
        total = max(covered - size[index], 0)
        return total // 2, total - total // 2

    return axis(0), axis(1)


def weight_kernel(op: Op, weights: Shape) -> tuple[int, int]:
    """(height, width) of a convolution's window; both layouts hold it at the same place."""
    if op not in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D):
        raise GrammarError(f"{op} has no window")
    return weights[1], weights[2]


def output_shape(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    """Shape of the output from the inputs' shapes, weights included.

    RESHAPE is the exception: its output value holds the shape. Raises GrammarError where an
    operand has the wrong rank or the window does not fit.
    """
    x = inputs[0]
    if isinstance(attrs, ConvAttrs):
        _need_image(op, x)
        kernel = weight_kernel(op, inputs[1])
        channels = inputs[1][0] if op is Op.CONV_2D else inputs[1][3]
        return _window(op, x, kernel, attrs.stride, attrs.padding, attrs.dilation, channels)
    if isinstance(attrs, PoolAttrs):
        _need_image(op, x)
        return _window(op, x, attrs.kernel, attrs.stride, attrs.padding, (1, 1), x[3])
    if isinstance(attrs, PadAttrs):
        _need_image(op, x)
        (top, bottom), (left, right) = attrs.padding
        return x[0], x[1] + top + bottom, x[2] + left + right, x[3]
    if op is Op.FULLY_CONNECTED:
        return x[0], inputs[1][0]
    if op is Op.MEAN:
        _need_image(op, x)
        return x[0], x[3]
    if op is Op.RESHAPE:
        raise GrammarError("a reshape's output shape cannot be inferred")
    return x


def elements(shape: Shape) -> int:
    """Number of scalars in `shape`."""
    return math.prod(shape)


def _need_image(op: Op, shape: Shape) -> None:
    if len(shape) != 4:
        raise GrammarError(f"{op} needs an input (1, height, width, channels), not {shape}")


def _window(
    op: Op,
    x: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    channels: int,
) -> Shape:
    height = window_size(x[1], kernel[0], stride[0], padding[0], dilation[0])
    width = window_size(x[2], kernel[1], stride[1], padding[1], dilation[1])
    if height < 1 or width < 1:
        raise GrammarError(f"{op}: a {kernel[0]}×{kernel[1]} window does not fit in {x[1]}×{x[2]}")
    return x[0], height, width, channels
