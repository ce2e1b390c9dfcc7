"""Float islands: automatic, named, asked for, and refused."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.errors import QuantizationError
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Op
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe, Step
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8
from edgekiln.compiler.sensitivity import measure_sensitivity


def samples(count: int = 128) -> Array:
    return np.random.default_rng(1).normal(size=(count, 6)).astype(np.float32)


def rooted() -> Graph:
    """dense → abs → sqrt → reshape → sqrt → dense."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("rooted", (1, 6))
    x = build.node(Op.ABS, (build.fully_connected(build.input, rng.normal(size=(6, 6))),))
    x = build.reshape(build.node(Op.SQRT, (x,)), (1, 2, 3))
    x = build.node(Op.SQRT, (x,))
    return build.finish(build.fully_connected(build.reshape(x, (1, 6)), rng.normal(size=(4, 6))))


def plain() -> Graph:
    rng = np.random.default_rng(0)
    build = GraphBuilder("plain", (1, 6))
    x = build.fully_connected(build.input, rng.normal(size=(6, 6)))
    return build.finish(build.fully_connected(x, rng.normal(size=(4, 6))))


def words(graph: Graph) -> list[Op]:
    return [node.op for node in graph.nodes]


def test_conversions_stand_around_the_island_when_operators_have_no_integer_form() -> None:
    done = quantize_by(rooted(), samples(), Recipe())
    assert words(done.int8_graph) == [
        Op.FULLY_CONNECTED,
        Op.ABS,
        Op.DEQUANTIZE,
        Op.SQRT,
        Op.RESHAPE,
        Op.SQRT,
        Op.QUANTIZE,
        Op.RESHAPE,
        Op.FULLY_CONNECTED,
    ]
    graph = done.int8_graph
    assert (graph.input.dtype, graph.output.dtype) == (DType.INT8, DType.INT8)
    found = dequantize_output(graph, run_int8(graph, quantize_input(graph, samples())))
    wanted = run_float(rooted(), samples())
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).mean()


def test_every_float_layer_is_named_when_islands_are_made() -> None:
    notes = quantize_by(rooted(), samples(), Recipe()).plan.notes
    assert [note.split("'")[1] for note in notes] == ["sqrt_2", "reshape_3", "sqrt_4"]
    assert notes[0] == "quantize: 'sqrt_2' (sqrt) runs in float32: sqrt has no int8 form"
    assert "between layers" in notes[1]
    assert quantize_by(plain(), samples(), Recipe()).plan.notes == ()


def test_quantize_names_the_layer_and_the_way_out_when_islands_are_forbidden() -> None:
    with pytest.raises(QuantizationError, match=r"'sqrt_2'.*islands = true") as caught:
        quantize_by(rooted(), samples(), Recipe(islands=False))
    assert "\n" not in str(caught.value)
    quantize_by(plain(), samples(), Recipe(islands=False))


def test_layer_runs_in_float_when_the_recipe_asks_for_it() -> None:
    graph = plain()
    first, last = graph.nodes
    done = quantize_by(graph, samples(), Recipe(float_layers=(last.name,), islands=False))
    assert words(done.int8_graph)[1:] == [Op.DEQUANTIZE, Op.FULLY_CONNECTED, Op.QUANTIZE]
    weights = done.int8_graph.values[last.inputs[1]]
    assert weights.dtype is DType.FLOAT32
    assert "the recipe says so" in done.plan.notes[0]
    wholly = quantize_by(graph, samples(), Recipe(float_layers=("*",))).int8_graph
    assert words(wholly) == [Op.DEQUANTIZE, first.op, last.op, Op.QUANTIZE]


@pytest.mark.parametrize("activations", [ActivationFormat.INT8, ActivationFormat.INT16])
def test_corrections_and_sensitivity_leave_islands_alone(activations: ActivationFormat) -> None:
    graph = rooted()
    recipe = Recipe(
        activations=activations,
        steps=(Step.EQUALIZE, Step.ADAROUND, Step.BIAS_CORRECT),
        float_layers=(graph.nodes[0].name,),
    )
    done = quantize_by(graph, samples(), recipe)
    kept = graph.nodes[0].inputs[1]
    np.testing.assert_array_equal(done.int8_graph.constant(kept), graph.constant(kept))
    rows = measure_sensitivity(done.float_graph, done.plan, samples())
    assert {row.layer for row in rows} == {"abs_1", graph.nodes[-1].name}
