"""Equalization: the float function stays, and a badly scaled net is good in int8 again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.equalize import equalize, find_pairs
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize, quantize_by
from edgekiln.compiler.recipe import DEFAULT_RECIPE, Recipe, Step
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8

EQUALIZED = Recipe(steps=(Step.EQUALIZE,))


def separable(activation: Activation = Activation.RELU, seed: int = 0) -> Graph:
    """conv → depthwise → conv → mean → dense, channels of one range."""
    rng = np.random.default_rng(seed)
    same = ((1, 1), (1, 1))
    build = GraphBuilder("separable", (1, 8, 8, 2))
    x = build.conv2d(
        build.input, rng.normal(0, 0.3, (8, 3, 3, 2)), padding=same, activation=activation
    )
    x = build.depthwise_conv2d(
        x, rng.normal(0, 0.4, (1, 3, 3, 8)), np.full(8, 0.1), padding=same, activation=activation
    )
    x = build.conv2d(x, rng.normal(0, 0.4, (12, 1, 1, 8)), activation=activation)
    x = build.fully_connected(build.mean(x), rng.normal(0, 1, (6, 12)))
    return optimize(build.finish(x))


def unbalanced(graph: Graph, seed: int = 1) -> Graph:
    """The same function with channel c of each first layer times 4^-4 … 4^4."""
    values = dict(graph.values)
    rng = np.random.default_rng(seed)
    for pair in find_pairs(graph):
        weights, bias = (values[name] for name in pair.first.inputs[1:])
        after = values[pair.second.inputs[1]]
        assert weights.data is not None
        assert bias.data is not None
        assert after.data is not None
        factors = (4.0 ** rng.integers(-4, 5, len(bias.data))).astype(np.float32)
        own = factors if pair.first.op == "depthwise_conv2d" else None
        along = factors if own is not None else factors.reshape(-1, *[1] * (weights.data.ndim - 1))
        changed = (weights.data * along, bias.data * factors, after.data / factors)
        for value, data in zip((weights, bias, after), changed, strict=True):
            values[value.name] = dataclasses.replace(value, data=data)
    return graph.replace(values=values.values())


def samples(graph: Graph, count: int = 256) -> Array:
    shape = (count, *graph.input.shape[1:])
    return np.random.default_rng(7).random(shape, np.float32)


def flips(graph: Graph, int8: Graph, x: Array) -> float:
    answers = run_int8(int8, quantize_input(int8, x)).argmax(axis=1)
    return float((answers != run_float(graph, x).argmax(axis=1)).mean())


def error(graph: Graph, int8: Graph, x: Array) -> float:
    found = dequantize_output(int8, run_int8(int8, quantize_input(int8, x)))
    return float(np.mean((found - run_float(graph, x)) ** 2))


@pytest.mark.parametrize("seed", range(30))
def test_float_function_stays_when_equalized(
    seed: int, random_graph: Callable[[int], Graph], draw_samples: Callable[..., Array]
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 16, seed)
    done = equalize(graph, DEFAULT_RECIPE)
    check(done)
    wanted = run_float(graph, x)
    np.testing.assert_allclose(run_float(done, x), wanted, rtol=1e-4, atol=1e-4)


def test_float_function_stays_when_channels_were_badly_scaled() -> None:
    graph = unbalanced(separable())
    x = samples(graph)
    np.testing.assert_allclose(
        run_float(equalize(graph, DEFAULT_RECIPE), x), run_float(graph, x), rtol=1e-5, atol=1e-5
    )


def test_int8_accuracy_comes_back_when_a_badly_scaled_depthwise_net_is_equalized() -> None:
    balanced = separable()
    graph, x = unbalanced(balanced), samples(balanced)
    good, bad = quantize(balanced, x), quantize(graph, x)
    mended = quantize_by(graph, x, EQUALIZED).int8_graph
    assert error(graph, bad, x) > 20 * error(graph, good, x)
    assert error(graph, mended, x) < 4 * error(graph, good, x)
    assert flips(graph, bad, x) > 0.15
    assert flips(graph, mended, x) < 0.05


def test_second_run_changes_nothing_when_already_equalized() -> None:
    once = equalize(unbalanced(separable()), DEFAULT_RECIPE)
    twice = equalize(once, DEFAULT_RECIPE)
    for name, value in once.values.items():
        if value.data is not None:
            np.testing.assert_array_equal(twice.constant(name), value.data)


def test_nothing_is_scaled_through_relu6() -> None:
    graph = separable(Activation.RELU6)
    assert list(find_pairs(graph)) == []


def test_channels_are_followed_when_an_image_is_flattened() -> None:
    rng = np.random.default_rng(3)
    build = GraphBuilder("flat", (1, 4, 4, 1))
    scale = (10.0 ** np.arange(-3, 3)).reshape(-1, 1, 1, 1)
    x = build.conv2d(
        build.input, rng.normal(0, 1, (6, 3, 3, 1)) * scale, activation=Activation.RELU
    )
    x = build.reshape(build.max_pool2d(x, (1, 1), (1, 1)), (1, 24))
    graph = optimize(build.finish(build.fully_connected(x, rng.normal(0, 1, (3, 24)))))
    assert len(list(find_pairs(graph))) == 1
    done, data = equalize(graph, DEFAULT_RECIPE), samples(graph, 20)
    np.testing.assert_allclose(run_float(done, data), run_float(graph, data), rtol=1e-5)
    heights = np.abs(done.constant(done.nodes[0].inputs[1])).max(axis=(1, 2, 3))
    assert heights.max() / heights.min() < 1000


def test_kept_layers_stay_as_they_are_when_equalized() -> None:
    graph = unbalanced(separable())
    first = next(find_pairs(graph)).first
    done = equalize(graph, Recipe(keep=(first.name,)))
    for name in first.inputs[1:]:
        np.testing.assert_array_equal(done.constant(name), graph.constant(name))
