"""Encodings of an SVDF: weights, bias, and the int16 numbers that it remembers.

Nothing overflows, whatever the frames: a step of the memory is wide enough for the largest product
that the weights can make of a frame, weights in time are so coarse that what one unit sums stays
below 2^30, and so does the bias beside it. 16 bits have room for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .encoding import Encoding
from .graph import Array, DType, Graph, Node, QuantParams
from .ops import SvdfAttrs

_INT8_MOST, _INT16_MOST, _BIAS_MOST = 127, 32767, 2.0**30
_SMALLEST_SCALE = 1e-8


@dataclass(frozen=True, slots=True)
class SvdfScales:
    """Encodings by the constants' names, and one step of what is remembered."""

    encodings: dict[str, Encoding]
    state_scale: float


def svdf_scales(graph: Graph, node: Node, x: QuantParams) -> SvdfScales:
    """The scales of a float32 node whose frames come with the encoding `x`."""
    assert isinstance(node.attrs, SvdfAttrs)
    names = node.inputs[1:]
    weights, in_time, bias = (graph.constant(name).astype(np.float64) for name in names)
    ends = x.scale[0] * (np.array([-128.0, 127.0]) - x.zero_point[0])
    products = np.maximum(weights * ends[0], weights * ends[1]).sum(axis=1)
    negative = np.minimum(weights * ends[0], weights * ends[1]).sum(axis=1)
    state = _scale(max(products.max(), -negative.min()) / _INT16_MOST)
    of_unit = np.abs(in_time).reshape(len(bias), -1).sum(axis=1).max()
    time = _scale(max(of_unit / _INT16_MOST, np.abs(bias).max() / (state * _BIAS_MOST)))
    encodings = (
        Encoding(DType.INT8, _symmetric(_scale(np.abs(weights).max() / _INT8_MOST))),
        Encoding(DType.INT16, _symmetric(time)),
        Encoding(DType.INT32, _symmetric(float(np.float32(state) * np.float32(time)))),
    )
    return SvdfScales(dict(zip(names, encodings, strict=True)), state)


def _scale(number: float | Array) -> float:
    return float(np.float32(max(float(number), _SMALLEST_SCALE)))


def _symmetric(scale: float) -> QuantParams:
    return QuantParams((scale,), (0,))
