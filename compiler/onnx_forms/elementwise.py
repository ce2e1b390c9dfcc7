"""Operators that work element by element: in the layout that their operands have."""

from __future__ import annotations

from ..graph import Node
from ..onnx_writer import Writer
from ..ops import Activation, BinaryAttrs, GeluAttrs, LeakyAttrs, Op
from .common import Form, common_layout, operand, plain


def _read(writer: Writer, node: Node) -> tuple[list[str], tuple[int, ...]]:
    """The operands' tensors in one layout, and that layout."""
    layout = common_layout(writer, node.inputs, len(writer.shape(node.output)))
    return [operand(writer, name, layout) for name in node.inputs], layout


def _binary(op_type: str) -> Form:
    def form(writer: Writer, node: Node) -> None:
        attrs = node.attrs
        activation = attrs.activation if isinstance(attrs, BinaryAttrs) else Activation.NONE
        tensors, layout = _read(writer, node)
        raw = writer.op(op_type, tensors, f"{node.output}.raw")
        writer.define(node.output, raw, layout, activation)

    return form


def _less_equal(writer: Writer, node: Node) -> None:
    tensors, layout = _read(writer, node)
    truth = writer.op("LessOrEqual", tensors, f"{node.output}.truth")
    writer.define(node.output, writer.op("Cast", [truth], f"{node.output}.raw", to=1), layout)


def _clamp(activation: Activation) -> Form:
    def form(writer: Writer, node: Node) -> None:
        x, layout = writer.own(node.inputs[0])
        writer.define(node.output, x, layout, activation)

    return form


def _leaky_relu(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, LeakyAttrs)
    x, layout = writer.own(node.inputs[0])
    raw = writer.op("LeakyRelu", [x], f"{node.output}.raw", alpha=node.attrs.alpha)
    writer.define(node.output, raw, layout)


def _gelu(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, GeluAttrs)
    x, layout = writer.own(node.inputs[0])
    approximate = "tanh" if node.attrs.approximate else "none"
    raw = writer.op("Gelu", [x], f"{node.output}.raw", approximate=approximate)
    writer.define(node.output, raw, layout)


def _rsqrt(writer: Writer, node: Node) -> None:
    x, layout = writer.own(node.inputs[0])
    root = writer.op("Sqrt", [x], f"{node.output}.root")
    writer.define(node.output, writer.op("Reciprocal", [root], f"{node.output}.raw"), layout)


ELEMENTWISE: dict[Op, Form] = {
    Op.ADD: _binary("Add"),
    Op.SUB: _binary("Sub"),
    Op.MUL: _binary("Mul"),
    Op.DIV: _binary("Div"),
    Op.MINIMUM: _binary("Min"),
    Op.MAXIMUM: _binary("Max"),
    Op.LESS_EQUAL: _less_equal,
    Op.PRELU: _binary("PRelu"),
    Op.RELU: _clamp(Activation.RELU),
    Op.RELU6: _clamp(Activation.RELU6),
    Op.LEAKY_RELU: _leaky_relu,
    Op.ELU: plain("Elu"),
    Op.HARD_SWISH: plain("HardSwish"),
    Op.LOGISTIC: plain("Sigmoid"),
    Op.TANH: plain("Tanh"),
    Op.GELU: _gelu,
    Op.EXP: plain("Exp"),
    Op.SQRT: plain("Sqrt"),
    Op.RSQRT: _rsqrt,
    Op.ABS: plain("Abs"),
}
