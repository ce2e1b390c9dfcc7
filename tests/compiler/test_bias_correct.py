"""Bias correction: the mean of the output is where the float model has it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.bias_correct import correct_biases
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.decide import decide
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import observe, quantize, quantize_by
from edgekiln.compiler.recipe import DEFAULT_RECIPE, Recipe, Step
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8

CORRECTED = Recipe(steps=(Step.BIAS_CORRECT,))


def biased() -> Graph:
    """A depthwise net whose wide channels make rounding of the narrow ones lopsided."""
    rng = np.random.default_rng(5)
    same = ((1, 1), (1, 1))
    build = GraphBuilder("biased", (1, 8, 8, 1))
    scale = 10.0 ** rng.uniform(-2, 1, 8)
    x = build.conv2d(
        build.input,
        rng.normal(0, 1, (8, 3, 3, 1)) * scale.reshape(-1, 1, 1, 1),
        padding=same,
        activation=Activation.RELU,
    )
    x = build.depthwise_conv2d(
        x, np.abs(rng.normal(0, 1, (1, 3, 3, 8))) / scale, padding=same, activation=Activation.RELU
    )
    return optimize(build.finish(build.fully_connected(build.mean(x), rng.normal(0, 1, (5, 8)))))


def mean_error(graph: Graph, int8: Graph, x: Array) -> float:
    found = dequantize_output(int8, run_int8(int8, quantize_input(int8, x)))
    return float(np.abs((found - run_float(graph, x)).mean(axis=0)).max())


def samples(graph: Graph, seed: int, count: int = 256) -> Array:
    return np.random.default_rng(seed).random((count, *graph.input.shape[1:]), np.float32)


@pytest.mark.parametrize("seed", [1, 2])
def test_mean_output_error_shrinks_when_biases_are_corrected(seed: int) -> None:
    graph = biased()
    x, fresh = samples(graph, 0), samples(graph, seed)
    plain, mended = quantize(graph, x), quantize_by(graph, x, CORRECTED).int8_graph
    step = params(plain, plain.outputs[0]).scale[0]
    assert mean_error(graph, plain, x) > 1.5 * step
    assert mean_error(graph, mended, x) < step / 2
    assert mean_error(graph, mended, fresh) < mean_error(graph, plain, fresh) / 2


@pytest.mark.parametrize("seed", range(15))
def test_only_biases_change_when_corrected(
    seed: int, random_graph: Callable[[int], Graph], draw_samples: Callable[..., Array]
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 64, seed)
    plain, mended = quantize(graph, x), quantize_by(graph, x, CORRECTED).int8_graph
    biases = {node.inputs[2] for node in graph.nodes if len(node.inputs) == 3}
    for name, value in plain.values.items():
        assert mended.values[name].quant == value.quant
        if value.data is not None and name not in biases:
            np.testing.assert_array_equal(mended.constant(name), value.data)


def test_kept_layers_stay_as_they_are_when_corrected() -> None:
    graph = biased()
    x = samples(graph, 0)
    plan = decide(graph, observe(graph, x))
    done = correct_biases(graph, plan, x, Recipe(keep=("*",)), graph)
    for name, value in graph.values.items():
        if value.data is not None:
            np.testing.assert_array_equal(done.constant(name), value.data)


def test_few_samples_are_enough_when_data_is_long() -> None:
    graph = biased()
    x = samples(graph, 0, 2000)
    plan = decide(graph, observe(graph, x))
    few = correct_biases(
        graph, plan, x[np.linspace(0, 1999, 256).astype(int)], DEFAULT_RECIPE, graph
    )
    many = correct_biases(graph, plan, x, DEFAULT_RECIPE, graph)
    for node in graph.nodes[:1]:
        np.testing.assert_array_equal(few.constant(node.inputs[2]), many.constant(node.inputs[2]))
