"""Other shapes and other orders of axes: nothing moves until an operator needs it to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ...shapes import Shape
from .frame import Frame
from .tensor import NoWordError, Operand, SamplesTouchedError, Tensor


def transpose(frame: Frame, x: Operand, perm: Sequence[int]) -> Operand:
    """The framework's axis i becomes axis perm[i]."""
    if not isinstance(x, Tensor):
        return x.transpose(perm)
    if x.rank and x.axes[0] == (0,) and perm[0] != 0:
        raise SamplesTouchedError
    shape = tuple(x.shape[axis] for axis in perm)
    return Tensor(x.value, shape, tuple(x.axes[axis] for axis in perm))


def flatten(frame: Frame, x: Operand, start: int = 1, end: int = -1) -> Operand:
    """Axes `start` to `end` become one; a flattened image keeps its channels last."""
    shape = x.shape
    start, end = start % len(shape), end % len(shape)
    merged = math.prod(shape[start : end + 1])
    return reshape(frame, x, (*shape[:start], merged, *shape[end + 1 :]))


def squeeze(frame: Frame, x: Operand, axes: Sequence[int]) -> Operand:
    """Without `axes`, which have length 1."""
    dropped = {axis % len(x.shape) for axis in axes}
    if any(x.shape[axis] != 1 for axis in dropped):
        raise NoWordError(f"a squeeze of axes {sorted(dropped)} of {x.shape}")
    return reshape(frame, x, [size for axis, size in enumerate(x.shape) if axis not in dropped])


def unsqueeze(frame: Frame, x: Operand, axes: Sequence[int]) -> Operand:
    """With axes of length 1, which are `axes` of the result."""
    rank = len(x.shape) + len(axes)
    added = {axis % rank for axis in axes}
    sizes = iter(x.shape)
    return reshape(frame, x, [1 if axis in added else next(sizes) for axis in range(rank)])


def reshape(frame: Frame, x: Operand, shape: Sequence[int]) -> Operand:
    """The same elements, in the framework's order, in another shape without -1.

    Axes that merge are remembered; an axis that splits, splits in the graph where it lies. Only
    where neither will do the elements are brought in order first.
    """
    shape = tuple(shape)
    if math.prod(shape) != math.prod(x.shape):
        raise NoWordError(f"a reshape of {x.shape} to {shape}")
    if not isinstance(x, Tensor):
        return x.reshape(shape)
    tied = bool(x.rank) and x.axes[0] == (0,)
    if tied and shape[:1] != x.shape[:1]:
        raise SamplesTouchedError
    start = 1 if tied else 0
    sizes = _refined(_atoms(frame, x, start), shape[start:])
    if sizes is None:
        values = [(axis,) for axis in range(start, x.rank) if x.shape[axis] != 1]
        value = frame.reshape(frame.arrange(x, values), (1, *shape[start:]))
        axes = tuple((axis - start + 1,) for axis in range(start, len(shape)))
        return Tensor(value, shape, ((0,),) * start + axes)
    value, order = _split(frame, x, start, sizes)
    grouped = _grouped(sizes, order, shape[start:])
    return Tensor(value, shape, ((0,),) * start + grouped)


def _atoms(frame: Frame, x: Tensor, start: int) -> list[int]:
    """Lengths of the value's axes longer than 1, in the framework's order."""
    sizes = itertools.chain(*(frame.sizes(x, axis) for axis in range(start, x.rank)))
    return [size for size in sizes if size != 1]


def _refined(atoms: Sequence[int], shape: Sequence[int]) -> list[int] | None:
    """The coarsest lengths that make up both; None where their borders cross."""
    borders = set(itertools.accumulate(atoms, int.__mul__, initial=1))
    borders |= set(itertools.accumulate(shape, int.__mul__, initial=1))
    ordered = sorted(borders)
    steps = list(itertools.pairwise(ordered))
    if 0 in borders or any(high % low for low, high in steps):
        return None
    return [high // low for low, high in steps]


def _split(frame: Frame, x: Tensor, start: int, sizes: Sequence[int]) -> tuple[str, list[int]]:
    """A value whose axes have these lengths, and which of its axes has each of them."""
    shape = frame.build.shape(x.value)
    left = list(sizes)
    parts: dict[int, list[int]] = {}
    for graph in (g for axis in range(start, x.rank) for g in x.axes[axis] if shape[g] != 1):
        taken: list[int] = []
        while math.prod(taken) != shape[graph]:
            taken.append(left.pop(0))
        parts[graph] = taken
    if all(len(taken) == 1 for taken in parts.values()):
        return x.value, list(parts)
    split: list[int] = []
    places: dict[int, list[int]] = {}
    for graph, size in enumerate(shape):
        taken = parts.get(graph, [size])
        places[graph] = list(range(len(split), len(split) + len(taken)))
        split += taken
    value = frame.reshape(x.value, tuple(split))
    return value, [place for graph in parts for place in places[graph]]


def _grouped(sizes: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> tuple[Shape, ...]:
    """For each length of `shape` the axes that make it up."""
    pairs = list(zip(sizes, order, strict=True))
    groups: list[Shape] = []
    for size in shape:
        held: list[int] = []
        product = 1
        while product != size:
            length, axis = pairs.pop(0)
            product *= length
            held.append(axis)
        groups.append(tuple(held))
    return tuple(groups)
