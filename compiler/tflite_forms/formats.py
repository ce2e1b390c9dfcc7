"""Operators between number formats."""

from __future__ import annotations

from typing import Any

from ..graph import DType, Graph, Node
from ..ops import Op
from .common import Form


def _plain(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "NONE", None


FORMATS: dict[Op, Form] = {
    Op.QUANTIZE: Form({DType.FLOAT32: 1, DType.INT8: 2, DType.INT16: 2}, _plain),
    Op.DEQUANTIZE: Form({DType.FLOAT16: 3, DType.INT8: 2, DType.INT16: 3}, _plain),
}
