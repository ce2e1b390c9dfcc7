"""Changes of the number format: every value is real numbers here, so only rounding is written."""

from __future__ import annotations

from ..graph import Node
from ..onnx_writer import Writer
from ..ops import Op
from .common import Form


def _quantize(writer: Writer, node: Node) -> None:
    x, layout = writer.own(node.inputs[0])
    writer.define(node.output, x, layout)


def _dequantize(writer: Writer, node: Node) -> None:
    if writer.source(node.inputs[0]).data is not None:
        writer.stand_for(node.output, node.inputs[0])
        return
    x, layout = writer.own(node.inputs[0])
    writer.alias(node.output, x, layout)


FORMATS: dict[Op, Form] = {
    Op.QUANTIZE: _quantize,
    Op.DEQUANTIZE: _dequantize,
}
