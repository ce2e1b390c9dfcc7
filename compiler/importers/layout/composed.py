"""What frameworks know and the graph has no word for, composed of words that it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...graph import Array
from ...ops import Op
from .elementwise import binary, leaky_relu, unary
from .frame import Frame
from .moves import slice_axis
from .reductions import arg_max, reduce
from .tensor import Operand, Tensor


def scaled(frame: Frame, x: Operand, factor: float, offset: float = 0.0) -> Operand:
    """x · factor + offset; what changes nothing is not written."""
    if factor != 1.0:
        x = binary(frame, Op.MUL, x, number(factor))
    return x if offset == 0.0 else binary(frame, Op.ADD, x, number(offset))


def clip(frame: Frame, x: Operand, low: float, high: float) -> Operand:
    """min(max(x, low), high); an infinite bound is none."""
    if (low, high) == (0.0, 6.0):
        return unary(frame, Op.RELU6, x)
    if low == 0.0:
        x = unary(frame, Op.RELU, x)
    elif low != -math.inf:
        x = binary(frame, Op.MAXIMUM, x, number(low))
    return x if high == math.inf else binary(frame, Op.MINIMUM, x, number(high))


def hard_sigmoid(frame: Frame, x: Operand, alpha: float = 1 / 6, beta: float = 0.5) -> Operand:
    """min(max(alpha · x + beta, 0), 1), by the clamp that fuses: relu6(6 · (alpha · x + beta)) / 6.

    With the usual alpha of 1/6 it takes two nodes.
    """
    factor = 1.0 if math.isclose(alpha, 1 / 6, rel_tol=1e-6) else 6 * alpha
    return scaled(frame, unary(frame, Op.RELU6, scaled(frame, x, factor, 6 * beta)), 1 / 6)


def elu(frame: Frame, x: Operand, alpha: float) -> Operand:
    """x where it is above zero, else alpha · (e^x - 1): the graph's ELU, its lower part scaled."""
    x = unary(frame, Op.ELU, x)
    return x if alpha == 1.0 else leaky_relu(frame, x, alpha)


def silu(frame: Frame, x: Operand) -> Operand:
    """x · sigmoid(x)."""
    return binary(frame, Op.MUL, x, unary(frame, Op.LOGISTIC, x))


@dataclass(frozen=True, slots=True)
class Normalized:
    """(x - mean) · inverse, and what it is made of."""

    x: Operand
    mean: Operand
    inverse: Operand  # of the deviation


def normalize(frame: Frame, x: Operand, axes: Sequence[int], epsilon: float) -> Normalized:
    """(x - mean) / √(variance + epsilon) over `axes`; variance is the mean square."""
    mean = reduce(frame, Op.MEAN, x, axes, keep_dims=True)
    centred = binary(frame, Op.SUB, x, mean)
    square = binary(frame, Op.MUL, centred, centred)
    variance = reduce(frame, Op.MEAN, square, axes, keep_dims=True)
    inverse = unary(frame, Op.RSQRT, scaled(frame, variance, 1.0, epsilon))
    return Normalized(binary(frame, Op.MUL, centred, inverse), mean, inverse)


def smallest(frame: Frame, x: Operand, axes: Sequence[int], *, keep_dims: bool) -> Operand:
    """The minimum over `axes`."""
    found = reduce(frame, Op.REDUCE_MAX, scaled(frame, x, -1.0), axes, keep_dims=keep_dims)
    return scaled(frame, found, -1.0)


def last_arg_max(frame: Frame, x: Tensor, axis: int, *, keep_dims: bool) -> Tensor:
    """The index of the last largest element: of the largest place where x reaches its maximum."""
    axis %= x.rank
    largest = reduce(frame, Op.REDUCE_MAX, x, (axis,), keep_dims=True)
    reached = binary(frame, Op.LESS_EQUAL, largest, x)
    along = [1] * x.rank
    along[axis] = -1
    places = np.arange(1, x.shape[axis] + 1, dtype=np.float32).reshape(along)
    return arg_max(frame, binary(frame, Op.MUL, reached, places), axis, keep_dims=keep_dims)


def flip(frame: Frame, x: Operand, axis: int) -> Operand:
    """Elements along `axis` in the opposite order."""
    length = x.shape[axis]
    return slice_axis(frame, x, axis, length - 1, length, -1)


def number(value: float) -> Array:
    """A constant that broadcasts to everything."""
    return np.asarray(value, np.float32)
