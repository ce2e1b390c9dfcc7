"""Operators that move elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Array, DType, Graph, Node
from ..int_kernels.moves import fill_code
from ..ops import AxisAttrs, Op, PadAttrs, SliceAttrs, TransposeAttrs
from .common import Form, float_and_integers

_PLAIN_RANK = 4  # what the first versions take


def _pad_operands(graph: Graph, node: Node) -> tuple[Array, ...]:
    assert isinstance(node.attrs, PadAttrs)
    amounts = np.array(node.attrs.amounts, np.int32)
    if node.attrs.fill == 0.0:
        return (amounts,)
    output = graph.values[node.output]
    if output.dtype is DType.FLOAT32:
        return amounts, np.array([node.attrs.fill], np.float32)
    return amounts, np.array([fill_code(graph, node)], output.dtype.numpy)


def _pad_name(node: Node) -> str:
    assert isinstance(node.attrs, PadAttrs)
    return "PAD" if node.attrs.fill == 0.0 else "PADV2"


def _pad(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    if _pad_name(node) == "PAD":
        return "PadOptions", schema.PadOptionsT()
    return "PadV2Options", schema.PadV2OptionsT()


def _pad_version(graph: Graph, node: Node) -> int:
    return 4 if len(graph.values[node.output].shape) > _PLAIN_RANK else 1


def _shape(graph: Graph, node: Node) -> tuple[Array, ...]:
    return (np.array(_any_batch(graph, node), np.int32),)


def _any_batch(graph: Graph, node: Node) -> list[int]:
    """The output shape with a free batch axis, so that readers may resize the input."""
    return [-1, *graph.values[node.output].shape[1:]]


def _reshape(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    options = schema.ReshapeOptionsT()
    options.newShape = _any_batch(graph, node)
    return "ReshapeOptions", options


def _perm(graph: Graph, node: Node) -> tuple[Array, ...]:
    assert isinstance(node.attrs, TransposeAttrs)
    return (np.array(node.attrs.perm, np.int32),)


def _transpose(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    return "TransposeOptions", schema.TransposeOptionsT()


def _transpose_version(graph: Graph, node: Node) -> int:
    rank = len(graph.values[node.output].shape)
    return {5: 5, 6: 6}.get(rank, 1)


def _concatenation(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, AxisAttrs)
    options = schema.ConcatenationOptionsT()
    options.axis = node.attrs.axis
    return "ConcatenationOptions", options


def _is_dense(attrs: SliceAttrs) -> bool:
    """Whether SLICE says it: nothing is skipped or reversed."""
    return all(
        stride == 1 or size == 1 for stride, size in zip(attrs.stride, attrs.size, strict=True)
    )


def _slice_name(node: Node) -> str:
    assert isinstance(node.attrs, SliceAttrs)
    return "SLICE" if _is_dense(node.attrs) else "STRIDED_SLICE"


def _slice_operands(graph: Graph, node: Node) -> tuple[Array, ...]:
    """Begin and size, or begin, end and stride; the first axis whole, however long."""
    attrs = node.attrs
    assert isinstance(attrs, SliceAttrs)
    if _is_dense(attrs):
        return np.array(attrs.begin, np.int32), np.array((-1, *attrs.size[1:]), np.int32)
    return tuple(np.array(row, np.int32) for row in (attrs.begin, _ends(attrs), attrs.stride))


def _ends(attrs: SliceAttrs) -> list[int]:
    """One step beyond the last element: by one, in the direction of the stride."""
    return [
        begin + (size - 1) * stride + (1 if stride > 0 else -1)
        for begin, size, stride in zip(attrs.begin, attrs.size, attrs.stride, strict=True)
    ]


def _slice(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    attrs = node.attrs
    assert isinstance(attrs, SliceAttrs)
    if _is_dense(attrs):
        return "SliceOptions", schema.SliceOptionsT()
    options = schema.StridedSliceOptionsT()
    options.beginMask = 1
    # An end of -1 would count from the back.
    options.endMask = 1 | sum(1 << axis for axis, end in enumerate(_ends(attrs)) if end < 0)
    return "StridedSliceOptions", options


def _slice_version(graph: Graph, node: Node) -> int:
    assert isinstance(node.attrs, SliceAttrs)
    if len(graph.values[node.output].shape) <= _PLAIN_RANK:
        return 1
    return 5 if _is_dense(node.attrs) else 4


def _gather(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, AxisAttrs)
    options = schema.GatherOptionsT()
    options.axis = node.attrs.axis
    return "GatherOptions", options


MOVES: dict[Op, Form] = {
    Op.PAD: Form(
        float_and_integers((1, 2, 3)),
        _pad,
        _pad_operands,
        operator=_pad_name,
        at_least=_pad_version,
        most_axes=5,
    ),
    Op.RESHAPE: Form(float_and_integers((1, 1, 1)), _reshape, _shape),
    Op.TRANSPOSE: Form(
        float_and_integers((1, 2, 4)), _transpose, _perm, at_least=_transpose_version
    ),
    Op.CONCATENATION: Form(float_and_integers((1, 2, 3)), _concatenation),
    Op.SLICE: Form(
        float_and_integers((1, 2, 4)),
        _slice,
        _slice_operands,
        operator=_slice_name,
        at_least=_slice_version,
    ),
    Op.GATHER: Form(float_and_integers((1, 2, 4)), _gather),
}
