"""`QuantizationPlan`: every value's encoding, and the mechanical step that carries a plan out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from .graph import Array, DType, QuantParams, Value

Floats = npt.NDArray[np.float32]

# Codes that constants use. 2^53 is where float64, in which they are rounded, stops being exact.
_LIMITS: Mapping[DType, tuple[int, int]] = {
    DType.INT4: (-7, 7),
    DType.INT8: (-128, 127),
    DType.INT16: (-32768, 32767),
    DType.INT32: (1 - 2**31, 2**31 - 1),
    DType.INT64: (-(2**53), 2**53),
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """The number format of one value."""

    dtype: DType
    quant: QuantParams


@dataclass(frozen=True)
class QuantizationPlan:
    """What `decide` chose, by name of value and node of one graph.

    `encodings`: every activation, weight, bias and constant operand that is not float32.
    `floating`: nodes that run in float32. `requantized`: what a node reads at a position of its
    operands in another encoding than the operand's own. `notes`: lines for the user. `halves`:
    constants of a float32 graph that are kept in float16. `states`: one step of what a node
    remembers.
    """

    encodings: Mapping[str, Encoding]
    floating: frozenset[str] = frozenset()
    requantized: Mapping[tuple[str, int], Encoding] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    halves: frozenset[str] = frozenset()
    states: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "encodings", MappingProxyType(dict(self.encodings)))
        object.__setattr__(self, "requantized", MappingProxyType(dict(self.requantized)))
        object.__setattr__(self, "states", MappingProxyType(dict(self.states)))


def encode(value: Value, encoding: Encoding) -> Value:
    """A float32 value in `encoding`; a constant's data rounded half to even and saturated."""
    typed = dataclasses.replace(value, dtype=encoding.dtype, quant=encoding.quant)
    if value.data is None:
        return typed
    data = _codes(value.data, encoding).astype(encoding.dtype.numpy)
    return dataclasses.replace(typed, data=data)


def decode(codes: Array, quant: QuantParams) -> Floats:
    """Codes of any shape as the real numbers that they stand for."""
    scales, zero_points = along(quant, codes)
    real: Floats = ((codes.astype(np.float64) - zero_points) * scales).astype(np.float32)
    return real


def round_trip(data: Array, encoding: Encoding) -> Floats:
    """Real numbers rounded and clipped to what `encoding` can say, as real numbers again."""
    return decode(_codes(data, encoding), encoding.quant)


def along(quant: QuantParams, data: Array) -> tuple[Array, Array]:
    """Scales and zero points in a shape that broadcasts over `data`."""
    shape = [1] * data.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    return np.array(quant.scale).reshape(shape), np.array(quant.zero_point).reshape(shape)


def _codes(data: Array, encoding: Encoding) -> Array:
    """Whole numbers in float64."""
    scales, zero_points = along(encoding.quant, data)
    codes: Array = np.rint(data.astype(np.float64) / scales) + zero_points
    return np.clip(codes, *_LIMITS[encoding.dtype])
