"""Operators along time."""

from __future__ import annotations

from typing import Any

from ..graph import Graph, Node
from ..ops import Op, SvdfAttrs
from ..streams import variables
from .common import Form, float_and_int8, fused


def _svdf(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, SvdfAttrs)
    options = schema.SVDFOptionsT()
    options.rank = node.attrs.rank
    options.fusedActivationFunction = fused(schema, node.attrs.activation)
    return "SVDFOptions", options


RECURRENT: dict[Op, Form] = {
    Op.SVDF: Form(float_and_int8((1, 3)), _svdf, variables=variables),
}
