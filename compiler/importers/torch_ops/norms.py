"""Handlers of norms: with stored statistics they are one multiplication, else composed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...graph import Array
from ...ops import Op
from ..layout import NoWordError, Operand, batch_norm, binary, reduce, reshape, unary
from ..layout.composed import normalize, scaled
from .call import Call, Handler, operand


def _batch_norm(call: Call) -> Operand:
    x = call.operand("input")
    mean, variance = call.weights("running_mean"), call.weights("running_var")
    deviation = np.sqrt(variance.astype(np.float64) + float(call["eps"]))
    scale = np.ones(len(mean)) / deviation
    gamma, beta = call.array("weight"), call.array("bias")
    scale = scale if gamma is None else gamma.astype(np.float64) * scale
    offset = -mean * scale if beta is None else beta.astype(np.float64) - mean * scale
    return batch_norm(call.frame, x, scale, offset)


def _batch_norm_with_statistics(call: Call) -> list[Operand | None]:
    return [_batch_norm(call), None, None]


def _layer_norm(call: Call) -> Operand:
    x = call.operand("input")
    axes = range(len(x.shape) - len(call["normalized_shape"]), len(x.shape))
    normal = _normalize(call, x, axes, float(call["eps"]))
    return _scale_shift(call, normal, call.array("weight"), call.array("bias"))


def _native_layer_norm(call: Call) -> list[Operand | None]:
    return [_layer_norm(call), None, None]


def _rms_norm(call: Call) -> Operand:
    x = call.operand("input")
    axes = range(len(x.shape) - len(call["normalized_shape"]), len(x.shape))
    epsilon = float(np.finfo(np.float32).eps) if call["eps"] is None else float(call["eps"])
    square = binary(call.frame, Op.MUL, x, x)
    mean = reduce(call.frame, Op.MEAN, square, axes, keep_dims=True)
    inverse = unary(call.frame, Op.RSQRT, scaled(call.frame, mean, 1.0, epsilon))
    normal = binary(call.frame, Op.MUL, x, inverse)
    return _scale_shift(call, normal, call.array("weight"), None)


def _group_norm(call: Call) -> Operand:
    return _grouped(call, int(call["num_groups"]))


def _native_group_norm(call: Call) -> list[Operand | None]:
    return [_grouped(call, int(call["group"])), None, None]


def _grouped(call: Call, groups: int) -> Operand:
    x = call.operand("input")
    n, channels, *directions = x.shape
    split = reshape(call.frame, x, (n, groups, channels // groups, *directions))
    normal = _normalize(call, split, range(2, len(split.shape)), float(call["eps"]))
    joined = reshape(call.frame, normal, x.shape)
    along = (-1, *(1,) * len(directions))
    return _scale_shift(call, joined, *(_reshaped(call.array(key), along) for key in _AFFINE))


def _instance_norm(call: Call) -> Operand:
    if not call["use_input_stats"]:
        return _batch_norm(call)
    x = call.operand("input")
    normal = _normalize(call, x, range(2, len(x.shape)), float(call["eps"]))
    along = (-1, *(1,) * (len(x.shape) - 2))
    return _scale_shift(call, normal, *(_reshaped(call.array(key), along) for key in _AFFINE))


def _of_this_batch(call: Call) -> list[Operand | None]:
    """Statistics of the input itself: core ATen's instance norm, all channels in a batch of 1."""
    x = call.operand("input")
    if x.shape[0] != 1:
        raise NoWordError("a batch norm without stored statistics")
    normal = _normalize(call, x, range(2, len(x.shape)), float(call["eps"]))
    along = (-1, *(1,) * (len(x.shape) - 2))
    weights = (_reshaped(call.array(key), along) for key in _AFFINE)
    return [_scale_shift(call, normal, *weights), None, None]


_AFFINE = ("weight", "bias")


def _reshaped(weights: Array | None, shape: Sequence[int]) -> Array | None:
    return None if weights is None else weights.reshape(shape)


def _normalize(call: Call, x: Operand, axes: Sequence[int], epsilon: float) -> Operand:
    if all(x.shape[axis] == 1 for axis in axes):
        raise NoWordError("a norm over a single element")
    return normalize(call.frame, x, axes, epsilon).x


def _scale_shift(call: Call, x: Operand, scale: Array | None, offset: Array | None) -> Operand:
    if scale is not None:
        x = binary(call.frame, Op.MUL, x, operand(scale))
    return x if offset is None else binary(call.frame, Op.ADD, x, operand(offset))


NORMS: dict[str, Handler] = {
    "aten.batch_norm.default": _batch_norm,
    "aten._native_batch_norm_legit_no_training.default": _batch_norm_with_statistics,
    "aten._native_batch_norm_legit.no_stats": _of_this_batch,
    "aten.layer_norm.default": _layer_norm,
    "aten.native_layer_norm.default": _native_layer_norm,
    "aten.rms_norm.default": _rms_norm,
    "aten.group_norm.default": _group_norm,
    "aten.native_group_norm.default": _native_group_norm,
    "aten.instance_norm.default": _instance_norm,
}
