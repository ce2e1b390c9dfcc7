"""Convolutions, pools and resizes."""

from __future__ import annotations

import numpy as np

from ...errors import ImportModelError
from ...graph import QuantParams, Value
from ...ops import (
    NO_PADDING,
    ConvAttrs,
    Op,
    Pair,
    PoolAttrs,
    ResizeAttrs,
    TransposeConvAttrs,
)
from ...shapes import Shape, same_padding
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .bias import bias_of
from .common import Handler, activation, check_steps, integers, is_valid, options
from .nodes import append_clamped


def _conv2d(reader: TfliteReader, operator: OperatorRecord) -> None:
    weights = reader.value(reader.operand(operator, 1))
    _convolution(reader, operator, Op.CONV_2D, weights)


def _depthwise(reader: TfliteReader, operator: OperatorRecord) -> None:
    weights = reader.value(reader.operand(operator, 1))
    in_channels = reader.operand(operator, 0).shape[-1]
    out_channels = reader.known(weights).shape[-1]
    if in_channels == 1 < out_channels:  # all read the one there is: a plain convolution
        _convolution(reader, operator, Op.CONV_2D, _channels_first(reader, operator, weights))
    else:
        _convolution(reader, operator, Op.DEPTHWISE_CONV_2D, weights)


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


def _transpose_conv(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Its operands are output shape, weights, input and bias."""
    chosen = options(reader, operator, "StrideH")
    weights, x = (reader.value(reader.operand(operator, position)) for position in (1, 2))
    reader.constant(operator, 1)
    output = reader.value(reader.output(operator))
    shapes = [reader.known(name).shape for name in (x, weights, output)]
    if any(len(shape) != 4 for shape in shapes):
        raise ImportModelError(f"{reader.place(operator)} has operands that are no images")
    stride = (chosen.StrideH(), chosen.StrideW())
    check_steps(reader, operator, *stride)
    before = (0, 0)
    if not is_valid(reader, operator, chosen.Padding()):
        rows, columns = same_padding(_image_size(shapes[2]), _image_size(shapes[1]), stride)
        before = (rows[0], columns[0])
    cut = tuple(
        (before[axis], whole - before[axis] - shapes[2][axis + 1])
        for axis, whole in enumerate(_whole_size(shapes[0], shapes[1], stride))
    )
    if min(cut[0] + cut[1]) < 0:
        raise reader.unsupported(operator, "its output is larger than what its windows reach")
    code = getattr(chosen, "FusedActivationFunction", int)()  # options of old writers lack it
    attrs = TransposeConvAttrs(stride, (cut[0], cut[1]), activation(reader, operator, code))
    bias = bias_of(reader, operator, x, weights, position=3)
    reader.append(Op.TRANSPOSE_CONV, operator, (x, weights, bias), output, attrs)


def _image_size(shape: Shape) -> Pair:
    return shape[1], shape[2]


def _whole_size(x: Shape, weights: Shape, stride: Pair) -> Pair:
    """Rows and columns of a transposed convolution before anything is cut off."""
    return (x[1] - 1) * stride[0] + weights[1], (x[2] - 1) * stride[1] + weights[2]


def _resize_nearest(reader: TfliteReader, operator: OperatorRecord) -> None:
    _resize(reader, operator, Op.RESIZE_NEAREST_NEIGHBOR)


def _resize_bilinear(reader: TfliteReader, operator: OperatorRecord) -> None:
    _resize(reader, operator, Op.RESIZE_BILINEAR)


def _resize(reader: TfliteReader, operator: OperatorRecord, op: Op) -> None:
    chosen = options(reader, operator, "HalfPixelCenters")
    x = reader.value(reader.operand(operator, 0))
    size = integers(reader, operator, 1)
    if len(size) != 2:
        raise ImportModelError(f"{reader.place(operator)} resizes to {size}")
    attrs = ResizeAttrs(
        (size[0], size[1]), bool(chosen.AlignCorners()), bool(chosen.HalfPixelCenters())
    )
    reader.append(op, operator, (x,), reader.value(reader.output(operator)), attrs)


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
    clamp = activation(reader, operator, chosen.FusedActivationFunction())
    append_clamped(reader, operator, op, (x,), PoolAttrs(kernel, stride, padding), clamp)


WINDOWS: dict[str, Handler] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
    "RESIZE_BILINEAR": _resize_bilinear,
    "MAX_POOL_2D": _max_pool,
    "AVERAGE_POOL_2D": _average_pool,
}
