"""Slimmer networks: what hangs together shrinks together, and LiteRT runs what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import CompileError
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.oracles import litert_call
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.slim import channel_groups, narrowed, slim
from edgekiln.compiler.workload import workload

RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return RNG.normal(0, 0.3, shape).astype(np.float32)


def residual(side: int = 8) -> Graph:
    """Two convolutions that are added, a depthwise one behind them, and a classifier."""
    build = GraphBuilder("residual", (1, side, side, 3))
    around = ((1, 1), (1, 1))
    first = build.conv2d(build.input, weights(16, 3, 3, 3), weights(16), padding=around)
    second = build.conv2d(first, weights(16, 3, 3, 16), weights(16), padding=around)
    x = build.add(first, second)
    x = build.depthwise_conv2d(x, weights(1, 3, 3, 16), weights(16), padding=around)
    x = build.conv2d(x, weights(24, 1, 1, 16), weights(24))
    x = build.reshape(x, (1, side * side * 24))
    graph = build.finish(build.fully_connected(x, weights(4, side * side * 24), weights(4)))
    return quantize(graph, RNG.normal(0, 1, (8, side, side, 3)).astype(np.float32))


def runs(graph: Graph) -> None:
    """LiteRT takes the file and computes an output."""
    litert_call(emit_tflite(graph), np.zeros(graph.input.shape[1:], np.float32))()


def test_layers_that_are_added_and_their_depthwise_form_one_group() -> None:
    graph = residual()
    groups = channel_groups(graph)
    ops = {node.name: node.op.value for node in graph.nodes}
    assert [(group.channels, [ops[name] for name in group.layers]) for group in groups] == [
        (16, ["conv2d", "conv2d", "add", "depthwise_conv2d"]),
        (24, ["conv2d"]),
    ]


def test_nothing_changes_when_every_channel_is_kept() -> None:
    graph = residual()
    assert emit_tflite(slim(graph, {})) == emit_tflite(graph)


def test_work_is_that_of_the_narrower_layers() -> None:
    graph = residual()
    added, pointwise = channel_groups(graph)
    slimmer = slim(graph, {added.root: 8})
    runs(slimmer)
    assert [layer.macs for layer in workload(slimmer).layers if layer.macs] == [
        *(64 * 8 * 9 * 3, 64 * 8 * 9 * 8, 64 * 8 * 9, 64 * 24 * 8, 4 * 64 * 24),
    ]
    runs(slim(graph, {pointwise.root: 4}))


def test_smaller_input_shrinks_every_image_and_the_classifier_behind_it() -> None:
    slimmer = slim(residual(), {}, 0.5)
    assert slimmer.input.shape == (1, 4, 4, 3)
    assert workload(slimmer).layers[-1].macs == 4 * 16 * 24
    runs(slimmer)


def test_pooling_over_the_whole_image_stays_one_when_the_input_is_smaller() -> None:
    build = GraphBuilder("pooled", (1, 6, 8, 4))
    x = build.average_pool2d(build.input, (6, 8), (6, 8))
    x = build.reshape(x, (1, 4))
    samples = RNG.normal(0, 1, (8, 6, 8, 4)).astype(np.float32)
    graph = quantize(build.finish(build.fully_connected(x, weights(3, 4))), samples)
    slimmer = slim(graph, {}, 0.5)
    assert slimmer.values[slimmer.nodes[0].output].shape == (1, 1, 1, 4)
    runs(slimmer)


def test_input_without_sides_cannot_be_smaller() -> None:
    build = GraphBuilder("flat", (1, 8))
    graph = build.finish(build.fully_connected(build.input, weights(3, 8)))
    with pytest.raises(CompileError, match="no sides"):
        slim(graph, {}, 0.5)
    assert channel_groups(graph) == ()  # the output's classes stay


@pytest.mark.parametrize(("channels", "factor", "expected"), [(64, 0.5, 32), (64, 0.3, 20)])
def test_channels_come_in_whole_fours_when_there_are_many(
    channels: int, factor: float, expected: int
) -> None:
    assert narrowed(channels, factor) == expected


@given(st.integers(1, 512), st.floats(0.01, 1.0))
def test_narrowed_channels_lie_between_one_and_all(channels: int, factor: float) -> None:
    assert 1 <= narrowed(channels, factor) <= channels
    assert narrowed(channels, 1.0) == channels or channels % 4


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_litert_runs_real_models_at_any_width_and_size(data_dir: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["kws_dscnn", "ic_resnet8", "ad_fc"]))
    graph = import_model(data_dir / "mlperf_tiny" / f"{name}_int8.tflite")
    chosen = {
        group.root: narrowed(group.channels, data.draw(st.sampled_from([0.2, 0.5, 1.0])))
        for group in channel_groups(graph)
    }
    side = data.draw(st.sampled_from([1.0, 0.5])) if len(graph.input.shape) == 4 else 1.0
    slimmer = slim(graph, chosen, side)
    runs(slimmer)
    assert workload(slimmer).macs <= workload(graph).macs
