"""Operators that move elements; what the graph has no word for is composed of what it has."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...errors import ImportModelError
from ...graph import DType, Value
from ...ops import Activation, AxisAttrs, NoAttrs, Op, PadAttrs, Pair, SliceAttrs, TransposeAttrs
from ...shapes import Shape
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord, TensorRecord
from .common import Handler, activation, axis_of, integers, intermediate, options
from .nodes import append


def _amounts(reader: TfliteReader, operator: OperatorRecord) -> tuple[Pair, ...]:
    """(before, after) of every axis."""
    numbers = integers(reader, operator, 1)
    if len(numbers) != 2 * len(reader.operand(operator, 0).shape):
        raise ImportModelError(f"{reader.place(operator)} pads by {numbers}")
    if min(numbers) < 0:
        raise ImportModelError(f"{reader.place(operator)} pads by a negative amount")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _pad(reader: TfliteReader, operator: OperatorRecord) -> None:
    _append_pad(reader, operator, 0.0)


def _pad_with(reader: TfliteReader, operator: OperatorRecord) -> None:
    """PADV2: its fill is encoded as the input is."""
    fill = float(reader.constant(operator, 2).reshape(-1)[0])
    quant = reader.known(reader.value(reader.operand(operator, 0))).quant
    if quant is not None:
        fill = (fill - quant.zero_point[0]) * quant.scale[0]
    if np.isnan(fill):
        raise ImportModelError(f"{reader.place(operator)} pads with what is no number")
    # Writers pad max pools with -∞: the lowest number there is does the same.
    limits = np.finfo(np.float32)
    _append_pad(reader, operator, float(np.clip(fill, limits.min, limits.max)))


def _append_pad(reader: TfliteReader, operator: OperatorRecord, fill: float) -> None:
    attrs = PadAttrs(_amounts(reader, operator), fill)
    x, output = reader.value(reader.operand(operator, 0)), reader.value(reader.output(operator))
    reader.append(Op.PAD, operator, (x,), output, attrs)


def _mirror_pad(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Along each padded axis: what lies at the border reversed, the input, and so again."""
    repeats_border = options(reader, operator, "Mode").Mode()
    x = reader.value(reader.operand(operator, 0))
    for axis, (before, after) in enumerate(_amounts(reader, operator)):
        size = reader.known(x).shape[axis]
        if max(before, after) > size - (1 - repeats_border):
            raise ImportModelError(f"{reader.place(operator)} mirrors more than there is")
        first = before - repeats_border
        last = size - 2 + repeats_border
        pieces = [
            _taken(reader, operator, x, axis, first, before, -1) if before else "",
            x,
            _taken(reader, operator, x, axis, last, after, -1) if after else "",
        ]
        there = tuple(piece for piece in pieces if piece)
        if len(there) > 1:
            x = intermediate(reader, operator, Op.CONCATENATION, there, AxisAttrs(axis))
    _end(reader, operator, x, reader.output(operator))


def _taken(
    reader: TfliteReader,
    operator: OperatorRecord,
    x: str,
    axis: int,
    begin: int,
    size: int,
    stride: int = 1,
) -> str:
    """A SLICE along one axis."""
    attrs = _along(reader.known(x).shape, axis, begin, size, stride)
    return intermediate(reader, operator, Op.SLICE, (x,), attrs)


def _along(shape: Shape, axis: int, begin: int, size: int, stride: int = 1) -> SliceAttrs:
    def at(position: int, here: int, elsewhere: int) -> int:
        return here if position == axis else elsewhere

    rank = range(len(shape))
    return SliceAttrs(
        tuple(at(i, begin, 0) for i in rank),
        tuple(at(i, size, shape[i]) for i in rank),
        tuple(at(i, stride, 1) for i in rank),
    )


def _end(reader: TfliteReader, operator: OperatorRecord, x: str, output: TensorRecord) -> None:
    """`x` as the operator's output: a RESHAPE, if only to its own shape."""
    reader.append(Op.RESHAPE, operator, (x,), reader.value(output), NoAttrs())


def _reshape(reader: TfliteReader, operator: OperatorRecord) -> None:
    _end(reader, operator, reader.value(reader.operand(operator, 0)), reader.output(operator))


def _transpose(reader: TfliteReader, operator: OperatorRecord) -> None:
    x, output = reader.value(reader.operand(operator, 0)), reader.value(reader.output(operator))
    perm, shape = list(integers(reader, operator, 1)), reader.known(x).shape
    if sorted(perm) != list(range(len(shape))):
        raise ImportModelError(f"{reader.place(operator)} orders {len(shape)} axes by {perm}")
    if shape[perm[0]] == 1:  # axes of one element are alike: the first one stays
        swap = {0: perm[0], perm[0]: 0}
        perm = [swap.get(axis, axis) for axis in perm]
    reader.append(Op.TRANSPOSE, operator, (x,), output, TransposeAttrs(tuple(perm)))


