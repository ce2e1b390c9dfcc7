"""Operators between number formats."""

from __future__ import annotations

from typing import Any

from ..graph import DType, Graph, Node
from ..ops import Op
from .common import Form


def _quantize(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "QuantizeOptions", schema.QuantizeOptionsT()


def _dequantize(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "DequantizeOptions", schema.DequantizeOptionsT()


FORMATS: dict[Op, Form] = {
    # Version 2 is the first with int16 results.
    Op.QUANTIZE: Form({DType.FLOAT32: 2, DType.INT8: 1, DType.INT16: 2}, _quantize),
    Op.DEQUANTIZE: Form({DType.INT8: 2, DType.INT16: 3, DType.FLOAT16: 3}, _dequantize),
}
