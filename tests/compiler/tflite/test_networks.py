"""Whole networks of windows, products and moves: quantized, written, and read back, to the byte."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import (
    Activation,
    AxisAttrs,
    ConvAttrs,
    DenseAttrs,
    MatmulAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe, WeightFormat

ONE = ((1, 1), (1, 1))
RunSamples = Callable[..., tuple[Array, ...]]


class Network(GraphBuilder):
    """A builder that draws its weights."""

    def __init__(self, name: str, shape: tuple[int, ...], seed: int) -> None:
        super().__init__(name, shape)
        self._rng = np.random.default_rng(seed)

    def drawn(self, *shape: int) -> Array:
        spread = 1.0 / np.sqrt(np.prod(shape[1:]))
        return self._rng.normal(0, spread, shape).astype(np.float32)

    def weighted(
        self, op: Op, x: str, shape: tuple[int, ...], attrs: ConvAttrs | DenseAttrs
        | TransposeConvAttrs, axis: int = 0,
    ) -> str:  # fmt: skip
        operands = (
            x,
            self.constant(self.unique(op, "weights"), self.drawn(*shape)),
            self.constant(self.unique(op, "bias"), self.drawn(shape[axis])),
        )
        return self.node(op, operands, attrs)


def segmenter(seed: int) -> Graph:
    """Down by grouped and multiplying convolutions and a padded pool, up by three ways."""
    net = Network("segmenter", (1, 13, 11, 3), seed)
    relu = Activation.RELU
    x = net.weighted(Op.CONV_2D, net.input, (8, 3, 3, 3), ConvAttrs((2, 2), ONE, activation=relu))
    skip = x
    x = net.weighted(Op.CONV_2D, x, (8, 3, 3, 2), ConvAttrs(padding=ONE))
    x = net.weighted(Op.DEPTHWISE_CONV_2D, x, (1, 3, 3, 16), ConvAttrs(padding=ONE), axis=3)
    x = net.node(Op.MAX_POOL_2D, (x,), PoolAttrs((3, 3), (2, 2), ONE))
    pooled = net.node(Op.AVERAGE_POOL_2D, (x,), PoolAttrs((3, 3), (2, 2), ONE))
    up = net.node(Op.RESIZE_NEAREST_NEIGHBOR, (pooled,), ResizeAttrs((4, 3)))
    x = net.node(Op.CONCATENATION, (x, up), AxisAttrs(3))
    cut = TransposeConvAttrs((2, 2), ((1, 0), (0, 1)), relu)
    x = net.weighted(Op.TRANSPOSE_CONV, x, (8, 2, 3, 32), cut)
    skip = net.node(Op.RESIZE_BILINEAR, (skip,), ResizeAttrs((7, 6), half_pixel_centers=True))
    x = net.node(Op.CONCATENATION, (x, skip), AxisAttrs(3))
    x = net.node(Op.PAD, (x,), PadAttrs(((0, 0), (1, 0), (0, 1), (0, 0)), 0.5))
    return optimize(net.finish(net.weighted(Op.CONV_2D, x, (4, 1, 1, 16), ConvAttrs())))


def attention(seed: int) -> Graph:
    """Two heads over slices of a sequence, with products of computed operands."""
    net = Network("attention", (1, 6, 8), seed)
    x = net.weighted(Op.FULLY_CONNECTED, net.input, (24, 8), DenseAttrs())

    def heads(place: int) -> str:
        attrs = SliceAttrs((0, 0, 8 * place), (1, 6, 8), (1, 1, 1))
        part = net.reshape(net.node(Op.SLICE, (x,), attrs), (1, 6, 2, 4))
        return net.node(Op.TRANSPOSE, (part,), TransposeAttrs((0, 2, 1, 3)))

    query, key, value = heads(0), heads(1), heads(2)
    scores = net.node(Op.BATCH_MATMUL, (query, key), MatmulAttrs(transpose_b=True))
    shares = net.node(Op.SOFTMAX, (scores,))
    mixed = net.node(Op.BATCH_MATMUL, (shares, value), MatmulAttrs())
    mixed = net.node(Op.TRANSPOSE, (mixed,), TransposeAttrs((0, 2, 1, 3)))
    mixed = net.reshape(mixed, (1, 6, 8))
    y = net.weighted(Op.FULLY_CONNECTED, mixed, (8, 8), DenseAttrs(Activation.RELU))
    kept = net.constant("kept", np.array([0, 5, 2]))
    y = net.node(Op.GATHER, (y, kept), AxisAttrs(1))
    y = net.node(Op.SLICE, (y,), SliceAttrs((0, 2, 7), (1, 3, 4), (1, -1, -2)))
    return optimize(net.finish(net.reshape(y, (1, 12))))


RECIPES = {
    "int8": Recipe(),
    "int16": Recipe(activations=ActivationFormat.INT16),
    "int4": Recipe(weights=WeightFormat.INT4),
    "float16": Recipe(activations=ActivationFormat.FLOAT32, weights=WeightFormat.FLOAT16),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("make", [segmenter, attention])
def test_network_gives_the_bytes_of_litert_when_it_is_written_and_read(
    make: Callable[[int], Graph],
    recipe: str,
    seed: int,
    draw_samples: Callable[..., Array],
    run_litert_samples: RunSamples,
) -> None:
    graph = make(seed)
    quantized = quantize_by(graph, draw_samples(graph, 64, seed), RECIPES[recipe]).int8_graph
    entry, end = quantized.inputs[0], quantized.outputs[0]
    x = draw_samples(graph, 6, seed + 10)
    quant = quantized.input.quant
    if quant is not None:
        limits = np.iinfo(quantized.input.dtype.numpy)
        codes = np.rint(x / quant.scale[0]) + quant.zero_point[0]
        x = np.clip(codes, limits.min, limits.max).astype(limits.dtype)
    data = emit_tflite(quantized)
    actual = run_all(quantized, {entry: x})[end]
    expected = run_litert_samples(data, {entry: x})[0]
    imported = import_tflite(data, "again")
    again = run_all(imported, {entry: x})[end]
    bound = 2e-5 if recipe == "float16" else 0
    assert len(np.unique(actual)) > 20
    assert np.abs(actual.astype(np.float64) - expected).max() <= bound
    assert np.abs(actual.astype(np.float64) - again).max() <= bound
    fast = run_litert_samples(data, {entry: x}, "auto")[0]
    spread = float(np.ptp(actual.astype(np.float64)))
    assert np.abs(fast.astype(np.float64) - actual).max() <= 0.05 * spread
