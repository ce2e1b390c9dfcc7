"""The one rule between real numbers and codes: real = scale · (q - zero_point).

Compiler and engines both quantize through here, so an input becomes the same bytes in a test on
the build machine and on the device.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]
Logits = npt.NDArray[Any]  # int8 or int16 codes, or float32


@dataclass(frozen=True, slots=True)
class End:
    """One end of a model: so many elements of `dtype`; real = scale · (code - zero_point)."""

    elements: int
    dtype: type[np.generic]
    scale: float
    zero_point: int

    @property
    def holds_codes(self) -> bool:
        """False where the numbers stand for themselves."""
        return self.dtype is not np.float32

    def accept(self, x: FloatArray) -> npt.NDArray[Any]:
        """Float32 of any shape in the end's own dtype."""
        if not self.holds_codes:
            return x.astype(np.float32, copy=False)
        return quantize_to(np.dtype(self.dtype), x, self.scale, self.zero_point)


def quantize_array(x: FloatArray, scale: float, zero_point: int) -> Int8Array:
    """Float32 of any shape to int8: divide in float32, round half to even, saturate.

    The division and the rounding are IEEE single precision, so a C `lrintf` gives the same bytes.
    """
    quantized: Int8Array = quantize_to(np.dtype(np.int8), x, scale, zero_point)
    return quantized


def quantize_to(
    dtype: np.dtype[Any], x: FloatArray, scale: float, zero_point: int
) -> npt.NDArray[Any]:
    """`quantize_array` to another integer dtype of at most 16 bits."""
    limits = np.iinfo(dtype)
    steps = np.rint(x.astype(np.float32, copy=False) / np.float32(scale))
    # Clip before the zero point is added: the sum then stays exact in float32.
    bounded = np.clip(
        steps, np.float32(limits.min - zero_point), np.float32(limits.max - zero_point)
    )
    quantized: npt.NDArray[Any] = (bounded + np.float32(zero_point)).astype(dtype)
    return quantized


class Rounding:
    """The operands of `quantize_to`, for one sample at a time: numpy takes longer over scalars.

    Of float32, which is not rounded, they are those of int8.
    """

    def __init__(self, dtype: npt.DTypeLike, scale: float, zero_point: int) -> None:
        kind = np.dtype(dtype)
        limits = np.iinfo(kind if kind.kind == "i" else np.int8)
        self.dtype = np.dtype(limits.dtype)
        self.scale = np.array(scale, np.float32)
        self.lowest = np.array(limits.min - zero_point, np.float32)
        self.highest = np.array(limits.max - zero_point, np.float32)
        # Beside 1.5 · 2**23 a float32 has no room for fractions: the sum is rounded half to even,
        # and its low bits are the whole number in two's complement. For halves to go the same
        # way, what is added on top is even; `odd` is what then lacks.
        even = zero_point - zero_point % 2
        self.to_codes = np.array(1.5 * 2**23 + even, np.float32)
        self.odd = np.array(zero_point - even, self.dtype)

    def low_parts(self, work: FloatArray) -> npt.NDArray[Any]:
        """The low bits of float32 as codes: a view of the same shape."""
        parts = work.view(self.dtype).reshape(*work.shape, work.itemsize // self.dtype.itemsize)
        return parts[..., 0 if sys.byteorder == "little" else -1]

    def codes(self, x: FloatArray) -> npt.NDArray[Any]:
        """What `quantize_to` gives for finite numbers."""
        steps = np.divide(x, self.scale)
        np.maximum(steps, self.lowest, out=steps)
        np.minimum(steps, self.highest, out=steps)
        np.add(steps, self.to_codes, steps)
        found: npt.NDArray[Any] = self.low_parts(steps) + self.odd
        return found


def dequantize_array(q: Logits, scale: float, zero_point: int) -> FloatArray:
    """Codes of any shape to the float32 that they stand for."""
    real: FloatArray = (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return real


def real_logits(logits: Logits, scale: float, zero_point: int) -> FloatArray:
    """Codes as the float32 that they stand for; floats as they are."""
    if logits.dtype.kind == "f":
        return logits.astype(np.float32, copy=False)
    return dequantize_array(logits, scale, zero_point)


def softmax(logits: FloatArray) -> FloatArray:
    """Float32 (n, classes) logits to probabilities, safe for large logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
