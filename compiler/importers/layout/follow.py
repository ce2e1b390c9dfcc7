"""Two operands in one layout: the smaller one follows the larger one, constants for free."""

from __future__ import annotations

import math

import numpy as np

from ...graph import Array
from ...ops import Op
from ...shapes import Shape
from .frame import Frame
from .tensor import Operand, SamplesTouchedError, Tensor

Held = tuple[int, int, int]  # framework axis, place within its axes, how many those are


def ready_leader(frame: Frame, leader: Tensor, *others: Operand) -> Tensor:
    """`leader` as it is where the others can be split as it is, else with one axis for each."""
    for axis, graph in enumerate(leader.axes):
        split = frame.sizes(leader, axis)
        if len(graph) > 1 and not all(_splits(frame, leader, axis, split, x) for x in others):
            return frame.plain(leader)
    return leader


def _splits(frame: Frame, leader: Tensor, axis: int, split: Shape, x: Operand) -> bool:
    place = axis - leader.rank + len(x.shape)
    if place < 0 or x.shape[place] == 1:
        return True
    if x.shape[place] != math.prod(split):
        return False
    return not isinstance(x, Tensor) or frame.sizes(x, place) == split


def follow(frame: Frame, leader: Tensor, x: Operand, op: Op, what: str) -> str:
    """A value of `x` that broadcasts against that of a ready leader, axis by axis.

    Constants become a constant of `what` of the node of `op` that comes next, without the axes of
    length 1 in front.
    """
    check_samples(leader, x)
    if isinstance(x, Tensor):
        if x.axes == leader.axes and frame.build.shape(x.value) == frame.build.shape(leader.value):
            return x.value
        return _place_like(frame, leader, x)
    data = constant_like(frame, leader, x)
    longer = [axis for axis, size in enumerate(data.shape) if size != 1]
    first = longer[0] if longer else data.ndim - 1
    return frame.constant(op, what, data.reshape(data.shape[first:]))


def constant_like(frame: Frame, leader: Tensor, x: Array) -> Array:
    """`x` with the axes of a ready leader's value."""
    x = x.reshape((1,) * (leader.rank - x.ndim) + x.shape)
    split: list[int] = []
    starts: list[int] = []
    for axis in range(leader.rank):
        starts.append(len(split))
        graph = leader.axes[axis]
        whole = len(graph) == 1 or x.shape[axis] == 1
        split += (x.shape[axis],) if whole else frame.sizes(leader, axis)
    data = x.reshape(split)
    held = _held(leader)
    shape: list[int] = [1]
    perm: list[int] = []
    for own in range(1, len(frame.build.shape(leader.value))):
        axis, place, count = held.get(own, (-1, 0, 0))
        if axis < 0 or x.shape[axis] == 1:
            shape.append(1)
        else:
            perm.append(starts[axis] + (place if count > 1 else 0))
            shape.append(split[perm[-1]])
    rest = [place for place in range(data.ndim) if place not in perm]  # all of length 1
    return np.ascontiguousarray(data.transpose(*perm, *rest)).reshape(shape)


def _place_like(frame: Frame, leader: Tensor, x: Tensor) -> str:
    shift = leader.rank - x.rank
    held = _held(leader)
    groups: list[Shape] = []
    for graph in range(1, len(frame.build.shape(leader.value))):
        axis, place, count = held.get(graph, (-1, 0, 0))
        if axis < shift or x.shape[axis - shift] == 1:
            groups.append(())
        else:
            own = x.axes[axis - shift]
            groups.append((own[place],) if count > 1 else own)
    return frame.place(x.value, groups)


def _held(leader: Tensor) -> dict[int, Held]:
    """What each axis of the leader's value holds."""
    return {
        graph: (axis, place, len(graphs))
        for axis, graphs in enumerate(leader.axes)
        for place, graph in enumerate(graphs)
    }


def check_samples(leader: Tensor, x: Operand) -> None:
    """The first axis that counts samples meets only its like, or a length of 1."""
    tied = bool(leader.rank) and leader.axes[0] == (0,)
    if isinstance(x, Tensor) and x.rank and x.axes[0] == (0,):
        if not tied or x.rank != leader.rank:
            raise SamplesTouchedError
    elif tied and len(x.shape) == leader.rank and x.shape[0] != 1:
        raise SamplesTouchedError