def _concatenation(reader: TfliteReader, operator: OperatorRecord) -> None:
    chosen = options(reader, operator, "Axis")
    names = tuple(reader.value(reader.operand(operator, i)) for i in range(len(operator.inputs)))
    if activation(reader, operator, chosen.FusedActivationFunction()) is not Activation.NONE:
        raise reader.unsupported(operator, "LiteRT fuses no activation into it")
    axis = axis_of(reader, operator, chosen.Axis(), len(reader.output(operator).shape))
    append(reader, operator, Op.CONCATENATION, names, AxisAttrs(axis))


def _pack(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Inputs of one shape along a new axis."""
    output = reader.output(operator)
    axis = axis_of(
        reader, operator, options(reader, operator, "ValuesCount").Axis(), len(output.shape)
    )
    single = (*output.shape[:axis], 1, *output.shape[axis + 1 :])
    names = tuple(
        reader.reshaped(operator, reader.value(reader.operand(operator, i)), single)
        for i in range(len(operator.inputs))
    )
    reader.append(Op.CONCATENATION, operator, names, reader.value(output), AxisAttrs(axis))


def _split(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Its operands are axis and input; all parts are of one size."""
    outputs, shape = reader.outputs(operator), reader.operand(operator, 1).shape
    axis = axis_of(reader, operator, integers(reader, operator, 0)[0], len(shape))
    if not outputs or shape[axis] % len(outputs):
        raise ImportModelError(f"{reader.place(operator)} splits {shape} into {len(outputs)}")
    _split_into(reader, operator, 1, axis, [shape[axis] // len(outputs)] * len(outputs))


def _split_v(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Its operands are input, sizes and axis; one size may be -1: what is left."""
    shape = reader.operand(operator, 0).shape
    axis = axis_of(reader, operator, integers(reader, operator, 2)[0], len(shape))
    sizes = list(integers(reader, operator, 1))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = shape[axis] - sum(sizes) - 1
    if len(sizes) != len(operator.outputs) or sum(sizes) != shape[axis]:
        raise ImportModelError(f"{reader.place(operator)} splits {shape} into {sizes}")
    _split_into(reader, operator, 0, axis, sizes)


def _split_into(
    reader: TfliteReader, operator: OperatorRecord, position: int, axis: int, sizes: Iterable[int]
) -> None:
    x, begin = reader.value(reader.operand(operator, position)), 0
    for tensor, size in zip(reader.outputs(operator), sizes, strict=True):
        attrs = _along(reader.known(x).shape, axis, begin, size)
        reader.append(Op.SLICE, operator, (x,), reader.value(tensor), attrs)
        begin += size


def _unpack(reader: TfliteReader, operator: OperatorRecord) -> None:
    """One output for each place along an axis, which they lose."""
    x = reader.value(reader.operand(operator, 0))
    shape = reader.known(x).shape
    axis = axis_of(reader, operator, options(reader, operator, "Num").Axis(), len(shape))
    if len(operator.outputs) != shape[axis]:
        raise ImportModelError(f"{reader.place(operator)} unpacks {shape} along {axis}")
    for place, tensor in enumerate(reader.outputs(operator)):
        _end(reader, operator, _taken(reader, operator, x, axis, place, 1), tensor)


def _gather(reader: TfliteReader, operator: OperatorRecord) -> None:
    chosen = options(reader, operator, "BatchDims")
    if chosen.BatchDims() != 0:
        raise reader.unsupported(operator, "each sample has its own indices")
    x = reader.value(reader.operand(operator, 0))
    axis = axis_of(reader, operator, chosen.Axis(), len(reader.known(x).shape))
    data = np.asarray(reader.constant(operator, 1), np.int32)
    if data.size and not 0 <= data.min() <= data.max() < reader.known(x).shape[axis]:
        raise ImportModelError(f"{reader.place(operator)} has an index out of range")
    output = reader.value(reader.output(operator))
    value = Value(f"{output}.indices", data.shape, DType.INT32, data=data)
    operands = (x, reader.add_value(value))
    reader.append(Op.GATHER, operator, operands, output, AxisAttrs(axis))


MOVES: dict[str, Handler] = {
    "PAD": _pad,
    "PADV2": _pad_with,
    "MIRROR_PAD": _mirror_pad,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "UNPACK": _unpack,
    "GATHER": _gather,
}
