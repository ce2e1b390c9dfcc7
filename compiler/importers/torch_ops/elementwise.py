"""Handlers of operators of one element, and of two by broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...ops import Op
from ..layout import Frame, NoWordError, Operand, Tensor, binary, gelu, leaky_relu, prelu, unary
from ..layout.composed import clip, elu, hard_sigmoid, scaled, silu
from .call import Call, Handler, operand

_MASKED = -1e4  # what minus infinity becomes in a mask: e^-10000 is 0 in float32, too
_LARGEST_POWER = 88.0  # e^88 is still a float32


def _unary(op: Op) -> Handler:
    return lambda call: unary(call.frame, op, call.operand("self"))


def _composed(compose: Callable[[Frame, Operand], Operand]) -> Handler:
    """An operator of one element that is made of others."""
    return lambda call: compose(call.frame, call.operand("self"))


def _binary(op: Op) -> Handler:
    return lambda call: binary(call.frame, op, call.operand("self"), call.operand("other"))


def _scaled(call: Call, x: Operand) -> Operand:
    alpha = call.args.get("alpha", 1)
    return x if alpha == 1 else binary(call.frame, Op.MUL, x, operand(alpha))


def _finite(x: Operand) -> Operand:
    """A mask without infinities; anything else as it is."""
    if isinstance(x, Tensor) or not np.isneginf(x).any():
        return x
    return np.where(np.isneginf(x), np.float32(_MASKED), x)


def _add(call: Call) -> Operand:
    other = _scaled(call, _finite(call.operand("other")))
    return binary(call.frame, Op.ADD, _finite(call.operand("self")), other)


def _sub(call: Call) -> Operand:
    return binary(call.frame, Op.SUB, call.operand("self"), _scaled(call, call.operand("other")))


def _rsub(call: Call) -> Operand:
    return binary(call.frame, Op.SUB, call.operand("other"), _scaled(call, call.operand("self")))


def _div(call: Call) -> Operand:
    if call.args.get("rounding_mode") is not None:
        raise NoWordError("a division that rounds")
    other = call.operand("other")
    if isinstance(other, Tensor):
        return binary(call.frame, Op.DIV, call.operand("self"), other)
    return binary(call.frame, Op.MUL, call.operand("self"), np.asarray(1 / other, np.float32))


def _pow(call: Call) -> Operand:
    x, exponent = call.operand("self"), call["exponent"]
    if exponent in (0.5, -0.5):
        return unary(call.frame, Op.SQRT if exponent > 0 else Op.RSQRT, x)
    if exponent == -1:
        return binary(call.frame, Op.DIV, operand(1.0), x)
    if exponent not in (1, 2, 3, 4):
        raise NoWordError(f"a power of {exponent}")
    result = x
    for _ in range(int(exponent) - 1):
        result = binary(call.frame, Op.MUL, result, x)
    return result


def _square(call: Call) -> Operand:
    return binary(call.frame, Op.MUL, call.operand("self"), call.operand("self"))


def _neg(call: Call) -> Operand:
    return scaled(call.frame, call.operand("self"), -1.0)


def _reciprocal(call: Call) -> Operand:
    return binary(call.frame, Op.DIV, operand(1.0), call.operand("self"))


def _clamp(call: Call) -> Operand:
    low = call.args.get("min", call.args.get("min_val"))
    high = call.args.get("max", call.args.get("max_val"))
    if isinstance(low, Tensor | np.ndarray) or isinstance(high, Tensor | np.ndarray):
        raise NoWordError("a clamp by tensors")
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    return clip(call.frame, call.operand("self"), low, high)


def _leaky_relu(call: Call) -> Operand:
    return leaky_relu(call.frame, call.operand("self"), float(call["negative_slope"]))


def _prelu(call: Call) -> Operand:
    x, slope = call.tensor("self"), call.weights("weight")
    if call.target == "aten.prelu.default" and slope.size > 1:
        slope = slope.reshape(-1, *(1,) * (x.rank - 2))
    return prelu(call.frame, x, slope)


def _elu(call: Call) -> Operand:
    return _any_elu(
        call, float(call["alpha"]), float(call.args["scale"]), float(call.args["input_scale"])
    )


def _selu(call: Call) -> Operand:
    # Klambauer et al., "Self-Normalizing Neural Networks", 2017: the fixed point's constants.
    return _any_elu(call, 1.6732632423543772, 1.0507009873554805, 1.0)


def _celu(call: Call) -> Operand:
    return _any_elu(call, float(call["alpha"]), 1.0, 1.0 / float(call["alpha"]))


def _any_elu(call: Call, alpha: float, scale: float, inside: float) -> Operand:
    """scale · (x where x > 0, else alpha · (e^(inside · x) - 1))."""
    x = scaled(call.frame, call.operand("self"), inside)
    return scaled(call.frame, elu(call.frame, x, alpha * inside), scale / inside)


def _gelu(call: Call) -> Operand:
    return gelu(call.frame, call.operand("self"), approximate=call["approximate"] == "tanh")


def _expm1(call: Call) -> Operand:
    """e^x - 1, finite for every x: `where` multiplies what it does not choose by zero."""
    x = binary(call.frame, Op.MINIMUM, call.operand("self"), operand(_LARGEST_POWER))
    return binary(call.frame, Op.SUB, unary(call.frame, Op.EXP, x), operand(1.0))


def _where(call: Call) -> Operand:
    """A choice that constants make for all elements alike, else a sum weighed by zeros and ones."""
    condition = call["condition"]
    a, b = call.operand("self"), call.operand("other")
    if isinstance(condition, np.ndarray) and condition.any() == condition.all():
        chosen = a if condition.all() else b
        if chosen.shape == call.shape:
            return chosen
    if any(isinstance(x, np.ndarray) and not np.isfinite(x).all() for x in (a, b)):
        raise NoWordError("a choice of infinities")
    mask = operand(condition)
    others = binary(call.frame, Op.SUB, operand(1.0), mask)
    return binary(
        call.frame,
        Op.ADD,
        binary(call.frame, Op.MUL, mask, a),
        binary(call.frame, Op.MUL, others, b),
    )


def _at_most(left: str, right: str) -> Handler:
    """1 where left ≤ right, else 0."""
    return lambda call: binary(call.frame, Op.LESS_EQUAL, call.operand(left), call.operand(right))


def _more(left: str, right: str) -> Handler:
    """1 where left > right, else 0."""
    at_most = _at_most(left, right)
    return lambda call: binary(call.frame, Op.SUB, operand(1.0), at_most(call))


def _equal(call: Call) -> Operand:
    """Whether a score is minus infinity: torch's softmax guards rows that are masked throughout."""
    if call["other"] != -math.inf:
        raise NoWordError("a comparison for equality")
    return np.zeros(call.shape, bool)


