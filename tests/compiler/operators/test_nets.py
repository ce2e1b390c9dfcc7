"""Networks of drawn operators: what quantization chooses, LiteRT computes byte for byte."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import (
    Activation,
    BinaryAttrs,
    GeluAttrs,
    LeakyAttrs,
    NoAttrs,
    Op,
    ReduceAttrs,
)
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import DEFAULT_RECIPE, ActivationFormat

SHAPE = (1, 6, 7, 4)
PLAIN = (Op.RELU, Op.RELU6, Op.HARD_SWISH, Op.LOGISTIC, Op.TANH, Op.ABS, Op.SOFTMAX)


def drawn_net(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("net", SHAPE)
    values = [build.input]
    for _ in range(rng.integers(3, 10)):
        layer = LAYERS[rng.integers(len(LAYERS))]
        values.append(layer(rng, build, values))
    return optimize(build.finish(values[-1]))


def _arithmetic(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    x = values[-1]
    alike = [name for name in values if build.shape(name) == build.shape(x)]
    other = alike[rng.integers(len(alike))] if rng.random() < 0.5 else _constant(rng, build, x)
    attrs = BinaryAttrs(list(Activation)[rng.integers(3)])
    return build.node((Op.ADD, Op.SUB, Op.MUL)[rng.integers(3)], (x, other), attrs)


def _choice(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    op = (Op.MINIMUM, Op.MAXIMUM)[rng.integers(2)]
    return build.node(op, (values[-1], _constant(rng, build, values[-1])))


def _plain(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    return build.node(PLAIN[rng.integers(len(PLAIN))], (values[-1],), NoAttrs())


def _leaky(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    return build.node(Op.LEAKY_RELU, (values[-1],), LeakyAttrs(float(rng.normal(0, 0.5))))


def _gelu(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    return build.node(Op.GELU, (values[-1],), GeluAttrs(bool(rng.integers(2))))


def _prelu(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    return build.node(Op.PRELU, (values[-1], _constant(rng, build, values[-1])))


def _exp(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    return build.node(Op.EXP, (build.node(Op.TANH, (values[-1],)),))


def _float_island(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    """Neither has a quantized form."""
    if rng.random() < 0.5:
        return build.node(Op.SQRT, (build.node(Op.ABS, (values[-1],)),))
    shape = build.shape(values[-1])[-1:]
    divisor = build.constant(
        build.unique(Op.DIV, "divisor"), rng.uniform(0.5, 2, shape).astype(np.float32)
    )
    return build.node(Op.DIV, (values[-1], divisor), BinaryAttrs())


def _reduction(rng: np.random.Generator, build: GraphBuilder, values: list[str]) -> str:
    rank = len(build.shape(values[-1]))
    if rank == 2:
        return _plain(rng, build, values)
    attrs = ReduceAttrs((int(rng.integers(1, rank)),), bool(rng.integers(2)))
    return build.node((Op.MEAN, Op.REDUCE_MAX)[rng.integers(2)], (values[-1],), attrs)


def _constant(rng: np.random.Generator, build: GraphBuilder, x: str) -> str:
    data = rng.normal(0, 1, build.shape(x)[-1:]).astype(np.float32)
    return build.constant(build.unique(Op.ADD, "constant"), data)


LAYERS = (
    *(_arithmetic, _arithmetic, _choice, _plain, _leaky),
    *(_gelu, _prelu, _exp, _reduction, _float_island),
)


@pytest.mark.parametrize("form", [ActivationFormat.INT8, ActivationFormat.INT16])
@pytest.mark.parametrize("seed", range(30))
def test_every_tensor_equals_litert_when_a_net_is_quantized(
    seed: int, form: ActivationFormat, run_reference: Callable[[bytes, Array], dict[str, Array]]
) -> None:
    rng = np.random.default_rng(seed)
    graph = drawn_net(rng)
    samples = rng.normal(0, 1, (32, *SHAPE[1:])).astype(np.float32)
    recipe = msgspec.structs.replace(DEFAULT_RECIPE, activations=form)
    quantized = quantize_by(graph, samples, recipe).int8_graph
    entry = quantized.input
    batch = samples[:6]
    if entry.dtype is not DType.FLOAT32:
        limits = np.iinfo(entry.dtype.numpy)
        batch = rng.integers(limits.min, limits.max + 1, batch.shape).astype(entry.dtype.numpy)
    model = emit_tflite(quantized)
    ours, theirs = run_all(quantized, {entry.name: batch}), run_reference(model, batch)
    for name, data in ours.items():
        if data.dtype.kind == "i":
            np.testing.assert_array_equal(data, theirs[name], err_msg=name)
    again = import_tflite(model, "again")
    assert len(again.nodes) == len(quantized.nodes)
    found = run_all(again, {again.inputs[0]: batch})[again.outputs[0]]
    np.testing.assert_array_equal(found, ours[quantized.outputs[0]])
