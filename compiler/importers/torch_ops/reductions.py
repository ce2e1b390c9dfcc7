"""Handlers of operators along axes: means, sums, maxima, softmax."""

from __future__ import annotations

from ...ops import Op
from ...shapes import Shape
from ..layout import NoWordError, Operand, Tensor, arg_max, binary, reduce, reshape, softmax
from ..layout.composed import smallest
from .call import Call, Handler, axis_of, operand


def _axes(call: Call, x: Operand) -> Shape:
    """None and an empty list mean all."""
    dims = call.args.get("dim")
    if dims is None or dims == []:
        return tuple(range(len(x.shape)))
    return tuple(axis_of(axis, x) for axis in (dims if isinstance(dims, list) else [dims]))


def _reduce(op: Op) -> Handler:
    def handler(call: Call) -> Operand:
        x = call.operand("self")
        keep_dims = bool(call.args.get("keepdim"))
        return reduce(call.frame, op, x, _axes(call, x), keep_dims=keep_dims)

    return handler


def _amin(call: Call) -> Operand:
    x = call.operand("self")
    return smallest(call.frame, x, _axes(call, x), keep_dims=bool(call["keepdim"]))


def _max_along(call: Call) -> list[Operand | None]:
    return [_reduce(Op.REDUCE_MAX)(call), None]


def _variance(call: Call) -> Operand:
    x = call.operand("self")
    axes = _axes(call, x)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    correction = call.args.get("correction", 1 if call.args.get("unbiased", True) else 0)
    less = 1 if correction is None else correction
    mean = reduce(call.frame, Op.MEAN, x, axes, keep_dims=True)
    apart = binary(call.frame, Op.SUB, x, mean)
    square = binary(call.frame, Op.MUL, apart, apart)
    keep_dims = bool(call.args.get("keepdim"))
    variance = reduce(call.frame, Op.MEAN, square, axes, keep_dims=keep_dims)
    if less == 0:
        return variance
    return binary(call.frame, Op.MUL, variance, operand(count / (count - less)))


def _arg_max(call: Call) -> Tensor:
    x, axis = call.operand("self"), call["dim"]
    if axis is None:
        raise NoWordError("the place of a maximum over all axes")
    return arg_max(call.frame, x, axis, keep_dims=bool(call["keepdim"]))


def _softmax(op: Op) -> Handler:
    def handler(call: Call) -> Operand:
        x = call.operand("self")
        axis = axis_of(call["dim"], x)
        if call.is_output and axis == len(x.shape) - 1:
            return x  # graphs give logits
        return softmax(call.frame, op, x, axis)

    return handler


def _all_mean(call: Call) -> Operand:
    x = call.operand("self")
    total = reduce(call.frame, Op.MEAN, x, tuple(range(len(x.shape))), keep_dims=True)
    return reshape(call.frame, total, call.shape)


REDUCTIONS: dict[str, Handler] = {
    "aten.mean.dim": _reduce(Op.MEAN),
    "aten.mean.default": _all_mean,
    "aten.sum.dim_IntList": _reduce(Op.SUM),
    "aten.amax.default": _reduce(Op.REDUCE_MAX),
    "aten.amin.default": _amin,
    "aten.max.dim": _max_along,
    "aten.var.correction": _variance,
    "aten.var.dim": _variance,
    "aten.argmax.default": _arg_max,
    "aten.softmax.int": _softmax(Op.SOFTMAX),
    "aten._softmax.default": _softmax(Op.SOFTMAX),
    "aten._safe_softmax.default": _softmax(Op.SOFTMAX),
    "aten.log_softmax.int": _softmax(Op.LOG_SOFTMAX),
    "aten._log_softmax.default": _softmax(Op.LOG_SOFTMAX),
}
