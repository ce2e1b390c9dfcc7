"""One handler for each TensorFlow Lite operator that the graph has a word for.

A handler reads an operator's options and operands and appends nodes. What it cannot say in the
graph's words it refuses with UnsupportedOpError; shapes are left to the grammar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import ImportModelError
from ..graph import DType, QuantParams, Value
from ..ops import (
    Activation,
    BinaryAttrs,
    ConvAttrs,
    DenseAttrs,
    NoAttrs,
    Op,
    Padding,
    PoolAttrs,
    ReduceAttrs,
    image_pad,
)
from ..shapes import same_padding
from .tflite import TfliteReader, as_floats
from .tflite_file import OperatorRecord

Handler = Callable[[TfliteReader, OperatorRecord], None]

_NO_PADDING: Padding = ((0, 0), (0, 0))
_ACTIVATIONS = {0: Activation.NONE, 1: Activation.RELU, 3: Activation.RELU6}
_ACTIVATION_OPS = {Activation.RELU: Op.RELU, Activation.RELU6: Op.RELU6}
_SAME, _VALID = 0, 1
_LARGEST_STEP = 1 << 16  # strides, kernels, dilations


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
    options = _options(reader, operator, "DilationHFactor")
    x = reader.value(reader.operand(operator, 0))
    shape, kernel = reader.known(x).shape, reader.known(weights).shape
    if len(shape) != 4 or len(kernel) != 4:
        raise ImportModelError(f"{reader.place(operator)} has operands that are no images")
    window, stride = (kernel[1], kernel[2]), (options.StrideH(), options.StrideW())
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    _check_steps(reader, operator, *stride, *dilation)
    code = options.Padding()
    padding = same_padding((shape[1], shape[2]), window, stride, dilation)
    attrs = ConvAttrs(
        stride,
        _NO_PADDING if _is_valid(reader, operator, code) else padding,
        dilation,
        _activation(reader, operator, options.FusedActivationFunction()),
    )
    output = reader.value(reader.output(operator))
    reader.append(op, operator, (x, weights, _bias(reader, operator, x, weights)), output, attrs)


def _fully_connected(reader: TfliteReader, operator: OperatorRecord) -> None:
    options = _options(reader, operator, "WeightsFormat")
    if options.WeightsFormat() != 0:
        raise reader.unsupported(operator, "its weights are shuffled")
    weights = reader.value(reader.operand(operator, 1))
    reader.constant(operator, 1)
    x = reader.value(reader.operand(operator, 0))
    shape = reader.known(weights).shape
    if len(shape) != 2:
        raise ImportModelError(f"{reader.place(operator)} has weights of shape {shape}")
    flat = reader.reshaped(operator, x, (1, shape[1]))
    output = reader.value(reader.output(operator))
    if reader.known(output).shape != (1, shape[0]):
        raise reader.unsupported(operator, "its output keeps more axes than two")
    activation = _activation(reader, operator, options.FusedActivationFunction())
    operands = (flat, weights, _bias(reader, operator, x, weights))
    reader.append(Op.FULLY_CONNECTED, operator, operands, output, DenseAttrs(activation))


def _bias(reader: TfliteReader, operator: OperatorRecord, x: str, weights: str) -> str:
    """The bias, or zeros where the operator has none; its scale, or the one it must have."""
    kernel = reader.known(weights)
    channels = reader.output(operator).shape[-1]
    if reader.has_operand(operator, 2):
        name = reader.value(reader.operand(operator, 2))
        data = reader.constant(operator, 2)
        if reader.known(name).quant is not None or kernel.dtype is DType.FLOAT32:
            return name
    else:
        data = np.zeros(channels, np.float32 if kernel.dtype is DType.FLOAT32 else np.int32)
    quant = _bias_quant(reader.known(x).quant, kernel.quant)
    dtype = DType(data.dtype.name)
    return reader.add_value(Value(f"{weights}.bias", data.shape, dtype, quant, data))


def _bias_quant(x: QuantParams | None, weights: QuantParams | None) -> QuantParams | None:
    if x is None or weights is None:
        return None
    scales = np.float32(x.scale[0]) * np.asarray(weights.scale, np.float32)
    axis = None if weights.axis is None else 0
    return QuantParams(tuple(map(float, scales)), (0,) * len(scales), axis)


def _add(reader: TfliteReader, operator: OperatorRecord) -> None:
    operands = [reader.operand(operator, position) for position in (0, 1)]
    if any(tensor.data is not None for tensor in operands):
        raise reader.unsupported(operator, "one side is a constant")
    if operands[0].shape != operands[1].shape:
        raise reader.unsupported(operator, "its sides have different shapes")
    options = operator.options
    code = 0 if options is None else options.FusedActivationFunction()
    attrs = BinaryAttrs(_activation(reader, operator, code))
    names = (reader.value(operands[0]), reader.value(operands[1]))
    reader.append(Op.ADD, operator, names, reader.value(reader.output(operator)), attrs)


def _max_pool(reader: TfliteReader, operator: OperatorRecord) -> None:
    _pool(reader, operator, Op.MAX_POOL_2D)


def _average_pool(reader: TfliteReader, operator: OperatorRecord) -> None:
    _pool(reader, operator, Op.AVERAGE_POOL_2D)


def _pool(reader: TfliteReader, operator: OperatorRecord, op: Op) -> None:
    options = _options(reader, operator, "FilterHeight")
    x = reader.value(reader.operand(operator, 0))
    shape = reader.known(x).shape
    if len(shape) != 4:
        raise ImportModelError(f"{reader.place(operator)} has an input that is no image")
    kernel = (options.FilterHeight(), options.FilterWidth())
    stride = (options.StrideH(), options.StrideW())
    _check_steps(reader, operator, *kernel, *stride)
    padding = same_padding((shape[1], shape[2]), kernel, stride)
    if _is_valid(reader, operator, options.Padding()):
        padding = _NO_PADDING
    attrs = PoolAttrs(kernel, stride, padding)
    activation = _activation(reader, operator, options.FusedActivationFunction())
    output = reader.value(reader.output(operator))
    if activation is Activation.NONE or _clamps_nothing(reader.known(output), activation):
        reader.append(op, operator, (x,), output, attrs)
        return
    if reader.known(output).dtype is DType.INT8:
        raise reader.unsupported(operator, f"a quantized pool with a fused {activation}")
    value = reader.known(output)
    pooled = reader.add_value(Value(f"{output}.pooled", value.shape, value.dtype))
    reader.append(op, operator, (x,), pooled, attrs)
    reader.append(_ACTIVATION_OPS[activation], operator, (pooled,), output, NoAttrs())


def _clamps_nothing(output: Value, activation: Activation) -> bool:
    """Whether the range of int8 clamps as the activation would."""
    quant = output.quant
    if quant is None or quant.zero_point[0] != -128:
        return False
    return activation is Activation.RELU or quant.scale[0] * 255 <= 6.0


def _mean(reader: TfliteReader, operator: OperatorRecord) -> None:
    x = reader.value(reader.operand(operator, 0))
    shape = reader.known(x).shape
    axes = sorted({int(axis) % len(shape) for axis in reader.constant(operator, 1).reshape(-1)})
    if len(shape) != 4 or axes != [1, 2]:
        raise reader.unsupported(operator, "only the mean over height and width is")
    output = reader.value(reader.output(operator))
    value = reader.known(output)
    if len(value.shape) == 2:
        reader.append(Op.MEAN, operator, (x,), output, ReduceAttrs((1, 2)))
        return
    flat = (1, shape[3])
    mean = reader.add_value(Value(f"{output}.mean", flat, value.dtype, value.quant))
    reader.append(Op.MEAN, operator, (x,), mean, ReduceAttrs((1, 2)))
    reader.append(Op.RESHAPE, operator, (mean,), output, NoAttrs())


def _pad(reader: TfliteReader, operator: OperatorRecord) -> None:
    amounts = reader.constant(operator, 1).tolist()
    if len(amounts) != 4 or any(amounts[0]) or any(amounts[3]):
        raise reader.unsupported(operator, "only padding of height and width is")
    top, bottom, left, right = (int(n) for n in (*amounts[1], *amounts[2]))
    if min(top, bottom, left, right) < 0:
        raise ImportModelError(f"{reader.place(operator)} pads by a negative amount")
    x = reader.value(reader.operand(operator, 0))
    output = reader.value(reader.output(operator))
    reader.append(Op.PAD, operator, (x,), output, image_pad(((top, bottom), (left, right))))


def _reshape(reader: TfliteReader, operator: OperatorRecord) -> None:
    x = reader.value(reader.operand(operator, 0))
    reader.append(Op.RESHAPE, operator, (x,), reader.value(reader.output(operator)), NoAttrs())


def _softmax(reader: TfliteReader, operator: OperatorRecord) -> None:
    options = _options(reader, operator, "Beta")
    if options.Beta() != 1.0:
        raise reader.unsupported(operator, f"its beta is {options.Beta():g}, not 1")
    x = reader.value(reader.operand(operator, 0))
    reader.append(Op.SOFTMAX, operator, (x,), reader.value(reader.output(operator)), NoAttrs())


def _relu(reader: TfliteReader, operator: OperatorRecord) -> None:
    _activate(reader, operator, Op.RELU)


def _relu6(reader: TfliteReader, operator: OperatorRecord) -> None:
    _activate(reader, operator, Op.RELU6)


def _activate(reader: TfliteReader, operator: OperatorRecord, op: Op) -> None:
    x = reader.value(reader.operand(operator, 0))
    if reader.known(x).dtype is not DType.FLOAT32:
        raise reader.unsupported(operator, "a quantized activation that no operator carries")
    reader.append(op, operator, (x,), reader.value(reader.output(operator)), NoAttrs())


def _dequantize(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Weights kept in float16 or int8: a constant of the graph."""
    tensor = reader.operand(operator, 0)
    reader.constant(operator, 0)
    data = as_floats(tensor)
    output = reader.output(operator)
    if data is None or output.elements != tensor.elements:
        raise reader.unsupported(operator, f"it makes floats of {tensor.dtype.lower()} data")
    reader.define(output, data)


