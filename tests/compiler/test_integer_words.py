"""Before quantization, divisions and sums become words that integers have."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.int_kernels import INT16_KERNELS
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Activation, BinaryAttrs, Op, ReduceAttrs
from edgekiln.compiler.passes.integer_words import say_in_integer_words
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import DEFAULT_RECIPE, ActivationFormat
from edgekiln.compiler.reference import run_int8_all

SHAPE = (1, 5, 6, 4)


def divided(divisor: list[float], *, turned: bool = False) -> Graph:
    build = GraphBuilder("divided", SHAPE)
    name = build.constant("divisor", np.array(divisor, np.float32))
    operands = (name, build.input) if turned else (build.input, name)
    return build.finish(build.node(Op.DIV, operands, BinaryAttrs(Activation.RELU)))


def summed(axes: tuple[int, ...], keep_dims: bool) -> Graph:
    build = GraphBuilder("summed", SHAPE)
    return build.finish(build.node(Op.SUM, (build.input,), ReduceAttrs(axes, keep_dims)))


def activated(op: Op) -> Graph:
    build = GraphBuilder("activated", SHAPE)
    operands = [build.input]
    if op is Op.PRELU:
        operands.append(build.constant("slopes", np.array([0.3, -0.7, 1.5, 0.0], np.float32)))
    return build.finish(build.node(op, tuple(operands)))


GRAPHS = {
    "division": divided([0.3, -7.0, 3.0, 1e-3]),
    "division_by_one_number": divided([3.0]),
    "sum": summed((1, 2), False),
    "sum_kept": summed((3,), True),
    "hard_swish": activated(Op.HARD_SWISH),
    "prelu": activated(Op.PRELU),
}


def samples(seed: int, count: int = 40) -> Array:
    return np.random.default_rng(seed).normal(0.3, 1, (count, *SHAPE[1:])).astype(np.float32)


@pytest.mark.parametrize("name", GRAPHS)
def test_words_keep_the_function_when_operators_are_replaced(name: str) -> None:
    graph = GRAPHS[name]
    said = say_in_integer_words(graph, DType.INT16)
    check(said)
    assert all(node.op in INT16_KERNELS for node in said.nodes)
    assert all(node.op is not Op.DIV for node in said.nodes)
    assert graph.nodes[0].name in {node.name for node in said.nodes}
    assert said.outputs == graph.outputs
    expected = run_float(graph, samples(0))
    limit = 1e-6 * np.abs(expected).max()
    assert np.abs(run_float(said, samples(0)) - expected).max() <= limit


@pytest.mark.parametrize("graph", [divided([1.0, 0.0, 2.0, 1.0]), divided([2.0], turned=True)])
def test_division_stays_when_there_is_no_reciprocal(graph: Graph) -> None:
    assert say_in_integer_words(graph, DType.INT8).nodes == graph.nodes


@pytest.mark.parametrize("op", [Op.HARD_SWISH, Op.PRELU])
def test_activations_stay_when_int8_has_them(op: Op) -> None:
    graph = activated(op)
    assert say_in_integer_words(graph, DType.INT8).nodes == graph.nodes


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("form", [ActivationFormat.INT8, ActivationFormat.INT16])
def test_quantized_words_equal_litert_and_stay_near_the_floats(
    name: str, form: ActivationFormat, run_litert: Callable[..., dict[str, Array]]
) -> None:
    graph = GRAPHS[name]
    recipe = msgspec.structs.replace(DEFAULT_RECIPE, activations=form)
    quantized = quantize_by(graph, samples(1), recipe).int8_graph
    assert DType.FLOAT32 not in {value.dtype for value in quantized.values.values()}
    quant, dtype = quantized.input.quant, quantized.input.dtype
    assert quant is not None
    limits = np.iinfo(dtype.numpy)
    x = samples(1, 8)
    codes = np.rint(x / np.float32(quant.scale[0])) + quant.zero_point[0]
    batch = np.clip(codes, limits.min, limits.max).astype(dtype.numpy)
    theirs = run_litert(emit_tflite(quantized), batch)
    ours = run_int8_all(quantized, batch)
    for value, data in ours.items():
        np.testing.assert_array_equal(data, theirs[value])
    output = quantized.output.quant
    assert output is not None
    real = (ours[quantized.outputs[0]].astype(float) - output.zero_point[0]) * output.scale[0]
    expected = run_float(graph, x)
    tolerance = 0.03 if dtype is DType.INT8 else 2e-4
    assert np.abs(real - expected).max() <= tolerance * np.abs(expected).max()
