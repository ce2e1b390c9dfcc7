"""What the handlers share: options, fused activations, paddings and steps, all checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import GrammarError, ImportModelError
from ...graph import Value
from ...ops import Activation, Attrs, Op
from ...shapes import output_shape
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord

Handler = Callable[[TfliteReader, OperatorRecord], None]

_ACTIVATIONS = {0: Activation.NONE, 1: Activation.RELU, 3: Activation.RELU6}
_SAME, _VALID = 0, 1
_LARGEST_STEP = 1 << 16  # strides, kernels, dilations


def options(reader: TfliteReader, operator: OperatorRecord, method: str) -> Any:
    """The options, which must be of the operator's own kind: that kind has `method`."""
    if not hasattr(operator.options, method):
        raise ImportModelError(f"{reader.place(operator)} has no options; the file is damaged")
    return operator.options


def activation(reader: TfliteReader, operator: OperatorRecord, code: int) -> Activation:
    """The fused activation of a code."""
    if code not in _ACTIVATIONS:
        raise reader.unsupported(operator, f"the fused activation of code {code}")
    return _ACTIVATIONS[code]


def is_valid(reader: TfliteReader, operator: OperatorRecord, code: int) -> bool:
    """Whether the code says VALID; else it says SAME."""
    if code not in (_SAME, _VALID):
        raise ImportModelError(f"{reader.place(operator)} has padding of unknown kind {code}")
    return code == _VALID


def check_steps(reader: TfliteReader, operator: OperatorRecord, *steps: int) -> None:
    """Refuse strides, kernels and dilations that no model has."""
    if not all(1 <= step <= _LARGEST_STEP for step in steps):
        raise ImportModelError(
            f"{reader.place(operator)} has a stride, kernel or dilation out of range: {steps}"
        )


def intermediate(
    reader: TfliteReader, operator: OperatorRecord, op: Op, inputs: tuple[str, ...], attrs: Attrs
) -> str:
    """A node that the file does not have; its value, encoded as the first operand's."""
    shapes = tuple(reader.known(name).shape for name in inputs)
    try:
        shape = output_shape(op, attrs, shapes)
    except GrammarError as error:
        raise ImportModelError(f"{reader.place(operator)}: {error}") from error
    first, name = reader.known(inputs[0]), reader.outputs(operator)[0].name
    output = reader.add_value(Value(f"{name}.{op.value}", shape, first.dtype, first.quant))
    reader.append(op, operator, inputs, output, attrs)
    return output


def integers(reader: TfliteReader, operator: OperatorRecord, position: int) -> tuple[int, ...]:
    """The numbers of a constant operand of any shape."""
    return tuple(int(number) for number in reader.constant(operator, position).reshape(-1))


def axis_of(reader: TfliteReader, operator: OperatorRecord, axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    if not -rank <= axis < rank:
        raise ImportModelError(f"{reader.place(operator)} works along axis {axis} of {rank}")
    return axis % rank
