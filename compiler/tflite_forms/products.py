"""Matrix products."""

from __future__ import annotations

from typing import Any

from ..graph import DType, Graph, Node
from ..ops import DenseAttrs, MatmulAttrs, Op
from .common import Form, float_and_integers, fused

_KEEPS_DIMS = 5  # the versions that brought these
_INT4 = 10


def _dense(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, DenseAttrs)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = fused(schema, node.attrs.activation)
    options.keepNumDims = _keeps_dims(graph, node)
    bias = graph.values[node.inputs[2]]
    options.quantizedBiasType = getattr(schema.TensorType, bias.dtype.name)
    return "FullyConnectedOptions", options


def _keeps_dims(graph: Graph, node: Node) -> bool:
    return len(graph.values[node.output].shape) > 2


def _dense_version(graph: Graph, node: Node) -> int:
    if graph.values[node.inputs[1]].dtype is DType.INT4:
        return _INT4
    return _KEEPS_DIMS if _keeps_dims(graph, node) else 1


def _matmul(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, MatmulAttrs)
    options = schema.BatchMatMulOptionsT()
    options.adjY = node.attrs.transpose_b
    return "BatchMatMulOptions", options


PRODUCTS: dict[Op, Form] = {
    Op.FULLY_CONNECTED: Form(float_and_integers((1, 4, 7)), _dense, at_least=_dense_version),
    Op.BATCH_MATMUL: Form(float_and_integers((1, 2, 3)), _matmul, most_axes=5),
}
