"""Encodings that hang together: who joins whom, and where a conversion is needed."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.apply import apply
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.copies import own_constants
from edgekiln.compiler.decide import decide
from edgekiln.compiler.graph import Array, DType, Graph, QuantParams
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import AxisAttrs, DenseAttrs, Op, PadAttrs, PoolAttrs
from edgekiln.compiler.quant_rules import FIXED_OUTPUTS
from edgekiln.compiler.quantize import observe, quantize, quantize_by
from edgekiln.compiler.recipe import DEFAULT_RECIPE, LayerOverride, Recipe, WeightFormat
from edgekiln.compiler.sharing import share

SIZE = 5
LAST = AxisAttrs(1)


def dense(build: GraphBuilder, x: str, gain: float = 1.0) -> str:
    rng = np.random.default_rng(len(x))
    return build.fully_connected(x, gain * rng.normal(size=(SIZE, build.shape(x)[1])))


def start() -> GraphBuilder:
    return GraphBuilder("net", (1, SIZE))


def samples(count: int = 64) -> Array:
    return np.random.default_rng(0).normal(size=(count, SIZE)).astype(np.float32)


def conversions(graph: Graph) -> list[str]:
    return [node.inputs[0] for node in graph.nodes if node.op is Op.QUANTIZE]


def quant(graph: Graph, name: str) -> QuantParams:
    found = graph.values[name].quant
    assert found is not None
    return found


def test_operands_take_one_encoding_over_all_ranges_when_nobody_else_reads_them() -> None:
    build = start()
    small, large = dense(build, build.input), dense(build, build.input, 20.0)
    joined = build.node(Op.CONCATENATION, (small, large), LAST)
    graph = build.finish(joined)
    int8 = quantize(graph, samples())
    assert conversions(int8) == []
    assert quant(int8, small) == quant(int8, large) == quant(int8, joined)
    values = run_float(graph, samples())
    low, high = float(min(values.min(), 0)), float(max(values.max(), 0))
    assert quant(int8, joined).scale[0] == pytest.approx((high - low) / 255, rel=1e-6)


def test_operand_keeps_its_encoding_and_is_converted_when_it_is_read_elsewhere() -> None:
    build = start()
    small, large = dense(build, build.input), dense(build, build.input, 20.0)
    joined = build.node(Op.CONCATENATION, (small, large), LAST)
    other = dense(build, small)
    graph = build.finish(build.node(Op.CONCATENATION, (joined, other), LAST))
    int8 = quantize(graph, samples())
    assert conversions(int8) == [small]
    assert quant(int8, small).scale[0] < quant(int8, large).scale[0] / 5
    assert quant(int8, large) == quant(int8, joined) == quant(int8, other)


def test_input_and_given_encodings_are_converted_when_they_are_operands() -> None:
    build = start()
    free, given = dense(build, build.input), build.node(Op.LOGISTIC, (dense(build, build.input),))
    graph = build.finish(build.node(Op.CONCATENATION, (build.input, free, given), LAST))
    int8 = quantize(graph, samples())
    assert conversions(int8) == [build.input, given]
    assert quant(int8, given) == FIXED_OUTPUTS[Op.LOGISTIC, DType.INT8]


def test_nothing_is_converted_when_all_operands_have_one_given_encoding() -> None:
    build = start()
    both = [build.node(Op.LOGISTIC, (dense(build, build.input),)) for _ in range(2)]
    graph = build.finish(build.node(Op.CONCATENATION, (both[0], both[1]), LAST))
    int8 = quantize(graph, samples())
    assert conversions(int8) == []
    assert quant(int8, graph.outputs[0]) == FIXED_OUTPUTS[Op.LOGISTIC, DType.INT8]


def test_operand_joins_through_the_moves_before_it_when_they_are_its_own() -> None:
    build = GraphBuilder("net", (1, 4, 4, 2))
    weights = np.random.default_rng(0).normal(size=(2, 1, 1, 2))
    x = build.conv2d(build.input, weights)
    pooled = build.node(Op.MAX_POOL_2D, (x,), PoolAttrs((2, 2), (2, 2)))
    y = build.conv2d(build.input, 9.0 * weights, stride=(2, 2))
    graph = build.finish(build.node(Op.CONCATENATION, (pooled, y), AxisAttrs(3)))
    batch = np.random.default_rng(1).normal(size=(32, 4, 4, 2)).astype(np.float32)
    int8 = quantize(graph, batch)
    assert conversions(int8) == []
    assert quant(int8, x) == quant(int8, y)


def test_fill_is_in_range_when_padding_is_far_from_the_data() -> None:
    build = start()
    x = dense(build, build.input)
    padded = build.node(Op.PAD, (x,), PadAttrs(((0, 0), (1, 0)), -30.0))
    int8 = quantize(build.finish(padded), samples())
    found = quant(int8, padded)
    assert found.scale[0] * (-128 - found.zero_point[0]) == pytest.approx(-30.0, abs=0.3)


def test_groups_are_closed_when_graph_has_none_that_share() -> None:
    build = start()
    x = dense(build, build.input)
    graph = build.finish(dense(build, x))
    sharing = share(graph, (), DType.INT8)
    assert len(set(sharing.group.values())) == len(graph.values)
    assert not sharing.requantized


def two_readers() -> Graph:
    """One bias and one matrix of weights, each read by two layers with inputs of other ranges."""
    build = start()
    weights = build.constant("w", np.random.default_rng(0).normal(size=(SIZE, SIZE)))
    bias = build.constant("b", np.arange(SIZE, dtype=np.float32))
    attrs = DenseAttrs()
    first = build.node(Op.FULLY_CONNECTED, (build.input, weights, bias), attrs)
    return build.finish(build.node(Op.FULLY_CONNECTED, (first, weights, bias), attrs))


def test_bias_is_copied_and_weights_are_shared_when_two_layers_read_them() -> None:
    graph = two_readers()
    done = quantize_by(graph, samples(), DEFAULT_RECIPE)
    first, second = done.int8_graph.nodes
    assert first.inputs[1] == second.inputs[1]
    assert first.inputs[2] != second.inputs[2]
    for node in (first, second):
        bias = done.int8_graph.constant(node.inputs[2]) * np.array(
            quant(done.int8_graph, node.inputs[2]).scale
        )
        np.testing.assert_allclose(bias, np.arange(SIZE), atol=0.01)


def test_weights_are_copied_when_their_readers_want_other_formats() -> None:
    graph = two_readers()
    override = LayerOverride(graph.nodes[0].name, WeightFormat.INT4)
    int8 = quantize_by(graph, samples(), Recipe(layers=(override,))).int8_graph
    dtypes = [int8.values[node.inputs[1]].dtype for node in int8.nodes]
    assert dtypes == [DType.INT4, DType.INT8]
    own = own_constants(graph, Recipe(layers=(override,)), ())
    np.testing.assert_array_equal(run_float(own, samples()), run_float(graph, samples()))


def test_plan_is_carried_out_alike_when_it_is_applied_twice() -> None:
    graph = own_constants(two_readers(), DEFAULT_RECIPE, ())
    plan = decide(graph, observe(graph, samples()))
    first, second = apply(graph, plan), apply(graph, plan)
    assert first.nodes == second.nodes
    assert list(first.values) == list(second.values)
