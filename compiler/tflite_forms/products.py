"""Matrix products."""

from __future__ import annotations

from typing import Any

from ..graph import Graph, Node
from ..ops import DenseAttrs, Op
from .common import Form, float_and_int8, fused


def _dense(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, DenseAttrs)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = fused(schema, node.attrs.activation)
    return "FullyConnectedOptions", options


PRODUCTS: dict[Op, Form] = {
    Op.FULLY_CONNECTED: Form(float_and_int8((1, 4)), _dense),
}
