"""Arithmetic of constants alone, in whatever dtype: what exporters write to compute shapes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...graph import Array
from ..layout import NoWordError, Tensor
from ..onnx_file import MOST_ELEMENTS, OnnxNode


def fold(node: OnnxNode, operands: Sequence[object], place: str) -> list[Array] | None:
    """The results of a node that reads constants alone, or only a shape; None where it does not.

    Raises NoWordError where a constant would be unreasonably large or of an unknown kind, and
    ImportModelError, which names `place`, where its data is damaged.
    """
    first = operands[0] if operands else None
    if node.op in _OF_SHAPE and isinstance(first, Tensor | np.ndarray):
        return [_OF_SHAPE[node.op](node, first.shape)]
    known = [x for x in operands if isinstance(x, np.ndarray)]
    if len(known) < len(operands):
        return None
    result: Array | None = None
    if node.op in _BROADCAST:
        _bounded(np.broadcast_shapes(*(x.shape for x in known)))
        result = np.asarray(_BROADCAST[node.op](*known))
    elif node.op in _REDUCE:
        result = _reduced(node, known)
    elif node.op in _MADE:
        result = np.asarray(_MADE[node.op](node, place, *known))
    return None if result is None else [result]


def _shape(node: OnnxNode, shape: tuple[int, ...]) -> Array:
    start, end = node.attributes.get("start", 0), node.attributes.get("end", len(shape))
    return np.asarray(shape[start:end], np.int64)


def _size(node: OnnxNode, shape: tuple[int, ...]) -> Array:
    return np.asarray(math.prod(shape), np.int64)


def _bounded(shape: Sequence[int]) -> None:
    elements = 1
    for size in shape:
        elements *= max(int(size), 1)
    if elements > MOST_ELEMENTS:
        raise NoWordError(f"a constant of shape {tuple(shape)}")


def _divide(a: Array, b: Array) -> Array:
    """Of integers: towards zero."""
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(np.trunc(np.true_divide(a, b)).astype(a.dtype))


def _power(a: Array, b: Array) -> Array:
    return np.asarray(np.power(a, b).astype(a.dtype))


def _reduced(node: OnnxNode, known: Sequence[Array]) -> Array:
    axes: Any = node.attributes.get("axes")
    if axes is None and len(known) > 1:
        axes = known[1].tolist()
    if not axes and node.attributes.get("noop_with_empty_axes", 0):
        return known[0]
    keep = bool(node.attributes.get("keepdims", 1))
    axis = tuple(axes) if axes else None
    return np.asarray(_REDUCE[node.op](known[0], axis=axis, keepdims=keep))


def _constant(node: OnnxNode, place: str) -> Array:
    from ..onnx_file import as_array

    for name, dtype in _CONSTANT_DTYPES.items():
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype)
    return as_array(node.attributes["value"], place)


def _constant_of_shape(node: OnnxNode, place: str, shape: Array) -> Array:
    from ..onnx_file import as_array

    _bounded(shape.tolist())
    value = np.zeros(1, np.float32)
    if "value" in node.attributes:
        value = as_array(node.attributes["value"], place)
    return np.full(shape.tolist(), value.reshape(()), value.dtype)


def _cast(node: OnnxNode, place: str, x: Array) -> Array:
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(node.attributes["to"])
    if dtype.kind not in "iufb" or x.dtype.kind not in "iufb":
        raise NoWordError(f"a cast of {x.dtype} to {dtype}")
    return x.astype(dtype)


def _triangle(node: OnnxNode, place: str, x: Array, diagonal: Array | None = None) -> Array:
    part = np.triu if node.attributes.get("upper", 1) else np.tril
    return part(x, 0 if diagonal is None else int(diagonal.reshape(())))


def _range(node: OnnxNode, place: str, start: Array, end: Array, step: Array) -> Array:
    first, last, stride = (x.reshape(()).item() for x in (start, end, step))
    count = max(math.ceil((last - first) / stride), 0)
    _bounded([count])
    return np.asarray(first + np.arange(count) * stride, start.dtype)


_CONSTANT_DTYPES: Mapping[str, type[Any]] = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
_OF_SHAPE: Mapping[str, Callable[[OnnxNode, tuple[int, ...]], Array]] = {
    "Shape": _shape,
    "Size": _size,
}
_BROADCAST: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": _power,
    "Mod": np.mod,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Reciprocal": np.reciprocal,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
    "Where": np.where,
    "Max": lambda *operands: functools.reduce(np.maximum, operands),
    "Min": lambda *operands: functools.reduce(np.minimum, operands),
    "Sum": lambda *operands: functools.reduce(np.add, operands),
}
_REDUCE: Mapping[str, Callable[..., Any]] = {
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceMean": np.mean,
}
_MADE: Mapping[str, Callable[..., Any]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Cast": _cast,
    "Range": _range,
    "Trilu": _triangle,
}
