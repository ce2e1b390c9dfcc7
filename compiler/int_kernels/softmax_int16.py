"""The int16 softmax of `int16x8.v1`: two interpolated tables, one of e^x and one of 1 / (1 + x).

LiteRT's `SoftmaxInt16` (reference/softmax.h). The output's encoding is given: scale 2^-15.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..fixedpoint import Int64, Multiplier, multiply, quantize_multiplier
from .tables_int16 import interpolate, table_of

Int16 = npt.NDArray[np.int16]

_RANGE = 65535.0
_FARTHEST = 10.0  # e^-10 and less count as e^-10
_TO_UNIT = 65536.0 / (2.0 / _RANGE * 32767.0 - 2.0 / _RANGE * -32768.0)
"""From real numbers in [-1, 1] to int16."""

_UNIT = np.float64(_TO_UNIT)
_ZERO = np.float64(0.0)
EXP = table_of(np.exp, np.float64(_FARTHEST / _RANGE * -65535), _ZERO, _UNIT)
RECIPROCAL = table_of(lambda x: 1.0 / (1.0 + x), _ZERO, np.float64(1.0 / _RANGE * 65535), _UNIT)
"""Both by `interpolate`: e^x from -10 to 0, and 1 / (1 + x) from 0 to 1, as Q0.15."""


def softmax_int16(x: Int16, scale: float) -> Int16:
    """Softmax over the last axis of logits with that scale."""
    difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    scaled = multiply(difference, (difference_factor(scale),))
    powers = interpolate(EXP, np.clip(scaled + 32767, -32768, 32767))
    total = powers.sum(axis=-1, keepdims=True)
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    inverse = _reciprocal(total, zeros)
    shift = 31 - zeros
    shares = (powers * inverse + (np.int64(1) << (shift - 1))) >> shift
    clipped: Int16 = np.clip(shares, 0, 32767).astype(np.int16)
    return clipped


def difference_factor(scale: float) -> Multiplier:
    """What turns a difference of logits with that scale into a place of the first table."""
    return quantize_multiplier(float(np.float32(scale)) / (_FARTHEST / _RANGE))


def _reciprocal(total: Int64, zeros: Int64) -> Int64:
    """1 / total of its leading bits, which make a number in [1, 2)."""
    leading = ((total << (zeros - 1)) + (1 << 13)) >> 14
    return interpolate(RECIPROCAL, np.clip(leading - (1 << 15) - (1 << 16), -32768, 32767))
