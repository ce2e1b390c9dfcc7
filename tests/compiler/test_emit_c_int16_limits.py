"""Generated C of int16 where numbers are extreme: ties, and what is refused in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.graph import DType, Graph, QuantParams
from edgekiln.compiler.oracles import answer_c_host
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe
from edgekiln.compiler.reference import run_int8

RequireTool = Callable[[str], str]
ONE = np.zeros((1, 3, 3, 2), np.int16)


def _int16(graph: Graph) -> Graph:
    samples = np.random.default_rng(0).normal(0, 1, (16, *graph.input.shape[1:]))
    recipe = Recipe(activations=ActivationFormat.INT16)
    return quantize_by(graph, samples.astype(np.float32), recipe).int8_graph


def _layer() -> Graph:
    build = GraphBuilder("layer", ONE.shape)
    weights = np.random.default_rng(0).normal(0, 0.5, (4, 2, 2, 2)).astype(np.float32)
    return build.finish(build.conv2d(build.input, weights))


def _with(graph: Graph, name: str, **changes: object) -> Graph:
    values = {**graph.values, name: dataclasses.replace(graph.values[name], **changes)}  # type: ignore[arg-type]
    return graph.replace(values=values.values())


FACTORS = (0.125, float(np.nextafter(0.125, 0.0)), 0.3, 1.1 * 2.0**-9, 2.0**-17, 3e-9, 0.7, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize("family", Family)
def test_dense_output_equals_reference_when_ties_are_many(
    family: Family, require_tool: RequireTool
) -> None:
    """Factors one step beside plain fractions, sums that are ties or next to them."""
    require_tool("gcc")
    build = GraphBuilder("ties", (1, 3))
    graph = _int16(build.finish(build.fully_connected(build.input, np.eye(8, 3) + 0.01)))
    node = graph.nodes[0]
    one = QuantParams((1.0,), (0,))
    channels = QuantParams(FACTORS, (0,) * 8, axis=0)
    rows = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 2], [127, 1, 0], [5, 127, 127], [1, 1, 1]] * 2)
    quants = {node.inputs[0]: one, node.inputs[1]: channels, node.inputs[2]: channels}
    for name, quant in (quants | {node.output: one}).items():
        graph = _with(graph, name, quant=quant)
    graph = _with(graph, node.inputs[1], data=rows[:8].astype(np.int8))
    graph = _with(graph, node.inputs[2], data=np.zeros(8, np.int64))
    inputs = np.random.default_rng(0).integers(-32768, 32768, (4000, 3)).astype(np.int16)
    inputs[2000:] //= 64
    expected = run_int8(graph, inputs)
    files = emit_c(graph, inputs[:1], family).files
    np.testing.assert_array_equal(answer_c_host(files, inputs, expected), expected)


def test_bias_of_32_bits_is_refused_when_activations_are_int16() -> None:
    graph = _int16(_layer())
    bias = graph.nodes[0].inputs[2]
    graph = _with(graph, bias, dtype=DType.INT32, data=graph.constant(bias).astype(np.int32))
    with pytest.raises(EmitError, match="biases of int64, not int32"):
        emit_c(graph, ONE)


def test_factor_above_its_range_is_refused_when_an_output_is_tiny() -> None:
    graph = _int16(_layer())
    graph = _with(graph, graph.outputs[0], quant=QuantParams((1e-12,), (0,)))
    with pytest.raises(EmitError, match=r"factor is above 2\^14"):
        emit_c(graph, ONE)


def test_sum_beyond_its_range_is_refused_when_a_bias_is_huge() -> None:
    graph = _int16(_layer())
    bias = graph.nodes[0].inputs[2]
    graph = _with(graph, bias, data=np.full(4, 1 << 47))
    with pytest.raises(EmitError, match="sums of this layer exceed 47 bits"):
        emit_c(graph, ONE)
