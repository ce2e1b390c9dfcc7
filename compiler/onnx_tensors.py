"""Constants in ONNX's number formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import Array, DType


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


def narrow_bias(codes: Array, scale: Array) -> tuple[Array, Array]:
    """A bias of 64 bits as int32 codes and scales, one of each for every channel.

    DequantizeLinear knows no int64. Where codes do not fit, the steps of that channel become
    coarser by a power of two, so that 31 bits are left; as floats (ONNX Runtime quantizes those
    itself, and lets them overflow) there would be 24.
    """
    steps = np.zeros(len(codes), np.int64)
    limit = 2**31 - 1
    while (over := np.abs(codes) > limit << steps).any():
        steps[over] += 1
    rounded = np.clip(np.rint(codes / 2.0**steps), -limit, limit)
    return rounded.astype(np.int32), (scale * 2.0**steps).astype(np.float32)
