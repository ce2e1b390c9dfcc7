"""Operators of one element, and of two by broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...graph import Array
from ...ops import Attrs, BinaryAttrs, GeluAttrs, LeakyAttrs, NoAttrs, Op
from ...shapes import Shape
from .follow import follow, ready_leader
from .frame import Frame
from .tensor import Operand, SamplesTouchedError, Tensor

_FOLDED: Mapping[Op, Callable[[Array, Array], Array]] = {
    Op.ADD: np.add,
    Op.SUB: np.subtract,
    Op.MUL: np.multiply,
    Op.DIV: np.divide,
    Op.MINIMUM: np.minimum,
    Op.MAXIMUM: np.maximum,
}
_ACTIVATED = (Op.ADD, Op.SUB, Op.MUL, Op.DIV)


def unary(frame: Frame, op: Op, x: Operand, attrs: Attrs | None = None) -> Tensor:
    """An operator of one element: RELU, TANH, EXP and the like."""
    x = frame.computed(x)
    return Tensor(frame.node(op, (x.value,), attrs or NoAttrs()), x.shape, x.axes)


def leaky_relu(frame: Frame, x: Operand, alpha: float) -> Tensor:
    """x below zero is multiplied by `alpha`."""
    return unary(frame, Op.LEAKY_RELU, x, LeakyAttrs(alpha))


def gelu(frame: Frame, x: Operand, *, approximate: bool) -> Tensor:
    """By the error function, or its tanh approximation."""
    return unary(frame, Op.GELU, x, GeluAttrs(approximate))


def binary(frame: Frame, op: Op, a: Operand, b: Operand) -> Operand:
    """ADD, SUB, MUL, DIV, MINIMUM, MAXIMUM or LESS_EQUAL; two constants are folded."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        if op in _FOLDED:
            return np.asarray(_FOLDED[op](a, b))
        a = frame.computed(a)
    shape = np.broadcast_shapes(a.shape, b.shape)
    attrs = BinaryAttrs() if op in _ACTIVATED else NoAttrs()
    covering = [x for x in (a, b) if isinstance(x, Tensor) and x.shape == shape]
    if not covering:
        return _spread(frame, op, (a, b), shape, attrs)
    leader = ready_leader(frame, covering[0], a, b)
    if covering[0] is a:
        values = leader.value, follow(frame, leader, b, op, "right")
    else:
        values = follow(frame, leader, a, op, "left"), leader.value
    return Tensor(frame.node(op, values, attrs), shape, leader.axes)


def prelu(frame: Frame, x: Tensor, slope: Array) -> Tensor:
    """x below zero is multiplied by `slope`, which broadcasts to x."""
    x = ready_leader(frame, x, slope)
    operands = x.value, follow(frame, x, slope, Op.PRELU, "slope")
    return Tensor(frame.node(Op.PRELU, operands), x.shape, x.axes)


def _spread(
    frame: Frame, op: Op, operands: tuple[Operand, Operand], shape: Shape, attrs: Attrs
) -> Tensor:
    """Neither operand has the result's shape: both take the framework's order of axes."""
    rank = len(shape)
    tied = any(isinstance(x, Tensor) and x.axes[:1] == ((0,),) for x in operands)
    start = 1 if tied else 0
    values = [
        _in_order(frame, op, x, rank, start, what)
        for x, what in zip(operands, ("left", "right"), strict=True)
    ]
    axes = tuple((axis - start + 1,) for axis in range(start, rank))
    return Tensor(frame.node(op, values, attrs), shape, ((0,),) * start + axes)


def _in_order(frame: Frame, op: Op, x: Operand, rank: int, start: int, what: str) -> str:
    shift = rank - len(x.shape)
    if not isinstance(x, Tensor):
        if start and shift == 0 and x.shape[0] != 1:
            raise SamplesTouchedError
        data = x[0] if start and shift == 0 else x
        return frame.constant(op, what, data if data.ndim else data.reshape(1))
    if x.axes[:1] == ((0,),) and shift:
        raise SamplesTouchedError
    first = 1 if start and shift == 0 else 0
    if first and x.axes[0] != (0,) and x.shape[0] != 1:
        raise SamplesTouchedError
    missing: list[tuple[int, ...]] = [()] * (rank - start - (x.rank - first))
    return frame.arrange(x, [*missing, *((axis,) for axis in range(first, x.rank))])
