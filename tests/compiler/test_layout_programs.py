"""Random programs of the layout front end against numpy: whatever is lazy must add up."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array
from edgekiln.compiler.importers import layout
from edgekiln.compiler.importers.layout import Frame, Imported, Operand, Plan, Source
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Op

Step = Callable[[np.random.Generator, Frame, Operand, Array], tuple[Operand, Array]]
_LENGTHS = (1, 1, 2, 3, 4)
_STEPS = 7


def _reshape(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    factors = [factor for factor in (2, 2, 2, 3, 3, 5) if y.size % factor == 0]
    shape: list[int] = []
    rest = y.size
    for factor in rng.permutation(factors):
        if rest % factor == 0 and len(shape) < 4:
            shape.insert(int(rng.integers(len(shape) + 1)), int(factor))
            rest //= int(factor)
    shape.insert(int(rng.integers(len(shape) + 1)), rest)
    return layout.reshape(frame, x, shape), y.reshape(shape)


def _transpose(
    rng: np.random.Generator, frame: Frame, x: Operand, y: Array
) -> tuple[Operand, Array]:
    perm = [int(axis) for axis in rng.permutation(y.ndim)]
    return layout.transpose(frame, x, perm), y.transpose(perm)


def _unsqueeze(
    rng: np.random.Generator, frame: Frame, x: Operand, y: Array
) -> tuple[Operand, Array]:
    if y.ndim > 4:
        return x, y
    axis = int(rng.integers(y.ndim + 1))
    return layout.unsqueeze(frame, x, (axis,)), np.expand_dims(y, axis)


def _constant(
    rng: np.random.Generator, frame: Frame, x: Operand, y: Array
) -> tuple[Operand, Array]:
    rank = int(rng.integers(y.ndim + 1))
    shape = [size if rng.random() < 0.6 else 1 for size in y.shape[y.ndim - rank :]]
    other = rng.normal(size=shape).astype(np.float32)
    return layout.binary(frame, Op.SUB, other, x), other - y


def _itself(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    """x plus a permutation of itself that broadcasts, where there is one."""
    axes = [axis for axis in range(y.ndim) if axis != y.ndim - 1]
    if y.ndim < 2 or y.shape[-1] != y.shape[axes[-1]]:
        mean = layout.reduce(frame, Op.MEAN, x, (y.ndim - 1,), keep_dims=True)
        return layout.binary(frame, Op.ADD, x, mean), y + y.mean(-1, keepdims=True)
    perm = [*range(y.ndim - 2), y.ndim - 1, y.ndim - 2]
    flipped = layout.transpose(frame, x, perm)
    return layout.binary(frame, Op.ADD, x, flipped), y + y.transpose(perm)


def _reduce(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    axis, keep = int(rng.integers(y.ndim)), bool(rng.random() < 0.5)
    if y.ndim == 1 and not keep:
        return x, y
    found = layout.reduce(frame, Op.REDUCE_MAX, x, (axis,), keep_dims=keep)
    return found, y.max(axis, keepdims=keep)


def _softmax(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    axis = int(rng.integers(y.ndim))
    powers = np.exp(y - y.max(axis, keepdims=True))
    return layout.softmax(frame, Op.SOFTMAX, x, axis), powers / powers.sum(axis, keepdims=True)


def _slice(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    axis = int(rng.integers(y.ndim))
    begin = int(rng.integers(y.shape[axis]))
    size = int(rng.integers(1, y.shape[axis] - begin + 1))
    chosen = layout.slice_axis(frame, x, axis, begin, size)
    return chosen, y.take(range(begin, begin + size), axis)


def _concat(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    axis = int(rng.integers(y.ndim))
    shape = [2 if place == axis else size for place, size in enumerate(y.shape)]
    other = rng.normal(size=shape).astype(np.float32)
    joined = layout.concat(frame, [other, x, x], axis)
    return joined, np.concatenate([other, y, y], axis)


def _gather(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    axis = int(rng.integers(y.ndim))
    shape = (2, 2) if y.ndim < 4 else (3,)
    indices = rng.integers(-y.shape[axis], y.shape[axis], shape)
    return layout.gather(frame, x, axis, indices), y.take(indices, axis)


def _linear(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    weights = rng.normal(size=(3, y.shape[-1])).astype(np.float32)
    return layout.linear(frame, x, weights), y @ weights.T


def _flat_linear(
    rng: np.random.Generator, frame: Frame, x: Operand, y: Array
) -> tuple[Operand, Array]:
    """Axes in another order, merged, and read at once: columns move instead."""
    x, y = _transpose(rng, frame, x, y)
    start = int(rng.integers(y.ndim))
    flat = y.reshape(*y.shape[:start], -1)
    return _linear(rng, frame, layout.flatten(frame, x, start), flat)


def _flat_constant(
    rng: np.random.Generator, frame: Frame, x: Operand, y: Array
) -> tuple[Operand, Array]:
    """Axes in another order, merged, beside a constant: the constant is split and moves."""
    x, y = _transpose(rng, frame, x, y)
    start = int(rng.integers(y.ndim))
    flat = y.reshape(*y.shape[:start], -1)
    return _constant(rng, frame, layout.flatten(frame, x, start), flat)


def _flat_pair(
    rng: np.random.Generator, frame: Frame, x: Operand, y: Array
) -> tuple[Operand, Array]:
    """Two tensors merged alike, which the graph holds in different orders."""
    moved, shares = _softmax(rng, frame, x, y)
    start = int(rng.integers(y.ndim))
    flat, other = layout.flatten(frame, x, start), layout.flatten(frame, moved, start)
    added = layout.binary(frame, Op.ADD, flat, other)
    return added, (y + shares).reshape(*y.shape[:start], -1)


def _pad(rng: np.random.Generator, frame: Frame, x: Operand, y: Array) -> tuple[Operand, Array]:
    amounts = [(int(rng.integers(2)), int(rng.integers(2))) for _ in y.shape]
    return layout.pad(frame, x, amounts, 0.5), np.pad(y, amounts, constant_values=0.5)


STEPS: tuple[Step, ...] = (
    _reshape,
    _reshape,
    _transpose,
    _transpose,
    _unsqueeze,
    _constant,
    _itself,
    _reduce,
    _softmax,
    _slice,
    _concat,
    _gather,
    _linear,
    _flat_linear,
    _flat_linear,
    _flat_constant,
    _flat_constant,
    _flat_pair,
    _flat_pair,
    _pad,
)


@pytest.mark.parametrize("seed", range(150))
def test_random_program_equals_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(rng.choice(_LENGTHS)) for _ in range(rng.integers(1, 5)))
    x = rng.normal(size=shape).astype(np.float32)
    expected: list[Array] = []

    def write(plan: Plan) -> Imported:
        steps = np.random.default_rng(seed)
        frame = Frame("net", [Source("x", shape)], plan)
        value: Operand = frame.input("x")
        actual = x
        for _ in range(_STEPS):
            step = STEPS[int(steps.integers(len(STEPS)))]
            value, actual = step(steps, frame, value, actual)
            assert value.shape == actual.shape
            if math.prod(actual.shape) > 20_000:
                break
        expected.append(actual)
        return frame.finish([("y", value)])

    imported = layout.solve(write)
    check(imported.graph)
    (source,), (sink,) = imported.inputs, imported.outputs
    values = run_all(imported.graph, {source.value: source.to_graph(x)})
    actual = sink.from_graph(values[sink.value])
    np.testing.assert_allclose(actual, expected[-1], rtol=1e-3, atol=1e-4)
