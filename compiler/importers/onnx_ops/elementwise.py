"""Arithmetic of two and more operands, and of one."""

from __future__ import annotations

import functools

import numpy as np

from ...ops import Op
from .. import layout
from ..layout import Operand, Tensor
from ..layout.composed import clip, elu, hard_sigmoid, scaled
from .common import Call, Handler

_INFINITY = float("inf")


def _binary(op: Op) -> Handler:
    return lambda call: layout.binary(call.frame, op, call.operand(0), call.operand(1))


def _many(op: Op) -> Handler:
    def handler(call: Call) -> Operand:
        return functools.reduce(lambda a, b: layout.binary(call.frame, op, a, b), call.operands())

    return handler


def _mean(call: Call) -> Operand:
    operands = call.operands()
    total = functools.reduce(lambda a, b: layout.binary(call.frame, Op.ADD, a, b), operands)
    return scaled(call.frame, total, 1 / len(operands))


def _unary(op: Op) -> Handler:
    return lambda call: layout.unary(call.frame, op, call.operand())


def _negative(call: Call) -> Operand:
    return scaled(call.frame, call.operand(), -1.0)


def _reciprocal(call: Call) -> Operand:
    return layout.binary(call.frame, Op.DIV, np.ones((), np.float32), call.operand())


def _power(call: Call) -> Operand:
    exponent = call.constant(1, "exponent")
    if exponent is None or exponent.size != 1:
        raise call.unsupported("its exponent is no single number")
    x, power = call.operand(), float(exponent.reshape(()))
    if power == 0.5:
        return layout.unary(call.frame, Op.SQRT, x)
    if power == -0.5:
        return layout.unary(call.frame, Op.RSQRT, x)
    if power not in (1.0, 2.0, 3.0, 4.0):
        raise call.unsupported(f"a power of {power:g}; ±½, 1, 2, 3 and 4 are known")
    result = x
    for _ in range(int(power) - 1):
        result = layout.binary(call.frame, Op.MUL, result, x)
    return result


def _clip(call: Call) -> Operand:
    x = call.operand()
    if call.version < 11:
        return clip(call.frame, x, call.number("min", -_INFINITY), call.number("max", _INFINITY))
    low, high = call.optional(1), call.optional(2)
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return clip(call.frame, x, _number(low, -_INFINITY), _number(high, _INFINITY))
    if low is not None:
        x = layout.binary(call.frame, Op.MAXIMUM, x, low)
    return x if high is None else layout.binary(call.frame, Op.MINIMUM, x, high)


def _number(bound: Operand | None, default: float) -> float:
    return default if bound is None else float(np.asarray(bound).reshape(()))


def _leaky_relu(call: Call) -> Operand:
    return layout.leaky_relu(call.frame, call.operand(), call.number("alpha", 0.01))


def _prelu(call: Call) -> Operand:
    x, slope = call.computed(), call.weights(1, "slope")
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise call.unsupported(f"slopes {slope.shape} for {x.shape}")
    return layout.prelu(call.frame, x, slope)


def _elu(call: Call) -> Operand:
    return elu(call.frame, call.operand(), call.number("alpha", 1.0))


def _hard_sigmoid(call: Call) -> Operand:
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    return hard_sigmoid(call.frame, call.operand(), alpha, beta)


def _gelu(call: Call) -> Operand:
    approximate = call.text("approximate", "none") == "tanh"
    return layout.gelu(call.frame, call.operand(), approximate=approximate)


def _celu(call: Call) -> Operand:
    """alpha · ELU(x / alpha): x stays x above zero."""
    alpha = call.number("alpha", 1.0)
    inner = layout.unary(call.frame, Op.ELU, scaled(call.frame, call.operand(), 1 / alpha))
    return scaled(call.frame, inner, alpha)


def _selu(call: Call) -> Operand:
    """Klambauer and others, "Self-Normalizing Neural Networks", 2017."""
    alpha = call.number("alpha", 1.6732632423543772)
    gamma = call.number("gamma", 1.0507009873554805)
    return scaled(call.frame, elu(call.frame, call.operand(), alpha), gamma)


def _swish(call: Call) -> Operand:
    x = call.operand()
    inner = scaled(call.frame, x, call.number("alpha", 1.0))
    gate = layout.unary(call.frame, Op.LOGISTIC, inner)
    return layout.binary(call.frame, Op.MUL, x, gate)


ELEMENTWISE: dict[str, Handler] = {
    "Add": _binary(Op.ADD),
    "Sub": _binary(Op.SUB),
    "Mul": _binary(Op.MUL),
    "Div": _binary(Op.DIV),
    "Min": _many(Op.MINIMUM),
    "Max": _many(Op.MAXIMUM),
    "Sum": _many(Op.ADD),
    "Mean": _mean,
    "Neg": _negative,
    "Reciprocal": _reciprocal,
    "Pow": _power,
    "Abs": _unary(Op.ABS),
    "Exp": _unary(Op.EXP),
    "Sqrt": _unary(Op.SQRT),
    "Relu": _unary(Op.RELU),
    "Sigmoid": _unary(Op.LOGISTIC),
    "Tanh": _unary(Op.TANH),
    "HardSwish": _unary(Op.HARD_SWISH),
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "Swish": _swish,
    "Gelu": _gelu,
}
