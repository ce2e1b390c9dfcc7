"""Random graphs with branches, joins and float layers: the quantizer's plans always hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import (
    AxisAttrs,
    BinaryAttrs,
    Op,
    PoolAttrs,
    SliceAttrs,
    TransposeAttrs,
)
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import (
    ActivationFormat,
    AdaRoundSettings,
    Recipe,
    Step,
    WeightFormat,
)
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8

RunLiteRt = Callable[..., dict[str, Array]]
SHAPE = (1, 4, 4, 4)


class Drawn:
    """A graph whose nodes read any of the values before them; all have one shape."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.build = GraphBuilder(f"drawn_{seed}", SHAPE)
        self.values = [self.build.input]

    def graph(self) -> Graph:
        for _ in range(int(self.rng.integers(3, 14))):
            self.values.append(self._node())
        return optimize(self.build.finish(self._conv(self.values[-1])))

    def _any(self) -> str:
        return self.values[int(self.rng.integers(len(self.values)))]

    def _one_of(self, *ops: Op) -> Op:
        return ops[int(self.rng.integers(len(ops)))]

    def _conv(self, x: str) -> str:
        channels = self.build.shape(x)[3]
        weights = self.rng.normal(0, 0.4, (4, 3, 3, channels))
        return self.build.conv2d(x, weights, self.rng.normal(size=4), padding=((1, 1), (1, 1)))

    def _constant(self) -> str:
        size = (1, 4)[int(self.rng.integers(2))]
        name = self.build.unique(Op.ADD, f"constant{len(self.values)}")
        return self.build.constant(name, self.rng.normal(size=size).astype(np.float32))

    def _node(self) -> str:
        x, y, node = self._any(), self._any(), self.build.node
        arithmetic = self._one_of(Op.ADD, Op.SUB, Op.MUL)
        bound = self._one_of(Op.MINIMUM, Op.MAXIMUM)
        given = self._one_of(Op.LOGISTIC, Op.TANH, Op.SOFTMAX, Op.LOG_SOFTMAX)
        ways: tuple[Callable[[], str], ...] = (
            lambda: self._conv(x),
            lambda: self._conv(node(Op.CONCATENATION, (x, y, self._any()), AxisAttrs(3))),
            lambda: self._middle(node(Op.CONCATENATION, (x, y), AxisAttrs(2))),
            lambda: node(bound, (x, y)),
            lambda: node(bound, (x, self._constant())),
            lambda: node(given, (x,)),
            lambda: node(arithmetic, (x, y), BinaryAttrs()),
            lambda: node(arithmetic, (x, self._constant()), BinaryAttrs()),
            lambda: node(Op.SQRT, (node(Op.ABS, (x,)),)),
            lambda: node(Op.TRANSPOSE, (x,), TransposeAttrs((0, 2, 1, 3))),
            lambda: self._pooled(x),
        )
        return ways[int(self.rng.integers(len(ways)))]()

    def _middle(self, x: str) -> str:
        return self.build.node(Op.SLICE, (x,), SliceAttrs((0, 0, 2, 0), SHAPE, (1, 1, 1, 1)))

    def _pooled(self, x: str) -> str:
        padded = self.build.pad(x, ((1, 1), (1, 1)))
        return self.build.node(Op.MAX_POOL_2D, (padded,), PoolAttrs((3, 3), (1, 1)))


def drawn_recipe(graph: Graph, rng: np.random.Generator) -> Recipe:
    """Any number formats, steps and float layers."""
    activations = list(ActivationFormat)[int(rng.integers(2))]
    four = activations is ActivationFormat.INT8 and rng.random() < 0.3
    return Recipe(
        activations=activations,
        weights=WeightFormat.INT4 if four else WeightFormat.INT8,
        float_layers=tuple(node.name for node in graph.nodes if rng.random() < 0.1),
        steps=tuple(step for step in Step if rng.random() < 0.3),
        adaround=AdaRoundSettings(iterations=2),
    )


@pytest.mark.parametrize("seed", range(30))
def test_quantized_form_runs_alike_in_litert_when_graph_is_random(
    seed: int, run_litert: RunLiteRt
) -> None:
    graph, rng = Drawn(seed).graph(), np.random.default_rng([seed, 1])
    recipe = drawn_recipe(graph, rng)
    calibration, x = (rng.normal(0.2, 1.0, (n, *SHAPE[1:])).astype(np.float32) for n in (40, 4))
    done = quantize_by(graph, calibration, recipe)
    quantized = done.int8_graph
    codes = quantize_input(quantized, x)
    found = run_int8(quantized, codes)
    model = emit_tflite(quantized)
    theirs = np.concatenate(
        [run_litert(model, sample[None])[quantized.outputs[0]] for sample in codes]
    )
    # LiteRT's float kernels may round a layer in float32 across the border of a code.
    largest = 2 if done.plan.floating else 0
    assert np.abs(found.astype(int) - theirs.astype(int)).max() <= largest
    exact = run_float(graph, x)
    error = dequantize_output(quantized, found) - exact
    rms = float(np.sqrt(np.mean(error**2) / np.mean(exact**2)))
    assert rms < (0.8 if recipe.weights is WeightFormat.INT4 else 0.2)
