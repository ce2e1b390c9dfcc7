"""Constants in ONNX's number formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import Array, DType, QuantParams


@dataclass(frozen=True, slots=True)
class Codes:
    """How the codes of a quantized activation are written: as `numpy`, `shift` added."""

    numpy: np.dtype[Any]
    shift: int

    def encode(self, data: Array) -> Array:
        """The graph's codes as the format's."""
        return (data.astype(np.int32) + self.shift).astype(self.numpy)


CODES: Mapping[DType, Codes] = {
    DType.INT8: Codes(np.dtype(np.uint8), 128),
    DType.INT16: Codes(np.dtype(np.int16), 0),
}
"""Of the dtypes that quantized activations have."""


def initializer(name: str, data: Array, dtype: DType | None) -> Any:
    """A TensorProto of `data`; int4 two to the byte, the first in the low half."""
    from onnx import TensorProto, numpy_helper

    if dtype is not DType.INT4:
        return numpy_helper.from_array(np.asarray(data, order="C"), name)
    tensor = TensorProto(name=name, data_type=TensorProto.INT4, dims=data.shape)
    codes = np.append(data.ravel(), np.zeros(data.size % 2, np.int8)) & 0xF
    tensor.raw_data = (codes[0::2] | codes[1::2] << 4).astype(np.uint8).tobytes()
    return tensor


def fits_int32(data: Array) -> bool:
    """Whether DequantizeLinear, which knows no int64, can read the codes as int32."""
    limits = np.iinfo(np.int32)
    return bool((data >= limits.min).all() and (data <= limits.max).all())


def dequantized_bias(data: Array, quant: QuantParams) -> Array:
    """A bias in real numbers."""
    return (data.astype(np.float64) * np.asarray(quant.scale)).astype(np.float32)
