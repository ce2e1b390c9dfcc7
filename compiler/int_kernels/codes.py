"""Ranges of integer codes: what a dtype holds and what a fused activation lets through."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..fixedpoint import Int64
from ..graph import DType, Graph, QuantParams
from ..ops import Activation

Codes = npt.NDArray[Any]  # int8 or int16


def limits(dtype: DType) -> tuple[int, int]:
    """Smallest and largest code of an integer dtype."""
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)


def activation_range(quant: QuantParams, dtype: DType, activation: Activation) -> tuple[int, int]:
    """Smallest and largest code that an activation lets through.

    6 becomes a code as in LiteRT: divided in float32, rounded half away from zero.
    """
    low, high = limits(dtype)
    if activation is Activation.NONE:
        return low, high
    zero_point = quant.zero_point[0]
    low = max(low, zero_point)
    if activation is Activation.RELU6:
        six = np.floor(np.float32(6.0) / np.float32(quant.scale[0]) + np.float32(0.5))
        high = min(high, zero_point + int(six))
    return low, high


def encoded(
    graph: Graph, name: str, values: Int64, activation: Activation = Activation.NONE
) -> Codes:
    """Steps from the zero point of the value `name` as its codes, clamped to its range."""
    value = graph.values[name]
    assert value.quant is not None
    low, high = activation_range(value.quant, value.dtype, activation)
    return np.clip(values + value.quant.zero_point[0], low, high).astype(value.dtype.numpy)


def steps(graph: Graph, name: str, codes: Codes) -> Int64:
    """Codes of the value `name` less their zero point."""
    quant = graph.values[name].quant
    assert quant is not None
    return codes.astype(np.int64) - quant.zero_point[0]


def scale_of(graph: Graph, name: str) -> np.float32:
    """The one scale of the value `name`, in the float32 that files hold."""
    quant = graph.values[name].quant
    assert quant is not None
    return np.float32(quant.scale[0])
