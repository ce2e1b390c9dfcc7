"""`QuantizationPlan`: every value's encoding, and the mechanical step that carries a plan out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .grammar import check
from .graph import DType, Graph, QuantParams, Value

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
    quant = encoding.quant
    along = [1] * value.data.ndim
    if quant.axis is not None:
        along[quant.axis] = -1
    limit = _LIMITS[encoding.dtype]
    codes = np.rint(value.data.astype(np.float64) / np.array(quant.scale).reshape(along))
    data = np.clip(codes, -limit, limit).astype(encoding.dtype.numpy)
    return dataclasses.replace(typed, data=data)