ELEMENTWISE: dict[str, Handler] = {
    "aten.add.Tensor": _add,
    "aten.add_.Tensor": _add,
    "aten.add.Scalar": _add,
    "aten.add_.Scalar": _add,
    "aten.sub.Tensor": _sub,
    "aten.sub_.Tensor": _sub,
    "aten.sub.Scalar": _sub,
    "aten.rsub.Scalar": _rsub,
    "aten.rsub.Tensor": _rsub,
    "aten.mul.Tensor": _binary(Op.MUL),
    "aten.mul_.Tensor": _binary(Op.MUL),
    "aten.mul.Scalar": _binary(Op.MUL),
    "aten.mul_.Scalar": _binary(Op.MUL),
    "aten.div.Tensor": _div,
    "aten.div_.Tensor": _div,
    "aten.div.Scalar": _div,
    "aten.div.Tensor_mode": _div,
    "aten.minimum.default": _binary(Op.MINIMUM),
    "aten.maximum.default": _binary(Op.MAXIMUM),
    "aten.min.other": _binary(Op.MINIMUM),
    "aten.max.other": _binary(Op.MAXIMUM),
    "aten.pow.Tensor_Scalar": _pow,
    "aten.square.default": _square,
    "aten.neg.default": _neg,
    "aten.reciprocal.default": _reciprocal,
    "aten.relu.default": _unary(Op.RELU),
    "aten.relu_.default": _unary(Op.RELU),
    "aten.relu6.default": _unary(Op.RELU6),
    "aten.relu6_.default": _unary(Op.RELU6),
    "aten.hardtanh.default": _clamp,
    "aten.hardtanh_.default": _clamp,
    "aten.clamp.default": _clamp,
    "aten.clamp_.default": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.clamp_max.default": _clamp,
    "aten.leaky_relu.default": _leaky_relu,
    "aten.leaky_relu_.default": _leaky_relu,
    "aten.prelu.default": _prelu,
    "aten._prelu_kernel.default": _prelu,
    "aten.elu.default": _elu,
    "aten.elu_.default": _elu,
    "aten.selu.default": _selu,
    "aten.selu_.default": _selu,
    "aten.celu.default": _celu,
    "aten.celu_.default": _celu,
    "aten.silu.default": _composed(silu),
    "aten.silu_.default": _composed(silu),
    "aten.hardsigmoid.default": _composed(hard_sigmoid),
    "aten.hardsigmoid_.default": _composed(hard_sigmoid),
    "aten.hardswish.default": _unary(Op.HARD_SWISH),
    "aten.hardswish_.default": _unary(Op.HARD_SWISH),
    "aten.sigmoid.default": _unary(Op.LOGISTIC),
    "aten.sigmoid_.default": _unary(Op.LOGISTIC),
    "aten.tanh.default": _unary(Op.TANH),
    "aten.tanh_.default": _unary(Op.TANH),
    "aten.gelu.default": _gelu,
    "aten.exp.default": _unary(Op.EXP),
    "aten.sqrt.default": _unary(Op.SQRT),
    "aten.rsqrt.default": _unary(Op.RSQRT),
    "aten.abs.default": _unary(Op.ABS),
    "aten.expm1.default": _expm1,
    "aten.where.self": _where,
    "aten.le.Scalar": _at_most("self", "other"),
    "aten.le.Tensor": _at_most("self", "other"),
    "aten.ge.Scalar": _at_most("other", "self"),
    "aten.ge.Tensor": _at_most("other", "self"),
    "aten.gt.Scalar": _more("self", "other"),
    "aten.gt.Tensor": _more("self", "other"),
    "aten.lt.Scalar": _more("other", "self"),
    "aten.lt.Tensor": _more("other", "self"),
    "aten.eq.Scalar": _equal,
}
