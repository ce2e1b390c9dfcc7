"""LSTM of int8 with a cell of int16, kept as one operator: its numbers are the file's."""

from __future__ import annotations

from ...errors import ImportModelError
from ...graph import DType
from ...ops import LstmAttrs, Op
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord, TensorRecord
from .common import options

_GATES = 4
_WEIGHTS = (*range(1, 9), *range(12, 16))  # of the input, of the state, biases
_PEEPHOLES, _PROJECTION = (9, 10, 11), (16, 17)
_HIDDEN, _CELL = 18, 19
_TANH = 4
_SHOWN = 4  # of the intermediates: what the output gate lets through


def integer_lstm(reader: TfliteReader, operator: OperatorRecord, x: str) -> None:
    """Append the node. Forms beyond four gates, a cell and a state are refused by name.

    Raises:
        ImportModelError: an operand is missing or has another format than the kernel takes.
        UnsupportedOpError: a form that `int8.v1` has no word for.
    """
    chosen = options(reader, operator, "CellClip")
    _check_form(reader, operator, x, chosen.FusedActivationFunction())
    state, cell = (reader.operand(operator, position) for position in (_HIDDEN, _CELL))
    output = reader.output(operator)
    _check_states(reader, operator, state, cell)
    if (output.scales, output.zero_points) != (state.scales, state.zero_points):
        raise reader.unsupported(operator, "in int8 its output and its state differ in scale")
    operands = [reader.value(reader.operand(operator, position)) for position in _WEIGHTS]
    for position in _WEIGHTS:
        reader.constant(operator, position)
    shown = _shown(reader, operator)
    clip = float(chosen.CellClip())
    attrs = LstmAttrs(cell.scales[0], shown.scales[0], int(shown.zero_points[0]), clip)
    name = reader.value(output)
    reader.append(Op.UNIDIRECTIONAL_SEQUENCE_LSTM, operator, (x, *operands), name, attrs)


def _check_form(reader: TfliteReader, operator: OperatorRecord, x: str, activation: int) -> None:
    if reader.known(x).dtype is not DType.INT8:
        raise reader.unsupported(operator, "an LSTM of int16")
    if activation != _TANH:
        raise reader.unsupported(operator, f"in int8 the activation of code {activation}, not tanh")
    forms = {"it looks at its cell through peepholes": _PEEPHOLES, "it projects": _PROJECTION}
    for form, positions in forms.items():
        if any(reader.has_operand(operator, position) for position in positions):
            raise reader.unsupported(operator, f"in int8 {form}")
    if not reader.has_operand(operator, _WEIGHTS[0]):
        raise reader.unsupported(operator, "in int8 its input gate is coupled to the forget gate")


def _check_states(
    reader: TfliteReader, operator: OperatorRecord, state: TensorRecord, cell: TensorRecord
) -> None:
    units = reader.output(operator).shape[-1]
    for tensor, dtype in ((state, "INT8"), (cell, "INT16")):
        sound = tensor.data is None and tensor.shape == (1, units) and len(tensor.scales) == 1
        if not sound or tensor.dtype != dtype:
            raise ImportModelError(
                f"{reader.place(operator)} has a state '{tensor.name}' that is no {dtype.lower()} "
                f"of (1, {units}) with one scale"
            )
    if any(cell.zero_points):
        raise ImportModelError(f"{reader.place(operator)} has a cell that is not symmetric")


def _shown(reader: TfliteReader, operator: OperatorRecord) -> TensorRecord:
    """The intermediate whose encoding the output gate rounds with."""
    if len(operator.intermediates) <= _SHOWN:
        raise ImportModelError(
            f"{reader.place(operator)} has {len(operator.intermediates)} intermediates, not 5"
        )
    shown = reader.tensor(operator.intermediates[_SHOWN])
    if len(shown.scales) != 1 or len(shown.zero_points) != 1:
        raise ImportModelError(
            f"{reader.place(operator)} has an intermediate '{shown.name}' without one scale"
        )
    return shown
