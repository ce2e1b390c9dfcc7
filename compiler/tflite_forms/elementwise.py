"""Operators that work element by element."""

from __future__ import annotations

from typing import Any

from ..graph import Graph, Node
from ..ops import BinaryAttrs, Op
from .common import Form, float_and_int8, fused


def _add(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, BinaryAttrs)
    options = schema.AddOptionsT()
    options.fusedActivationFunction = fused(schema, node.attrs.activation)
    return "AddOptions", options


ELEMENTWISE: dict[Op, Form] = {
    Op.ADD: Form(float_and_int8((1, 2)), _add),
}
