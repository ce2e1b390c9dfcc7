"""Convolutions and pools."""

from __future__ import annotations

from typing import Any

from ..graph import Graph, Node
from ..ops import ConvAttrs, Op, PoolAttrs
from .common import Form, float_and_int8, fused, window


def _conv(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    depthwise = node.op is Op.DEPTHWISE_CONV_2D
    name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    options = window(schema, getattr(schema, f"{name}T")(), attrs)
    options.dilationHFactor, options.dilationWFactor = attrs.dilation
    options.fusedActivationFunction = fused(schema, attrs.activation)
    if depthwise:
        options.depthMultiplier = 1
    return name, options


def _pool(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, PoolAttrs)
    options = window(schema, schema.Pool2DOptionsT(), node.attrs)
    options.filterHeight, options.filterWidth = node.attrs.kernel
    return "Pool2DOptions", options


WINDOWS: dict[Op, Form] = {
    Op.CONV_2D: Form(float_and_int8((1, 3)), _conv),
    Op.DEPTHWISE_CONV_2D: Form(float_and_int8((2, 3)), _conv),
    Op.MAX_POOL_2D: Form(float_and_int8((1, 2)), _pool),
    Op.AVERAGE_POOL_2D: Form(float_and_int8((1, 2)), _pool),
}
