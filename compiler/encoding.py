"""`QuantizationPlan`: every value's encoding, and the mechanical step that carries a plan out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from .grammar import check
from .graph import Array, DType, Graph, QuantParams, Value

Floats = npt.NDArray[np.float32]

# Codes that constants use; weights are symmetric, biases keep clear of the most negative code.
_LIMITS: Mapping[DType, int] = {DType.INT8: 127, DType.INT32: 2**31 - 1}


@dataclass(frozen=True, slots=True)
class Encoding:
    """The number format of one value."""

    dtype: DType
    quant: QuantParams


@dataclass(frozen=True)
class QuantizationPlan:
    """What `decide` chose, by value name: every activation, weight and bias of one graph."""

    encodings: Mapping[str, Encoding]

    def __post_init__(self) -> None:
        object.__setattr__(self, "encodings", MappingProxyType(dict(self.encodings)))


def apply(graph: Graph, plan: QuantizationPlan) -> Graph:
    """The int8 graph of the same names: constants rounded, activations typed, nothing decided.

    Raises:
        GrammarError: the plan is not one for this graph.
    """
    values = (
        encode(value, plan.encodings[name]) if name in plan.encodings else value
        for name, value in graph.values.items()
    )
    quantized = graph.replace(values=values)
    check(quantized)
    return quantized


def encode(value: Value, encoding: Encoding) -> Value:
    """A float32 value in `encoding`; a constant's data rounded half to even and saturated."""
    typed = dataclasses.replace(value, dtype=encoding.dtype, quant=encoding.quant)
    if value.data is None:
        return typed
    limit = _LIMITS[encoding.dtype]
    codes = np.rint(value.data.astype(np.float64) / _along(encoding.quant, value.data)[0])
    data = np.clip(codes, -limit, limit).astype(encoding.dtype.numpy)
    return dataclasses.replace(typed, data=data)


def decode(codes: Array, quant: QuantParams) -> Floats:
    """Codes of any shape as the real numbers that they stand for."""
    scales, zero_points = _along(quant, codes)
    real: Floats = ((codes.astype(np.float64) - zero_points) * scales).astype(np.float32)
    return real


def round_trip(data: Array, encoding: Encoding) -> Floats:
    """Real numbers rounded and clipped to what `encoding` can say, as real numbers again."""
    scales, zero_points = _along(encoding.quant, data)
    limits = np.iinfo(encoding.dtype.numpy)
    codes = np.rint(data.astype(np.float64) / scales) + zero_points
    return decode(np.clip(codes, limits.min, limits.max), encoding.quant)


def _along(quant: QuantParams, data: Array) -> tuple[Array, Array]:
    """Scales and zero points in a shape that broadcasts over `data`."""
    shape = [1] * data.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    return np.array(quant.scale).reshape(shape), np.array(quant.zero_point).reshape(shape)
