"""Operators between number formats."""

from __future__ import annotations

from typing import Any

from ..graph import DType, Graph, Node
from ..ops import Op
from .common import Form

_PER_CHANNEL = 5  # the version that brought it


def _quantize(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "QuantizeOptions", schema.QuantizeOptionsT()


def _dequantize(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "DequantizeOptions", schema.DequantizeOptionsT()


def _quantize_version(graph: Graph, node: Node) -> int:
    """Version 2 is the first with int16 results, version 3 makes them of int8 too."""
    if graph.values[node.output].dtype is not DType.INT16:
        return 1
    return 3 if graph.values[node.inputs[0]].dtype is DType.INT8 else 2


def _dequantize_version(graph: Graph, node: Node) -> int:
    quant = graph.values[node.inputs[0]].quant
    return _PER_CHANNEL if quant is not None and len(quant.scale) > 1 else 1


FORMATS: dict[Op, Form] = {
    Op.QUANTIZE: Form(
        {DType.FLOAT32: 1, DType.INT8: 1, DType.INT16: 1}, _quantize, at_least=_quantize_version
    ),
    Op.DEQUANTIZE: Form(
        {DType.INT8: 2, DType.INT16: 3, DType.FLOAT16: 3, DType.INT4: 6},
        _dequantize,
        at_least=_dequantize_version,
    ),
}
