"""Operators along axes."""

from __future__ import annotations

from collections.abc import Sequence

from ...ops import AxisAttrs, NoAttrs, Op, ReduceAttrs
from ...shapes import Shape
from .frame import Frame
from .tensor import Operand, SamplesTouchedError, Tensor


def reduce(frame: Frame, op: Op, x: Operand, axes: Sequence[int], *, keep_dims: bool) -> Tensor:
    """MEAN, SUM or REDUCE_MAX over `axes`; axes of length 1 cost nothing."""
    x = frame.computed(x)
    gone = {axis % x.rank for axis in axes}
    sizes = frame.build.shape(x.value)
    held_axes = frame.graph_axes(x, sorted(gone))
    graph = _with_row(x, sizes, tuple(sorted(axis for axis in held_axes if sizes[axis] != 1)))
    value = frame.node(op, (x.value,), ReduceAttrs(graph)) if graph else x.value
    shape = tuple(1 if axis in gone else size for axis, size in enumerate(x.shape))
    left = tuple(
        () if axis in gone else tuple(_after(place, graph) for place in held)
        for axis, held in enumerate(x.axes)
    )
    reduced = Tensor(value, shape, left)
    return reduced if keep_dims else _dropped(reduced, gone)


def _with_row(x: Tensor, sizes: Shape, axes: Shape) -> Shape:
    """A row of an image of height 1 as the whole image: what every format and kernel knows."""
    held = {graph for graphs in x.axes for graph in graphs}
    is_row = axes == (2,) and len(sizes) == 4 and sizes[1] == 1 and 1 not in held
    return (1, 2) if is_row else axes


def softmax(frame: Frame, op: Op, x: Operand, axis: int) -> Tensor:
    """SOFTMAX or LOG_SOFTMAX along `axis`, which is brought to the end of the value."""
    x = _last(frame, frame.computed(x), axis)
    return Tensor(frame.node(op, (x.value,), NoAttrs()), x.shape, x.axes)


def arg_max(frame: Frame, x: Operand, axis: int, *, keep_dims: bool) -> Tensor:
    """The index, int32, of the first largest element along `axis`."""
    x = frame.computed(x)
    axis %= x.rank
    x = frame.with_axis(x, axis)
    (graph,) = frame.graph_axes(x, (axis,))
    value = frame.node(Op.ARG_MAX, (x.value,), AxisAttrs(graph))
    shape = tuple(1 if place == axis else size for place, size in enumerate(x.shape))
    left = tuple(
        () if place == axis else tuple(_after(graphs, (graph,)) for graphs in held)
        for place, held in enumerate(x.axes)
    )
    found = Tensor(value, shape, left)
    return found if keep_dims else _dropped(found, {axis})


def _last(frame: Frame, x: Tensor, axis: int) -> Tensor:
    """x with `axis`, as one axis, at the end of its value."""
    axis %= x.rank
    if x.axes[axis] == (0,):
        raise SamplesTouchedError
    last = len(frame.build.shape(x.value)) - 1
    if x.axes[axis] == (last,):
        return x
    x = frame.plain(x)
    start = 1 if x.axes[0] == (0,) else 0
    others = [place for place in range(start, x.rank) if place != axis and x.axes[place]]
    others.sort(key=lambda place: x.axes[place])
    value = frame.arrange(x, [*((place,) for place in others), (axis,)])
    axes = [(others.index(place) + 1,) if place in others else () for place in range(x.rank)]
    axes[axis] = (len(others) + 1,)
    if start:
        axes[0] = (0,)
    return Tensor(value, x.shape, tuple(axes))


def _after(place: int, gone: Shape) -> int:
    """Where an axis of the value is when others are gone."""
    return place - sum(axis < place for axis in gone)


def _dropped(x: Tensor, gone: set[int]) -> Tensor:
    kept = [axis for axis in range(x.rank) if axis not in gone]
    return Tensor(
        x.value, tuple(x.shape[axis] for axis in kept), tuple(x.axes[axis] for axis in kept)
    )
