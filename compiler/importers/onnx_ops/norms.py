"""Normalizations: by stored statistics, or by those of the tensor itself."""

from __future__ import annotations

import numpy as np

from ...graph import Array
from ...ops import Op
from .. import layout
from ..layout import Operand
from ..layout.composed import normalize
from .common import Call, Handler, Result


def _batch_norm(call: Call) -> Result:
    scale, offset, mean, variance = (
        call.weights(place, what).astype(np.float64)
        for place, what in enumerate(("scale", "bias", "mean", "variance"), 1)
    )
    if call.integer("training_mode", 0) or call.wants(1):
        raise call.unsupported("training mode; export the model for inference")
    factor = scale / np.sqrt(variance + call.number("epsilon", 1e-5))
    return layout.batch_norm(call.frame, call.operand(), factor, offset - mean * factor)


def _layer_norm(call: Call) -> Result:
    x = call.operand()
    first = call.integer("axis", -1) % len(x.shape)
    axes = range(first, len(x.shape))
    normal = normalize(call.frame, x, axes, call.number("epsilon", 1e-5))
    shifted = _affine(call, normal.x, call.operand(1), call.optional(2))
    return [shifted, normal.mean, normal.inverse]


def _instance_norm(call: Call) -> Result:
    x = call.operand()
    normal = normalize(call.frame, x, range(2, len(x.shape)), call.number("epsilon", 1e-5))
    along = (-1, *(1,) * (len(x.shape) - 2))
    scale, offset = (call.weights(place, what).reshape(along) for place, what in _SCALE)
    return _affine(call, normal.x, scale, offset)


def _group_norm(call: Call) -> Result:
    x, groups = call.operand(), call.integer("num_groups", 1)
    samples, channels, *directions = x.shape
    if channels % groups:
        raise call.unsupported(f"{groups} groups of {channels} channels")
    each = channels // groups
    split = layout.reshape(call.frame, x, (samples, groups, each, *directions))
    axes = range(2, len(split.shape))
    normal = normalize(call.frame, split, axes, call.number("epsilon", 1e-5))
    scale, offset = (call.weights(place, what) for place, what in _SCALE)
    if call.version < 21:  # one entry for each group
        scale, offset = np.repeat(scale, each), np.repeat(offset, each)
    along = (groups, each, *(1,) * len(directions))
    shifted = _affine(call, normal.x, scale.reshape(along), offset.reshape(along))
    return layout.reshape(call.frame, shifted, x.shape)


def _root_mean_square_norm(call: Call) -> Result:
    x = call.operand()
    first = call.integer("axis", -1) % len(x.shape)
    square = layout.binary(call.frame, Op.MUL, x, x)
    mean = layout.reduce(call.frame, Op.MEAN, square, range(first, len(x.shape)), keep_dims=True)
    epsilon: Array = np.asarray(call.number("epsilon", 1e-5), np.float32)
    inverse = layout.unary(call.frame, Op.RSQRT, layout.binary(call.frame, Op.ADD, mean, epsilon))
    return _affine(call, layout.binary(call.frame, Op.MUL, x, inverse), call.operand(1), None)


def _mean_variance_norm(call: Call) -> Result:
    axes = call.several("axes", (0, 2, 3))
    return normalize(call.frame, call.operand(), axes, 1e-9).x


def _affine(call: Call, x: Operand, scale: Operand, offset: Operand | None) -> Operand:
    x = layout.binary(call.frame, Op.MUL, x, scale)
    return x if offset is None else layout.binary(call.frame, Op.ADD, x, offset)


_SCALE = ((1, "scale"), (2, "bias"))

NORMS: dict[str, Handler] = {
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "MeanVarianceNormalization": _mean_variance_norm,
    "RMSNormalization": _root_mean_square_norm,
}
