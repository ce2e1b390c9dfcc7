"""Moves of whole blocks, composed: between depth and space, repeated, reversed."""

from __future__ import annotations

from ...errors import ImportModelError
from ...ops import AxisAttrs, NoAttrs, Op, SliceAttrs, TransposeAttrs
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler, axis_of, integers, intermediate, options
from .nodes import append

_MOST_COPIES = 1024


def _depth_to_space(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Channels (row in the block, column in the block, channel) become rows and columns."""
    x, block = _image(reader, operator)
    _, height, width, depth = reader.known(x).shape
    if depth % (block * block):
        raise ImportModelError(f"{reader.place(operator)} cuts {depth} channels into {block}²")
    channels = depth // (block * block)
    split = reader.reshaped(operator, x, (1, height, width, block, block, channels))
    _interleaved(reader, operator, split)


def _space_to_depth(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Rows and columns of each block become channels."""
    x, block = _image(reader, operator)
    _, height, width, channels = reader.known(x).shape
    if height % block or width % block:
        raise ImportModelError(f"{reader.place(operator)} cuts {height}×{width} into {block}²")
    shape = (1, height // block, block, width // block, block, channels)
    _interleaved(reader, operator, reader.reshaped(operator, x, shape))


def _image(reader: TfliteReader, operator: OperatorRecord) -> tuple[str, int]:
    x = reader.value(reader.operand(operator, 0))
    block = options(reader, operator, "BlockSize").BlockSize()
    if len(reader.known(x).shape) != 4 or block < 1:
        raise ImportModelError(f"{reader.place(operator)} has blocks of {block} in no image")
    return x, block


def _interleaved(reader: TfliteReader, operator: OperatorRecord, split: str) -> None:
    """Both ways it is the third and the fourth axis of six that change places."""
    turned = intermediate(
        reader, operator, Op.TRANSPOSE, (split,), TransposeAttrs((0, 1, 3, 2, 4, 5))
    )
    append(reader, operator, Op.RESHAPE, (turned,), NoAttrs())


def _tile(reader: TfliteReader, operator: OperatorRecord) -> None:
    """Copies one after the other along each axis."""
    x = reader.value(reader.operand(operator, 0))
    copies = integers(reader, operator, 1)
    if len(copies) != len(reader.known(x).shape) or not all(
        1 <= count <= _MOST_COPIES for count in copies
    ):
        raise ImportModelError(f"{reader.place(operator)} repeats by {copies}")
    for axis, count in enumerate(copies):
        if count > 1:
            x = intermediate(reader, operator, Op.CONCATENATION, (x,) * count, AxisAttrs(axis))
    append(reader, operator, Op.RESHAPE, (x,), NoAttrs())


def _reverse(reader: TfliteReader, operator: OperatorRecord) -> None:
    """A SLICE from the last element to the first."""
    x = reader.value(reader.operand(operator, 0))
    shape = reader.known(x).shape
    axes = {axis_of(reader, operator, axis, len(shape)) for axis in integers(reader, operator, 1)}
    begin = tuple(size - 1 if axis in axes else 0 for axis, size in enumerate(shape))
    stride = tuple(-1 if axis in axes else 1 for axis in range(len(shape)))
    append(reader, operator, Op.SLICE, (x,), SliceAttrs(begin, shape, stride))


BLOCKS: dict[str, Handler] = {
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_DEPTH": _space_to_depth,
    "TILE": _tile,
    "REVERSE_V2": _reverse,
}