def _options(reader: TfliteReader, operator: OperatorRecord, method: str) -> Any:
    """The options, which must be of the operator's own kind: that kind has `method`."""
    if not hasattr(operator.options, method):
        raise ImportModelError(f"{reader.place(operator)} has no options; the file is damaged")
    return operator.options


def _activation(reader: TfliteReader, operator: OperatorRecord, code: int) -> Activation:
    if code not in _ACTIVATIONS:
        raise reader.unsupported(operator, f"the fused activation of code {code}")
    return _ACTIVATIONS[code]


def _is_valid(reader: TfliteReader, operator: OperatorRecord, code: int) -> bool:
    if code not in (_SAME, _VALID):
        raise ImportModelError(f"{reader.place(operator)} has padding of unknown kind {code}")
    return code == _VALID


def _check_steps(reader: TfliteReader, operator: OperatorRecord, *steps: int) -> None:
    if not all(1 <= step <= _LARGEST_STEP for step in steps):
        raise ImportModelError(
            f"{reader.place(operator)} has a stride, kernel or dilation out of range: {steps}"
        )


HANDLERS: Mapping[str, Handler] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _add,
    "MAX_POOL_2D": _max_pool,
    "AVERAGE_POOL_2D": _average_pool,
    "MEAN": _mean,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "SOFTMAX": _softmax,
    "RELU": _relu,
    "RELU6": _relu6,
    "DEQUANTIZE": _dequantize,
}
