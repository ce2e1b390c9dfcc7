"""Operators that move elements."""

from __future__ import annotations

from ...errors import ImportModelError
from ...ops import (
    NoAttrs,
    Op,
    image_pad,
)
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler


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


MOVES: dict[str, Handler] = {
    "PAD": _pad,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
}
