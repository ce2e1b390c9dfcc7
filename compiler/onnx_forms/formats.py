"""Changes of the number format: every value is real numbers here, so only rounding is written."""

from __future__ import annotations

import numpy as np

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
    if writer.graph.consumers(node.output):
        x = _guarded(writer, node, x)
    writer.alias(node.output, x, layout)


def _guarded(writer: Writer, node: Node, x: str) -> str:
    """A clamp that changes nothing but ONNX Runtime's mind.

    Where a convolution or a product reads what was dequantized and is quantized again, ONNX
    Runtime rounds its float weights to int8 by itself. Layers that are kept in float are to stay.
    """
    limits = np.finfo(np.float32)
    low = writer.constant(f"{node.output}.low", np.array(limits.min, np.float32))
    high = writer.constant(f"{node.output}.high", np.array(limits.max, np.float32))
    return writer.op("Clip", [x, low, high], f"{node.output}.kept")


FORMATS: dict[Op, Form] = {
    Op.QUANTIZE: _quantize,
    Op.DEQUANTIZE: _dequantize,
}
