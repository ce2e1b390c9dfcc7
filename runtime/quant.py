"""The one rule between real numbers and int8: real = scale · (q - zero_point).

Compiler and engines both quantize through here, so an input becomes the same bytes in a test on
the build machine and on the device.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]


def quantize_array(x: FloatArray, scale: float, zero_point: int) -> Int8Array:
    """Float32 of any shape to int8: divide in float32, round half to even, saturate.

    The division and the rounding are IEEE single precision, so a C `lrintf` gives the same bytes.
    """
    steps = np.rint(x.astype(np.float32, copy=False) / np.float32(scale))
    # Clip before the zero point is added: the sum then stays exact in float32.
    bounded = np.clip(steps, np.float32(-128 - zero_point), np.float32(127 - zero_point))
    quantized: Int8Array = (bounded + np.float32(zero_point)).astype(np.int8)
    return quantized


def dequantize_array(q: Int8Array, scale: float, zero_point: int) -> FloatArray:
    """int8 of any shape to the float32 that it stands for."""
    return ((q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)).astype(np.float32)


def softmax(logits: FloatArray) -> FloatArray:
    """Float32 (n, classes) logits to probabilities, safe for large logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
