"""Operators on one int8 tensor that LiteRT reads from a table of 256 bytes.

Its `LUTPopulate` (internal/common.h) works in float32: the code's real number, the function, times
the reciprocal of the output's scale, rounded half away from zero. The functions are those of the C
library, which are correctly rounded but for rare last bits; here they are computed in double
precision and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Graph, Node, QuantParams
from ..ops import Attrs, GeluAttrs, Op
from .codes import Codes
from .requantize import code_range

Floats = npt.NDArray[np.float32]
Function = Callable[[Floats], Floats]


def table_of(op: Op, attrs: Attrs, x: QuantParams, output: QuantParams) -> Codes:
    """The output's 256 codes for the inputs -128 to 127."""
    low, high = code_range(DType.INT8)
    codes = np.arange(low, high + 1, dtype=np.float32)
    real = np.float32(x.scale[0]) * (codes - np.float32(x.zero_point[0]))
    inverse = np.float32(1.0) / np.float32(output.scale[0])
    with np.errstate(over="ignore"):
        rescaled = round_away(function_of(op, attrs)(real) * inverse)
    shifted = rescaled + np.float32(output.zero_point[0])
    entries: Codes = np.clip(shifted, low, high).astype(np.int8)
    return entries


def round_away(values: Array) -> Array:
    """Half away from zero; infinities stay."""
    whole = np.trunc(values)
    with np.errstate(invalid="ignore"):
        away = np.abs(values - whole) >= 0.5
    rounded: Array = whole + np.where(away, np.sign(values), whole.dtype.type(0))
    return rounded


def function_of(op: Op, attrs: Attrs) -> Function:
    """What the operator's table holds, float32 to float32."""
    if isinstance(attrs, GeluAttrs):
        return _gelu_tanh if attrs.approximate else _gelu
    return _FUNCTIONS[op]


def exp(x: Floats) -> Floats:
    """e^x, correctly rounded; infinite above 88.7."""
    with np.errstate(over="ignore"):
        return np.exp(x.astype(np.float64)).astype(np.float32)


def _logistic(x: Floats) -> Floats:
    one = np.float32(1.0)
    return one / (one + exp(-x))


def _tanh(x: Floats) -> Floats:
    return np.tanh(x.astype(np.float64)).astype(np.float32)


def _elu(x: Floats) -> Floats:
    return np.where(x < 0, np.expm1(x.astype(np.float64)).astype(np.float32), x)


def _gelu(x: Floats) -> Floats:
    """½ · x · erfc(-x / √2): exact also where x is far below zero."""
    inner = x * np.float32(-math.sqrt(0.5))
    erfc: Floats = np.array([math.erfc(float(value)) for value in inner], np.float32)
    return np.float32(0.5) * x * erfc


def _gelu_tanh(x: Floats) -> Floats:
    inner = x + np.float32(0.044715) * x * x * x
    return np.float32(0.5) * x * (np.float32(1.0) + _tanh(np.float32(_SQRT_2_OVER_PI) * inner))


_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
_FUNCTIONS: dict[Op, Function] = {
    Op.ELU: _elu,
    Op.LOGISTIC: _logistic,
    Op.TANH: _tanh,
    Op.EXP: exp,
}


def _look_up(graph: Graph, node: Node, x: Codes) -> Codes:
    quant, output = (graph.values[name].quant for name in (node.inputs[0], node.output))
    assert quant is not None
    assert output is not None
    entries: Array = table_of(node.op, node.attrs, quant, output)
    return entries[x.astype(np.int64) + 128]


TABLES: dict[Op, Callable[..., Codes]] = dict.fromkeys((*_FUNCTIONS, Op.GELU), _look_up)
"""int8."""
