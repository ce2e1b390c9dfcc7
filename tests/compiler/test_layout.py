"""The NCHW front end against torch: numbers, and how little it moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array
from edgekiln.compiler.importers import layout
from edgekiln.compiler.importers.layout import Frame, Imported, Operand, Plan, Source, Window
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Op

Body = Callable[[Frame, Operand], Operand]
_WINDOW = Window((1, 1), ((1, 1), (1, 1)), (1, 1))


def _imported(shape: Sequence[int], body: Body) -> Imported:
    def write(plan: Plan) -> Imported:
        frame = Frame("net", [Source("x", tuple(shape))], plan)
        return frame.finish([("y", body(frame, frame.input("x")))])

    return layout.solve(write)


def _run(imported: Imported, x: Array) -> Array:
    check(imported.graph)
    (source,), (sink,) = imported.inputs, imported.outputs
    values = run_all(imported.graph, {source.value: source.to_graph(x)})
    return sink.from_graph(values[sink.value])


def _transposes(imported: Imported) -> int:
    return sum(node.op is Op.TRANSPOSE for node in imported.graph.nodes)


def _random(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_conv_flatten_linear_equals_torch_without_transpose() -> None:
    x, kernel, matrix = _random(0, 2, 3, 5, 4), _random(1, 6, 3, 3, 3), _random(2, 7, 6 * 5 * 4)

    def body(frame: Frame, x: Operand) -> Operand:
        x = layout.conv(frame, x, kernel, None, _WINDOW)
        return layout.linear(frame, layout.flatten(frame, x), matrix)

    imported = _imported((1, 3, 5, 4), body)
    expected = functional.conv2d(torch.tensor(x), torch.tensor(kernel), padding=1)
    expected = expected.flatten(1) @ torch.tensor(matrix).T
    np.testing.assert_allclose(_run(imported, x), expected, rtol=1e-4, atol=1e-4)
    assert imported.inputs[0].graph_shape == (1, 5, 4, 3)
    assert _transposes(imported) == 0


def test_conv_of_a_row_equals_torch_and_reads_channels_last() -> None:
    x, kernel = _random(0, 2, 3, 9), _random(1, 4, 3, 3)
    window = Window((2,), ((1, 1),), (1,))
    imported = _imported((1, 3, 9), lambda frame, x: layout.conv(frame, x, kernel, None, window))
    expected = functional.conv1d(torch.tensor(x), torch.tensor(kernel), stride=2, padding=1)
    np.testing.assert_allclose(_run(imported, x), expected, rtol=1e-4, atol=1e-5)
    assert imported.inputs[0].order == (2, 1)
    assert _transposes(imported) == 0


def test_patches_become_tokens_without_transpose() -> None:
    x, kernel, matrix = _random(0, 1, 3, 8, 8), _random(1, 6, 3, 4, 4), _random(2, 5, 6)

    def body(frame: Frame, x: Operand) -> Operand:
        x = layout.conv(frame, x, kernel, None, Window((4, 4), ((0, 0), (0, 0)), (1, 1)))
        x = layout.transpose(frame, layout.flatten(frame, x, 2), (0, 2, 1))
        return layout.linear(frame, x, matrix)

    imported = _imported((1, 3, 8, 8), body)
    patches = functional.conv2d(torch.tensor(x), torch.tensor(kernel), stride=4)
    expected = patches.flatten(2).transpose(1, 2) @ torch.tensor(matrix).T
    np.testing.assert_allclose(_run(imported, x), expected, rtol=1e-4, atol=1e-4)
    assert _transposes(imported) == 0


def test_channel_shuffle_costs_one_transpose() -> None:
    x, kernel = _random(0, 1, 6, 4, 4), _random(1, 6, 6, 3, 3)

    def body(frame: Frame, x: Operand) -> Operand:
        x = layout.conv(frame, x, kernel, None, _WINDOW)
        x = layout.transpose(frame, layout.reshape(frame, x, (1, 2, 3, 4, 4)), (0, 2, 1, 3, 4))
        return layout.conv(frame, layout.reshape(frame, x, (1, 6, 4, 4)), kernel, None, _WINDOW)

    imported = _imported((1, 6, 4, 4), body)
    first = functional.conv2d(torch.tensor(x), torch.tensor(kernel), padding=1)
    mixed = first.reshape(1, 2, 3, 4, 4).transpose(1, 2).reshape(1, 6, 4, 4)
    expected = functional.conv2d(mixed, torch.tensor(kernel), padding=1)
    np.testing.assert_allclose(_run(imported, x), expected, rtol=1e-3, atol=1e-3)
    assert _transposes(imported) == 1


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (5,), (2, 2, 3, 4)])
@pytest.mark.parametrize("axis", [0, -1])
def test_softmax_equals_torch_along_any_axis(shape: tuple[int, ...], axis: int) -> None:
    x = _random(3, *shape)
    imported = _imported(
        shape, lambda frame, x: layout.softmax(frame, Op.SOFTMAX, x, axis % len(shape))
    )
    expected = torch.softmax(torch.tensor(x), axis)
    np.testing.assert_allclose(_run(imported, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "other", [(), (1,), (4,), (3, 1, 4), (1, 4), (2, 3, 5, 4), (3, 5, 4), (2, 1, 1, 1)]
)
def test_addition_broadcasts_constants_as_numpy_does(other: tuple[int, ...]) -> None:
    x, constant = _random(0, 2, 3, 5, 4), _random(1, *other)
    imported = _imported(x.shape, lambda frame, x: layout.binary(frame, Op.SUB, constant, x))
    np.testing.assert_allclose(_run(imported, x), constant - x, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "perm", "after"),
    [
        ((2, 3, 4, 5), (0, 2, 3, 1), (2, 60)),
        ((2, 3, 4, 5), (3, 1, 2, 0), (15, 8)),
        ((1, 6, 4), (0, 2, 1), (1, 3, 8)),
        ((1, 6, 4), (2, 0, 1), (3, 2, 4)),
        ((4, 6), (1, 0), (8, 3)),
        ((1, 2, 1, 3), (1, 3, 0, 2), (6,)),
    ],
)
def test_views_equal_numpy_when_elements_must_move(
    shape: tuple[int, ...], perm: tuple[int, ...], after: tuple[int, ...]
) -> None:
    x = _random(0, *shape)

    def body(frame: Frame, x: Operand) -> Operand:
        first = layout.reshape(frame, layout.transpose(frame, x, perm), after)
        return layout.unary(frame, Op.TANH, first)

    expected = np.tanh(x.transpose(perm).reshape(after))
    np.testing.assert_allclose(_run(_imported(shape, body), x), expected, rtol=1e-6)


def test_concatenation_takes_layout_of_images() -> None:
    x, kernel, constant = _random(0, 1, 3, 4, 4), _random(1, 2, 3, 3, 3), _random(2, 1, 5, 4, 4)

    def body(frame: Frame, x: Operand) -> Operand:
        first = layout.conv(frame, x, kernel, None, _WINDOW)
        pooled = layout.reduce(frame, Op.REDUCE_MAX, x, (1,), keep_dims=True)
        return layout.concat(frame, [first, constant, pooled], 1)

    imported = _imported((1, 3, 4, 4), body)
    first = functional.conv2d(torch.tensor(x), torch.tensor(kernel), padding=1).numpy()
    expected = np.concatenate([first, constant, x.max(1, keepdims=True)], 1)
    np.testing.assert_allclose(_run(imported, x), expected, rtol=1e-4, atol=1e-5)
    assert _transposes(imported) == 0


@pytest.mark.parametrize(
    ("a", "b"), [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((4,), (4, 5)), ((2, 1, 3, 4), (4, 4))]
)
def test_product_of_two_inputs_equals_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    def write(plan: Plan) -> Imported:
        frame = Frame("net", [Source("a", a), Source("b", b)], plan)
        return frame.finish([("y", layout.matmul(frame, frame.input("a"), frame.input("b")))])

    imported = layout.solve(write)
    check(imported.graph)
    arrays = {"a": _random(0, *a), "b": _random(1, *b)}
    feeds = {port.value: port.to_graph(arrays[port.name]) for port in imported.inputs}
    (sink,) = imported.outputs
    y = sink.from_graph(run_all(imported.graph, feeds)[sink.value])
    np.testing.assert_allclose(y, arrays["a"] @ arrays["b"], rtol=1e-4, atol=1e-5)


def test_attention_splits_heads_as_torch_does() -> None:
    x, matrix = _random(0, 1, 5, 8), _random(1, 24, 8)

    def body(frame: Frame, x: Operand) -> Operand:
        mixed = layout.linear(frame, x, matrix)
        q, k, v = (
            layout.transpose(frame, layout.reshape(frame, part, (1, 5, 2, 4)), (0, 2, 1, 3))
            for part in layout.split(frame, mixed, 2, (8, 8, 8))
        )
        scores = layout.matmul(frame, q, layout.transpose(frame, k, (0, 1, 3, 2)))
        shares = layout.softmax(frame, Op.SOFTMAX, scores, -1)
        heads = layout.transpose(frame, layout.matmul(frame, shares, v), (0, 2, 1, 3))
        return layout.reshape(frame, heads, (1, 5, 8))

    q, k, v = (
        part.reshape(1, 5, 2, 4).transpose(1, 2)
        for part in (torch.tensor(x) @ torch.tensor(matrix).T).split(8, -1)
    )
    heads = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
    expected = heads.transpose(1, 2).reshape(1, 5, 8)
    np.testing.assert_allclose(_run(_imported((1, 5, 8), body), x), expected, rtol=1e-4, atol=1e-5)
