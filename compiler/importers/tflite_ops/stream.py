"""SVDF, which remembers frames from one invocation to the next."""

from __future__ import annotations

import numpy as np

from ...errors import ImportModelError
from ...graph import DType, QuantParams, Value
from ...ops import Activation, Op, SvdfAttrs
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler, activation, options

_WEIGHTS, _IN_TIME, _BIAS, _STATE = 1, 2, 3, 4
_STATES = {DType.FLOAT32: "FLOAT32", DType.INT8: "INT16"}


def _svdf(reader: TfliteReader, operator: OperatorRecord) -> None:
    chosen = options(reader, operator, "Rank")
    x = reader.value(reader.operand(operator, 0))
    dtype = reader.known(x).dtype
    if dtype not in _STATES:
        raise reader.unsupported(operator, f"it reads {dtype}, int8 and float32 are known")
    weights, in_time = (
        reader.value(reader.operand(operator, position)) for position in (_WEIGHTS, _IN_TIME)
    )
    if (
        reader.constant(operator, _WEIGHTS).ndim != 2
        or reader.constant(operator, _IN_TIME).ndim != 2
    ):
        raise ImportModelError(f"{reader.place(operator)} has weights that are no matrices")
    scale = _state_scale(reader, operator, _STATES[dtype])
    clamp = activation(reader, operator, chosen.FusedActivationFunction())
    if dtype is DType.INT8:  # its kernel saturates at the output's ends, and looks at nothing else
        clamp = Activation.NONE
    attrs = SvdfAttrs(chosen.Rank(), clamp, scale)
    operands = (x, weights, in_time, _bias(reader, operator, in_time, scale))
    output = reader.value(reader.output(operator))
    reader.append(Op.SVDF, operator, operands, output, attrs)


def _state_scale(reader: TfliteReader, operator: OperatorRecord, dtype: str) -> float:
    """One step of what is remembered; 1 for floats."""
    state = reader.operand(operator, _STATE)
    filters, memory = (
        reader.constant(operator, place).shape[place - 1] for place in (_WEIGHTS, _IN_TIME)
    )
    if state.data is not None or state.shape != (1, filters * memory):
        raise ImportModelError(f"{reader.place(operator)} has a state of shape {state.shape}")
    if state.dtype != dtype:
        raise reader.unsupported(
            operator, f"its state is {state.dtype.lower()}, {dtype.lower()} is known"
        )
    if dtype == "FLOAT32":
        return 1.0
    if len(state.scales) != 1 or any(state.zero_points):
        raise ImportModelError(f"{reader.place(operator)} has a state that is not symmetric")
    return state.scales[0]


def _bias(reader: TfliteReader, operator: OperatorRecord, in_time: str, scale: float) -> str:
    """The bias, or zeros where the operator has none."""
    if reader.has_operand(operator, _BIAS):
        reader.constant(operator, _BIAS)
        return reader.value(reader.operand(operator, _BIAS))
    output, weights = reader.output(operator), reader.known(in_time)
    floats = weights.quant is None
    data = np.zeros(output.shape[-1], np.float32 if floats else np.int32)
    quant = None if weights.quant is None else _product(scale, weights.quant)
    return reader.add_value(
        Value(f"{in_time}.bias", data.shape, DType(data.dtype.name), quant, data)
    )


def _product(scale: float, weights: QuantParams) -> QuantParams:
    return QuantParams((float(np.float32(scale) * np.float32(weights.scale[0])),), (0,))


STREAM: dict[str, Handler] = {"SVDF": _svdf}
