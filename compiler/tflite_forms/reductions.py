"""Operators that work along axes; versions as `op_version.cc` of TensorFlow Lite gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import EmitError
from ..graph import Array, DType, Graph, Node
from ..ops import AxisAttrs, Op, ReduceAttrs
from .common import Form, float_and_int8


def _axes(graph: Graph, node: Node) -> tuple[Array, ...]:
    assert isinstance(node.attrs, ReduceAttrs)
    return (np.array(node.attrs.axes, np.int32),)


def _axis(graph: Graph, node: Node) -> tuple[Array, ...]:
    assert isinstance(node.attrs, AxisAttrs)
    return (np.array([node.attrs.axis], np.int32),)


def _reducer(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, ReduceAttrs)
    options = schema.ReducerOptionsT()
    options.keepDims = node.attrs.keep_dims
    return "ReducerOptions", options


def _sum(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    """Where both encodings are equal LiteRT adds codes as they are, zero points and all."""
    x, output = graph.values[node.inputs[0]], graph.values[node.output]
    if x.quant is not None and x.quant == output.quant:
        raise EmitError(
            f"{node.name}: a quantized sum needs another scale than its input has; calibrate with "
            "samples that reach larger sums"
        )
    return _reducer(schema, graph, node)


def _softmax(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return "SoftmaxOptions", options


def _log_softmax(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "LogSoftmaxOptions", schema.LogSoftmaxOptionsT()


def _arg_max(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    options = schema.ArgMaxOptionsT()
    options.outputType = getattr(schema.TensorType, graph.values[node.output].dtype.name)
    return "ArgMaxOptions", options


_ALL_THREE = {DType.FLOAT32: 1, DType.INT8: 2, DType.INT16: 3}

REDUCTIONS: dict[Op, Form] = {
    Op.MEAN: Form(_ALL_THREE, _reducer, _axes),
    Op.SUM: Form(float_and_int8((1, 2)), _sum, _axes),
    Op.REDUCE_MAX: Form(_ALL_THREE, _reducer, _axes),
    Op.SOFTMAX: Form(_ALL_THREE, _softmax),
    Op.LOG_SOFTMAX: Form(float_and_int8((1, 2)), _log_softmax),
    Op.ARG_MAX: Form(float_and_int8((1, 2)), _arg_max, _axis),
}
