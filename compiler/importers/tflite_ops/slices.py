"""SLICE and STRIDED_SLICE: their masks and counts from the back, as one slice of the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import ImportModelError
from ...ops import NoAttrs, Op, SliceAttrs
from ...shapes import Shape
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler, integers, intermediate, options


@dataclass(frozen=True, slots=True)
class Span:
    """What is taken along one axis."""

    begin: int
    size: int
    stride: int


def _slice(reader: TfliteReader, operator: OperatorRecord) -> None:
    """A size of -1 takes what is left."""
    shape = reader.operand(operator, 0).shape
    begin, size = integers(reader, operator, 1), integers(reader, operator, 2)
    if not len(begin) == len(size) == len(shape):
        raise ImportModelError(f"{reader.place(operator)} cuts {shape} at {begin}")
    spans = [
        Span(start, length - start if count == -1 else count, 1)
        for length, start, count in zip(shape, begin, size, strict=True)
    ]
    _append(reader, operator, spans)


def _strided_slice(reader: TfliteReader, operator: OperatorRecord) -> None:
    _append(reader, operator, list(_spans(reader, operator)))


def _spans(reader: TfliteReader, operator: OperatorRecord) -> Iterator[Span]:
    """One span for each axis of the input; the output's shape says which axes come and go."""
    chosen = options(reader, operator, "BeginMask")
    shape = reader.operand(operator, 0).shape
    rows = [integers(reader, operator, position) for position in (1, 2, 3)]
    if not len(rows[0]) == len(rows[1]) == len(rows[2]) or 0 in rows[2]:
        raise ImportModelError(f"{reader.place(operator)} cuts {shape} at {rows}")
    axis = 0
    added = bin(chosen.NewAxisMask()).count("1")
    for place, (begin, end, stride) in enumerate(zip(*rows, strict=True)):
        bit = 1 << place
        if chosen.EllipsisMask() & bit:
            whole = len(shape) - (len(rows[0]) - 1 - added)
            yield from (Span(0, shape[axis + i], 1) for i in range(whole))
            axis += whole
            continue
        if chosen.NewAxisMask() & bit:
            continue
        if axis == len(shape):
            raise ImportModelError(f"{reader.place(operator)} cuts more axes than {shape} has")
        if chosen.ShrinkAxisMask() & bit:
            yield Span(begin % shape[axis], 1, 1)
        else:
            stop = begin + end if chosen.Offset() else end
            yield _span(
                shape[axis],
                None if chosen.BeginMask() & bit else begin,
                None if chosen.EndMask() & bit else stop,
                stride,
            )
        axis += 1
    yield from (Span(0, size, 1) for size in shape[axis:])


def _span(size: int, begin: int | None, end: int | None, stride: int) -> Span:
    """What Python's slices say, which TensorFlow's follow."""
    start, stop, step = slice(begin, end, stride).indices(size)
    return Span(start, len(range(start, stop, step)), step)


def _append(reader: TfliteReader, operator: OperatorRecord, spans: list[Span]) -> None:
    """A SLICE, and a RESHAPE where axes come or go."""
    x, output = reader.value(reader.operand(operator, 0)), reader.value(reader.output(operator))
    size: Shape = tuple(span.size for span in spans)
    attrs = SliceAttrs(
        tuple(span.begin for span in spans), size, tuple(span.stride for span in spans)
    )
    if reader.known(output).shape == size:
        reader.append(Op.SLICE, operator, (x,), output, attrs)
        return
    taken = intermediate(reader, operator, Op.SLICE, (x,), attrs)
    reader.append(Op.RESHAPE, operator, (taken,), output, NoAttrs())


SLICES: dict[str, Handler] = {
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
}
