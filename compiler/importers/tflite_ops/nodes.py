"""Nodes between the operands and the output of a file's operator, where the graph allows them.

TensorFlow Lite stores encodings with tensors and lets kernels ignore them; the graph asks that they
hang together as `quant_rules.RULES` says. What a quantized file says otherwise is refused here,
with the operator's place.
"""

from __future__ import annotations

import dataclasses

from ...grammar import QUANTIZED
from ...graph import DType, QuantParams, Value
from ...ops import Activation, Attrs, NoAttrs, Op
from ...quant_rules import FIXED_OUTPUTS, RULES, QuantRule
from ..tflite import TfliteReader
from ..tflite_file import OperatorRecord
from .common import Handler

_CLAMPS = {Activation.RELU: Op.RELU, Activation.RELU6: Op.RELU6}


def unary(op: Op) -> Handler:
    """A handler of an operator that its one operand says everything about."""

    def handler(reader: TfliteReader, operator: OperatorRecord) -> None:
        append(reader, operator, op, (operand(reader, operator, 0),), NoAttrs())

    return handler


def operand(reader: TfliteReader, operator: OperatorRecord, position: int) -> str:
    """The name of the value at a position."""
    return reader.value(reader.operand(operator, position))


def append(
    reader: TfliteReader, operator: OperatorRecord, op: Op, inputs: tuple[str, ...], attrs: Attrs
) -> None:
    """The node that makes the operator's output of `inputs`."""
    output = reader.known(reader.value(reader.output(operator)))
    operands = [reader.known(name) for name in inputs]
    if operands[0].dtype in QUANTIZED:
        _check(reader, operator, op, operands, output)
    reader.append(op, operator, inputs, output.name, attrs)


def append_clamped(
    reader: TfliteReader,
    operator: OperatorRecord,
    op: Op,
    inputs: tuple[str, ...],
    attrs: Attrs,
    clamp: Activation,
) -> None:
    """The same, with the activation that the file fuses into it as a node of its own."""
    output = reader.value(reader.output(operator))
    if clamp is Activation.NONE or _clamps_nothing(reader.known(output).quant, clamp):
        append(reader, operator, op, inputs, attrs)
        return
    whole = between(reader, operator, output, "unclamped")
    reader.append(op, operator, inputs, whole, attrs)
    reader.append(_CLAMPS[clamp], operator, (whole,), output, NoAttrs())


def between(reader: TfliteReader, operator: OperatorRecord, like: str, what: str) -> str:
    """A further value with shape, dtype and encoding of the value `like`."""
    value = reader.known(like)
    return reader.add_value(dataclasses.replace(value, name=f"{like}.{what}", data=None))


def is_quantized(reader: TfliteReader, name: str) -> bool:
    """Whether the value is encoded in integers."""
    return reader.known(name).dtype is not DType.FLOAT32


def _clamps_nothing(quant: QuantParams | None, clamp: Activation) -> bool:
    """Whether the range of int8 clamps as the activation would."""
    if quant is None or quant.zero_point[0] != -128:
        return False
    return clamp is Activation.RELU or quant.scale[0] * 255 <= 6.0


def _check(
    reader: TfliteReader, operator: OperatorRecord, op: Op, operands: list[Value], output: Value
) -> None:
    rule = RULES[op]
    if rule is QuantRule.NONE:
        raise reader.unsupported(operator, "LiteRT has no sound quantized form of it")
    keeps = rule is QuantRule.KEEPS and operands[0].quant != output.quant
    shares = rule is QuantRule.SHARED and any(x.quant != output.quant for x in operands)
    if keeps or shares:
        raise reader.unsupported(operator, "its operands and its output have different encodings")
    if rule is QuantRule.FIXED and FIXED_OUTPUTS.get((op, output.dtype)) != output.quant:
        raise reader.unsupported(operator, "its output's encoding is not the one of its range")
