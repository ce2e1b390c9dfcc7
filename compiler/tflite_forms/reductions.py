"""Operators that work along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Array, Graph, Node
from ..ops import Op, ReduceAttrs
from .common import Form, float_and_int8


def _axes(graph: Graph, node: Node) -> tuple[Array, ...]:
    assert isinstance(node.attrs, ReduceAttrs)
    return (np.array(node.attrs.axes, np.int32),)


def _mean(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, ReduceAttrs)
    options = schema.ReducerOptionsT()
    options.keepDims = node.attrs.keep_dims
    return "ReducerOptions", options


def _softmax(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return "SoftmaxOptions", options


REDUCTIONS: dict[Op, Form] = {
    Op.MEAN: Form(float_and_int8((1, 2)), _mean, _axes),
    Op.SOFTMAX: Form(float_and_int8((1, 2)), _softmax),
}
