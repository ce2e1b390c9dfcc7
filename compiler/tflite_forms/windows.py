"""Convolutions, pools and resizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import EmitError
from ..graph import Array, DType, Graph, Node
from ..ops import NO_PADDING, ConvAttrs, Op, PoolAttrs, ResizeAttrs, TransposeConvAttrs
from .common import Form, float_and_integers, fused, window

_GROUPED = 6  # the versions that brought these
_INT4 = {Op.CONV_2D: 7, Op.DEPTHWISE_CONV_2D: 6}
_CENTRES = 3


def _conv(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    depthwise = node.op is Op.DEPTHWISE_CONV_2D
    if depthwise and _has(graph, node, DType.INT16, 0):
        _check_wide_depthwise(graph, node)
    name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    options = window(schema, getattr(schema, f"{name}T")(), attrs)
    options.dilationHFactor, options.dilationWFactor = attrs.dilation
    options.fusedActivationFunction = fused(schema, attrs.activation)
    if depthwise:
        x, weights = (graph.values[name] for name in node.inputs[:2])
        options.depthMultiplier = weights.shape[3] // x.shape[3]
    else:
        options.quantizedBiasType = _bias_type(schema, graph, node)
    return name, options


def _check_wide_depthwise(graph: Graph, node: Node) -> None:
    """LiteRT refuses an int32 bias beside int16, and reads int4 weights as if they were int8."""
    if _has(graph, node, DType.INT4, 1):
        raise EmitError(
            f"{node.name}: TensorFlow Lite has no int4 weights beside int16 here; keep them in int8"
        )
    if _has(graph, node, DType.INT32, 2):
        raise EmitError(f"{node.name}: TensorFlow Lite needs an int64 bias here, not an int32 one")


def _has(graph: Graph, node: Node, dtype: DType, position: int) -> bool:
    return graph.values[node.inputs[position]].dtype is dtype


def _bias_type(schema: Any, graph: Graph, node: Node) -> int:
    return int(getattr(schema.TensorType, graph.values[node.inputs[2]].dtype.name))


def _conv_version(graph: Graph, node: Node) -> int:
    x, weights = (graph.values[name] for name in node.inputs[:2])
    if weights.dtype is DType.INT4:
        return _INT4[node.op]
    grouped = node.op is Op.CONV_2D and weights.shape[3] != x.shape[3]
    return _GROUPED if grouped else 1


def _transpose_conv(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    attrs = node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    if _has(graph, node, DType.INT4, 1):
        raise EmitError(f"{node.name}: TensorFlow Lite has no int4 weights here; keep them in int8")
    options = schema.TransposeConvOptionsT()
    # `lower_padding` has left only cuts that SAME makes.
    cut = attrs.padding != NO_PADDING
    options.padding = schema.Padding.SAME if cut else schema.Padding.VALID
    options.strideH, options.strideW = attrs.stride
    options.fusedActivationFunction = fused(schema, attrs.activation)
    options.quantizedBiasType = _bias_type(schema, graph, node)
    return "TransposeConvOptions", options


def _output_shape(graph: Graph, node: Node) -> tuple[Array, ...]:
    return (np.array(graph.values[node.output].shape, np.int32),)


def _shape_weights_input(own: list[int], extra: list[int]) -> list[int]:
    x, weights, bias = own
    return [*extra, weights, x, bias]


def _transpose_conv_version(graph: Graph, node: Node) -> int:
    assert isinstance(node.attrs, TransposeConvAttrs)
    return 3 if node.attrs.activation.value == "none" else 4


def _pool(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, PoolAttrs)
    options = window(schema, schema.Pool2DOptionsT(), node.attrs)
    options.filterHeight, options.filterWidth = node.attrs.kernel
    return "Pool2DOptions", options


def _resize(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    attrs = node.attrs
    assert isinstance(attrs, ResizeAttrs)
    if attrs.align_corners and attrs.half_pixel_centers:
        raise EmitError(f"{node.name}: LiteRT aligns corners or centres of pixels, not both")
    bilinear = node.op is Op.RESIZE_BILINEAR
    name = "ResizeBilinearOptions" if bilinear else "ResizeNearestNeighborOptions"
    options = getattr(schema, f"{name}T")()
    options.alignCorners = attrs.align_corners
    options.halfPixelCenters = attrs.half_pixel_centers
    return name, options


def _size(graph: Graph, node: Node) -> tuple[Array, ...]:
    assert isinstance(node.attrs, ResizeAttrs)
    return (np.array(node.attrs.size, np.int32),)


def _resize_version(graph: Graph, node: Node) -> int:
    assert isinstance(node.attrs, ResizeAttrs)
    plain = not node.attrs.half_pixel_centers
    if node.op is Op.RESIZE_NEAREST_NEIGHBOR:
        plain = plain and not node.attrs.align_corners
    return 1 if plain else _CENTRES


WINDOWS: dict[Op, Form] = {
    Op.CONV_2D: Form(float_and_integers((1, 3, 4)), _conv, at_least=_conv_version),
    Op.DEPTHWISE_CONV_2D: Form(float_and_integers((2, 3, 5)), _conv, at_least=_conv_version),
    Op.TRANSPOSE_CONV: Form(
        float_and_integers((3, 3, 3)),
        _transpose_conv,
        _output_shape,
        arrange=_shape_weights_input,
        at_least=_transpose_conv_version,
    ),
    Op.MAX_POOL_2D: Form(float_and_integers((1, 2, 3)), _pool),
    Op.AVERAGE_POOL_2D: Form(float_and_integers((1, 2, 3)), _pool),
    Op.RESIZE_NEAREST_NEIGHBOR: Form(
        float_and_integers((1, 2, 4)), _resize, _size, at_least=_resize_version
    ),
    Op.RESIZE_BILINEAR: Form(
        float_and_integers((1, 2, 4)), _resize, _size, at_least=_resize_version
    ),
}
