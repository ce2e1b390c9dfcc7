"""Operators that move elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Array, Graph, Node
from ..ops import Op, PadAttrs
from .common import Form, float_and_int8


def _amounts(graph: Graph, node: Node) -> tuple[Array, ...]:
    assert isinstance(node.attrs, PadAttrs)
    return (np.array(node.attrs.amounts, np.int32),)


def _shape(graph: Graph, node: Node) -> tuple[Array, ...]:
    return (np.array(_any_batch(graph, node), np.int32),)


def _any_batch(graph: Graph, node: Node) -> list[int]:
    """The output shape with a free batch axis, so that readers may resize the input."""
    return [-1, *graph.values[node.output].shape[1:]]


def _pad(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "PadOptions", schema.PadOptionsT()


def _reshape(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    options = schema.ReshapeOptionsT()
    options.newShape = _any_batch(graph, node)
    return "ReshapeOptions", options


MOVES: dict[Op, Form] = {
    Op.PAD: Form(float_and_int8((1, 2)), _pad, _amounts),
    Op.RESHAPE: Form(float_and_int8((1, 1)), _reshape, _shape),
}
