"""Sensitivity: the layer that rounding hurts is named first, and nothing else is rounded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.decide import decide
from edgekiln.compiler.encoding import QuantizationPlan, round_trip
from edgekiln.compiler.grammar import KEEPS_QUANT
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.quantize import observe
from edgekiln.compiler.sensitivity import SAMPLES, measure_sensitivity


def planned(graph: Graph, x: Array) -> QuantizationPlan:
    return decide(graph, observe(graph, x))


def chain() -> Graph:
    """Three dense layers; the output channels of the middle one differ by a factor of 10,000."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("chain", (1, 6))
    scale = np.array([1.0, 1.0, 1.0, 1e4]).reshape(-1, 1)
    x = build.fully_connected(build.input, rng.normal(0, 1, (8, 6)), activation=Activation.RELU)
    x = build.fully_connected(x, rng.normal(0, 1, (4, 8)) * scale, activation=Activation.RELU)
    return build.finish(build.fully_connected(x, rng.normal(0, 1, (3, 4)) / scale.T))


def samples(count: int = 300) -> Array:
    return np.random.default_rng(1).normal(size=(count, 6)).astype(np.float32)


def test_bad_layers_come_first_when_channels_differ_widely() -> None:
    graph, x = chain(), samples()
    rows = measure_sensitivity(graph, planned(graph, x), x)
    # The wide layer's output, and the weights of the layer that undoes it.
    assert {row.layer for row in rows[:2]} == {node.name for node in graph.nodes[1:]}
    assert rows[1].mse > 20 * rows[2].mse
    assert min(rows[0].label_flips, rows[1].label_flips) > 0
    assert rows[0].sqnr_db < rows[1].sqnr_db < rows[2].sqnr_db
    assert [row.mse for row in rows] == sorted((row.mse for row in rows), reverse=True)
    assert {row.samples for row in rows} == {SAMPLES}


@pytest.mark.parametrize("seed", range(12))
def test_row_equals_a_graph_with_one_layer_rounded_when_graph_is_random(
    seed: int, random_graph: Callable[[int], Graph], draw_samples: Callable[..., Array]
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 32, seed)
    plan = planned(graph, x)
    rows = {row.layer: row for row in measure_sensitivity(graph, plan, x)}
    assert set(rows) == {node.name for node in graph.nodes if node.op not in KEEPS_QUANT}
    last = graph.nodes[-1]
    assert last.output == graph.outputs[0]
    values = dict(graph.values)
    for name in last.inputs[1:]:
        rounded = round_trip(graph.constant(name), plan.encodings[name])
        values[name] = dataclasses.replace(values[name], data=rounded)
    output = round_trip(
        run_float(graph.replace(values=values.values()), x), plan.encodings[last.output]
    )
    wanted = run_float(graph, x)
    assert rows[last.name].mse == pytest.approx(float(np.mean((output - wanted) ** 2)), rel=1e-3)


def test_sqnr_is_infinite_when_nothing_changes() -> None:
    build = GraphBuilder("exact", (1, 2))
    graph = build.finish(build.fully_connected(build.input, np.eye(2), np.zeros(2)))
    x = np.array([[255.0, 0.0], [0.0, 127.0]], np.float32)
    (row,) = measure_sensitivity(graph, planned(graph, x), x)
    assert (row.mse, row.label_flips) == (pytest.approx(0.0, abs=1e-6), 0)
    assert row.sqnr_db > 90 or math.isinf(row.sqnr_db)
