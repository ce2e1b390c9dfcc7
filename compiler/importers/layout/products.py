"""Linear layers and products of two tensors."""

from __future__ import annotations

import math

import numpy as np

from ...graph import Array
from ...ops import DenseAttrs, MatmulAttrs, Op
from ...shapes import Shape
from .frame import Frame
from .tensor import NoWordError, Operand, SamplesTouchedError, Tensor
from .views import reshape, transpose


def linear(frame: Frame, x: Operand, weights: Array, bias: Array | None = None) -> Tensor:
    """x (…, in) by `weights` (out, in); a flattened image permutes the columns instead."""
    x = frame.computed(x)
    if x.shape[-1] != weights.shape[1]:
        raise NoWordError(f"a linear layer of {x.shape} by weights {weights.shape}")
    if x.rank == 1 and x.axes[0] == (0,):
        raise SamplesTouchedError
    value, order, axes = _features_last(frame, x)
    filled = np.zeros(len(weights), np.float32) if bias is None else bias
    operands = (
        value,
        frame.weights(Op.FULLY_CONNECTED, weights[:, order]),  # unrolled steps share them
        frame.constant(Op.FULLY_CONNECTED, "bias", filled),
    )
    output = frame.node(Op.FULLY_CONNECTED, operands, DenseAttrs())
    return Tensor(output, (*x.shape[:-1], len(weights)), axes)


def matmul(frame: Frame, a: Operand, b: Operand) -> Operand:
    """numpy's a @ b; a constant matrix on one side makes it a linear layer."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return np.asarray(a @ b)
    if not a.shape or not b.shape or a.shape[-1] != b.shape[-2 if len(b.shape) > 1 else 0]:
        raise NoWordError(f"a product of {a.shape} and {b.shape}")
    left = a if len(a.shape) > 1 else reshape(frame, a, (1, *a.shape))
    right = b if len(b.shape) > 1 else reshape(frame, b, (*b.shape, 1))
    product = _matrices(frame, left, right)
    rows = product.shape[-2:-1] if len(a.shape) > 1 else ()
    columns = product.shape[-1:] if len(b.shape) > 1 else ()
    return reshape(frame, product, (*product.shape[:-2], *rows, *columns))


def _matrices(frame: Frame, a: Operand, b: Operand) -> Tensor:
    if _is_matrix(b) and isinstance(a, Tensor) and len(b.shape) <= a.rank:
        return linear(frame, a, np.asarray(b).reshape(b.shape[-2:]).T)
    if _is_matrix(a) and isinstance(b, Tensor) and len(a.shape) <= b.rank:
        flipped = linear(frame, _flip(frame, b), np.asarray(a).reshape(a.shape[-2:]))
        return _flip(frame, flipped)
    return _product(frame, frame.computed(a), frame.computed(b))


def _is_matrix(x: Operand) -> bool:
    return not isinstance(x, Tensor) and math.prod(x.shape[:-2]) == 1


def _flip(frame: Frame, x: Operand) -> Tensor:
    """The last two axes swapped."""
    rank = len(x.shape)
    flipped = transpose(frame, x, (*range(rank - 2), rank - 1, rank - 2))
    assert isinstance(flipped, Tensor)
    return flipped


def _features_last(frame: Frame, x: Tensor) -> tuple[str, Array, tuple[Shape, ...]]:
    """x with its last axis last: the value, the order of features in it, the result's axes."""
    start = 1 if x.axes[0] == (0,) else 0
    shape = frame.build.shape(x.value)
    leading = [axis for axis in range(start, x.rank - 1) if x.shape[axis] != 1]
    held = [graph for axis in leading for graph in x.axes[axis]]
    together = all(len(x.axes[axis]) == 1 for axis in leading)
    if together:
        leading.sort(key=lambda axis: x.axes[axis])
    last = [graph for graph in frame.graph_axes(x, (x.rank - 1,)) if shape[graph] != 1]
    moved = sorted(last)
    if held and moved and min(moved) < max(held):
        moved = last  # a transpose comes anyway: it brings the features in order, too
    groups = [frame.graph_axes(x, (axis,)) for axis in leading]
    value = frame.place(x.value, [*groups, moved])
    places = np.arange(x.shape[-1]).reshape([shape[graph] for graph in last])
    order = places.transpose([last.index(graph) for graph in moved]).reshape(-1)
    axes = [(leading.index(axis) + 1,) if axis in leading else () for axis in range(x.rank - 1)]
    if start:
        axes[0] = (0,)
    return value, order, (*axes, (len(leading) + 1,))


def _product(frame: Frame, a: Tensor, b: Tensor) -> Tensor:
    rank = max(a.rank, b.rank)
    tied = [x.axes[0] == (0,) for x in (a, b)]
    start = 1 if any(tied) else 0
    for x, is_tied in zip((a, b), tied, strict=True):
        whole = x.rank == rank and rank > 2
        if start and not (whole if is_tied else x.rank < rank or x.shape[0] == 1):
            raise SamplesTouchedError
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = frame.arrange(a, _batched(a, rank, start, (a.rank - 2, a.rank - 1)))
    flipped = _lies_flipped(b)
    inner = (b.rank - 1, b.rank - 2) if flipped else (b.rank - 2, b.rank - 1)
    right = frame.arrange(b, _batched(b, rank, start, inner))
    value = frame.node(Op.BATCH_MATMUL, (left, right), MatmulAttrs(flipped))
    axes = tuple((axis - start + 1,) for axis in range(start, rank))
    return Tensor(value, (*batch, a.shape[-2], b.shape[-1]), ((0,),) * start + axes)


def _batched(x: Tensor, rank: int, start: int, inner: tuple[int, int]) -> list[tuple[int, ...]]:
    """Groups of a product's operand: its batch axes from the right, then the matrix."""
    first = start if x.rank == rank else 0
    own: list[tuple[int, ...]] = [(axis,) for axis in range(first, x.rank - 2)]
    missing: list[tuple[int, ...]] = [()] * (rank - 2 - start - len(own))
    return [*missing, *own, *((axis,) for axis in inner)]


def _lies_flipped(b: Tensor) -> bool:
    """Whether the graph holds the columns before the rows."""
    rows, columns = b.axes[-2], b.axes[-1]
    return bool(rows) and bool(columns) and max(columns) < min(rows)
