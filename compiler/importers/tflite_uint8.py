"""Legacy uint8 files of TensorFlow Lite, said in int8.

An activation or a constant operand keeps its meaning: codes and zero point go down by 128. Weights
of uint8 have a zero point of their own, `int8.v1` has symmetric ones: they are dequantized and
quantized again, symmetric, with one scale for each output channel, and the bias follows their
scales. Where the zero point is 128 already, weights too are only moved. A file whose weights had to
be quantized again is converted, not kept; the note that comes back says so.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from ..errors import ImportModelError
from ..graph import Array
from .tflite_file import FileRecord, OperatorRecord, TensorRecord

_MIDDLE = 128
_LIMIT = 127
_BIAS_LIMIT = 2.0**30  # a sum of products has room beside it in 32 bits
_SMALLEST_SCALE = 1e-8

# Of operators with weights: the places of x, weights and bias, and the axis of output channels.
_WEIGHTED = {
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}

Float64 = npt.NDArray[np.float64]


def as_int8(record: FileRecord, name: str) -> tuple[FileRecord, tuple[str, ...]]:
    """The records of a uint8 file as those of an int8 file, and notes; others as they are.

    Raises:
        ImportModelError: uint8 weights have no scale, or several layers share them.
    """
    if all(tensor.dtype != "UINT8" for tensor in record.tensors):
        return record, ()
    tensors = list(record.tensors)
    converted: dict[int, str] = {}
    for operator in record.operators:
        places = _WEIGHTED.get(operator.op)
        if places is not None:
            _convert(tensors, operator, places, converted, name)
    moved = tuple(_moved(tensor) for tensor in tensors)
    notes: tuple[str, ...] = ()
    if converted:
        notes = (
            f"import: '{name}' is a uint8 model; the weights of {len(converted)} layers were "
            "quantized again, symmetric with a scale for each output channel, so answers can "
            "differ by a few steps from those of the file",
        )
    return dataclasses.replace(record, tensors=moved), notes


def _moved(tensor: TensorRecord) -> TensorRecord:
    """A uint8 tensor with a scale in int8, of the same meaning."""
    if tensor.dtype != "UINT8" or not tensor.scales:
        return tensor
    data = tensor.data
    return dataclasses.replace(
        tensor,
        dtype="INT8",
        zero_points=tuple(zero - _MIDDLE for zero in tensor.zero_points),
        data=None if data is None else (data.astype(np.int16) - _MIDDLE).astype(np.int8),
    )


def _convert(
    tensors: list[TensorRecord],
    operator: OperatorRecord,
    places: tuple[int, int, int, int],
    converted: dict[int, str],
    name: str,
) -> None:
    """One layer's weights and bias in place; nothing where the weights need only be moved."""
    at = [operator.inputs[place] if place < len(operator.inputs) else -1 for place in places[:3]]
    if min(at[:2]) < 0:
        return  # the operator's own handler names what is missing
    x, weights = tensors[at[0]], tensors[at[1]]
    if at[1] in converted:
        raise ImportModelError(
            f"{name}: '{converted[at[1]]}' and operator {operator.index} ({operator.op}) share "
            "uint8 weights; convert the model again with int8 quantization"
        )
    if weights.dtype != "UINT8" or weights.data is None or weights.zero_points == (_MIDDLE,):
        return
    if len(weights.scales) != 1 or len(x.scales) != 1:
        raise ImportModelError(
            f"{name}: operator {operator.index} ({operator.op}) has uint8 weights without usable "
            "quantization parameters; convert again with full int8 quantization"
        )
    bias = tensors[at[2]] if at[2] >= 0 else None
    real = (weights.data.astype(np.float64) - weights.zero_points[0]) * weights.scales[0]
    offsets = None if bias is None else _real_bias(bias, x, weights)
    scales = _channel_scales(real, offsets, places[3], x.scales[0])
    tensors[at[1]] = _symmetric(weights, real, scales, places[3])
    if bias is not None and offsets is not None:
        products = (np.float32(x.scales[0]) * scales.astype(np.float32)).astype(np.float64)
        tensors[at[2]] = _requantized_bias(bias, offsets, products)
    converted[at[1]] = f"operator {operator.index} ({operator.op})"


def _real_bias(bias: TensorRecord, x: TensorRecord, weights: TensorRecord) -> Float64 | None:
    if bias.data is None or bias.dtype != "INT32":
        return None
    scale = bias.scales[0] if len(bias.scales) == 1 else x.scales[0] * weights.scales[0]
    return bias.data.astype(np.float64) * scale


def _channel_scales(real: Float64, bias: Float64 | None, axis: int, input_scale: float) -> Float64:
    """max|w| / 127, widened where the bias would not fit; in numbers that a float32 holds."""
    others = tuple(index for index in range(real.ndim) if index != axis)
    scales = np.maximum(np.abs(real).max(axis=others) / _LIMIT, _SMALLEST_SCALE)
    if bias is not None and bias.shape == scales.shape:
        scales = np.maximum(scales, np.abs(bias) / (input_scale * _BIAS_LIMIT))
    rounded: Float64 = scales.astype(np.float32).astype(np.float64)
    return rounded


def _symmetric(tensor: TensorRecord, real: Float64, scales: Float64, axis: int) -> TensorRecord:
    along = [1] * real.ndim
    along[axis] = -1
    codes = np.clip(np.rint(real / scales.reshape(along)), -_LIMIT, _LIMIT).astype(np.int8)
    return dataclasses.replace(
        tensor,
        dtype="INT8",
        scales=tuple(map(float, scales)),
        zero_points=(0,) * len(scales),
        axis=axis,
        data=codes,
    )


def _requantized_bias(bias: TensorRecord, real: Array, scales: Float64) -> TensorRecord:
    return dataclasses.replace(
        bias,
        scales=tuple(map(float, scales)),
        zero_points=(0,) * len(scales),
        axis=0,
        data=np.rint(real / scales).astype(np.int32),
    )
