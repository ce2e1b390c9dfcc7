"""Biases of operators with weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...graph import DType, QuantParams, Value
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord

_ZEROS: Mapping[DType, np.dtype[Any]] = {
    DType.FLOAT32: np.dtype(np.float32),
    DType.INT8: np.dtype(np.int32),
    DType.INT16: np.dtype(np.int64),
}


def bias_of(
    reader: TfliteReader, operator: OperatorRecord, x: str, weights: str, position: int = 2
) -> str:
    """The bias, or zeros where the operator has none; its scale, or the one it must have."""
    kernel = reader.known(weights)
    channels = reader.output(operator).shape[-1]
    if reader.has_operand(operator, position):
        name = reader.value(reader.operand(operator, position))
        data = reader.constant(operator, position)
        if reader.known(name).quant is not None or kernel.dtype is DType.FLOAT32:
            return name
    else:
        data = np.zeros(channels, _ZEROS[reader.known(x).dtype])
    quant = _bias_quant(reader.known(x).quant, kernel.quant)
    dtype = DType(data.dtype.name)
    return reader.add_value(Value(f"{weights}.bias", data.shape, dtype, quant, data))


def _bias_quant(x: QuantParams | None, weights: QuantParams | None) -> QuantParams | None:
    if x is None or weights is None:
        return None
    scales = np.float32(x.scale[0]) * np.asarray(weights.scale, np.float32)
    axis = None if weights.axis is None else 0
    return QuantParams(tuple(map(float, scales)), (0,) * len(scales), axis)
