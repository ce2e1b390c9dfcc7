"""Convolutions and pools."""

from __future__ import annotations

import numpy as np

from ...errors import ImportModelError
from ...graph import DType, QuantParams, Value
from ...ops import (
    NO_PADDING,
    Activation,
    ConvAttrs,
    NoAttrs,
    Op,
    PoolAttrs,
)
from ...shapes import same_padding
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .bias import bias_of
from .common import Handler, activation, check_steps, is_valid, options

_ACTIVATION_OPS = {Activation.RELU: Op.RELU, Activation.RELU6: Op.RELU6}


def _conv2d(reader: TfliteReader, operator: OperatorRecord) -> None:
    weights = reader.value(reader.operand(operator, 1))
    _convolution(reader, operator, Op.CONV_2D, weights)


def _depthwise(reader: TfliteReader, operator: OperatorRecord) -> None:
    weights = reader.value(reader.operand(operator, 1))
    in_channels = reader.operand(operator, 0).shape[-1]
    out_channels = reader.known(weights).shape[-1]
    if in_channels == out_channels:
        _convolution(reader, operator, Op.DEPTHWISE_CONV_2D, weights)
    elif in_channels == 1:  # every output channel reads the one there is: a plain convolution
        _convolution(reader, operator, Op.CONV_2D, _channels_first(reader, operator, weights))
    else:
        raise reader.unsupported(
            operator, f"it makes {out_channels} channels of {in_channels}, int8.v1 keeps them"
        )


def _channels_first(reader: TfliteReader, operator: OperatorRecord, name: str) -> str:
    """Depthwise weights (1, kh, kw, out) as those of conv2d (out, kh, kw, 1)."""
    value = reader.known(name)
    data = np.ascontiguousarray(reader.constant(operator, 1).transpose(3, 1, 2, 0))
    quant = value.quant
    if quant is not None and quant.axis is not None:
        quant = QuantParams(quant.scale, quant.zero_point, 0)
    return reader.add_value(Value(f"{name}.transposed", data.shape, value.dtype, quant, data))


def _convolution(reader: TfliteReader, operator: OperatorRecord, op: Op, weights: str) -> None:
    reader.constant(operator, 1)
    chosen = options(reader, operator, "DilationHFactor")
    x = reader.value(reader.operand(operator, 0))
    shape, kernel = reader.known(x).shape, reader.known(weights).shape
    if len(shape) != 4 or len(kernel) != 4:
        raise ImportModelError(f"{reader.place(operator)} has operands that are no images")
    window, stride = (kernel[1], kernel[2]), (chosen.StrideH(), chosen.StrideW())
    dilation = (chosen.DilationHFactor(), chosen.DilationWFactor())
    check_steps(reader, operator, *stride, *dilation)
    code = chosen.Padding()
    padding = same_padding((shape[1], shape[2]), window, stride, dilation)
    attrs = ConvAttrs(
        stride,
        NO_PADDING if is_valid(reader, operator, code) else padding,
        dilation,
        activation(reader, operator, chosen.FusedActivationFunction()),
    )
    output = reader.value(reader.output(operator))
    reader.append(op, operator, (x, weights, bias_of(reader, operator, x, weights)), output, attrs)


def _max_pool(reader: TfliteReader, operator: OperatorRecord) -> None:
    _pool(reader, operator, Op.MAX_POOL_2D)


def _average_pool(reader: TfliteReader, operator: OperatorRecord) -> None:
    _pool(reader, operator, Op.AVERAGE_POOL_2D)


def _pool(reader: TfliteReader, operator: OperatorRecord, op: Op) -> None:
    chosen = options(reader, operator, "FilterHeight")
    x = reader.value(reader.operand(operator, 0))
    shape = reader.known(x).shape
    if len(shape) != 4:
        raise ImportModelError(f"{reader.place(operator)} has an input that is no image")
    kernel = (chosen.FilterHeight(), chosen.FilterWidth())
    stride = (chosen.StrideH(), chosen.StrideW())
    check_steps(reader, operator, *kernel, *stride)
    padding = same_padding((shape[1], shape[2]), kernel, stride)
    if is_valid(reader, operator, chosen.Padding()):
        padding = NO_PADDING
    attrs = PoolAttrs(kernel, stride, padding)
    clamp = activation(reader, operator, chosen.FusedActivationFunction())
    output = reader.value(reader.output(operator))
    if clamp is Activation.NONE or _clamps_nothing(reader.known(output), clamp):
        reader.append(op, operator, (x,), output, attrs)
        return
    if reader.known(output).dtype is DType.INT8:
        raise reader.unsupported(operator, f"a quantized pool with a fused {clamp}")
    value = reader.known(output)
    pooled = reader.add_value(Value(f"{output}.pooled", value.shape, value.dtype))
    reader.append(op, operator, (x,), pooled, attrs)
    reader.append(_ACTIVATION_OPS[clamp], operator, (pooled,), output, NoAttrs())


def _clamps_nothing(output: Value, activation: Activation) -> bool:
    """Whether the range of int8 clamps as the activation would."""
    quant = output.quant
    if quant is None or quant.zero_point[0] != -128:
        return False
    return activation is Activation.RELU or quant.scale[0] * 255 <= 6.0


WINDOWS: dict[str, Handler] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "MAX_POOL_2D": _max_pool,
    "AVERAGE_POOL_2D": _average_pool,
}
