"""Loops of the kernels: passes by brute force, and instructions of unseen networks."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.kernel_loops import kernel_workload, workload_on
from edgekiln.compiler.kernel_probes import chain_probes
from edgekiln.compiler.kernel_windows import axis, gathered, tail_places
from edgekiln.compiler.layer_counts import counted_model, layer_instructions
from edgekiln.compiler.ops import Activation, Op
from edgekiln.compiler.probe_networks import FAMILIES, network, networks
from edgekiln.compiler.quantize import quantize
from edgekiln.targets import Target, load_target
from edgekiln.targets.core_costs import instruction_table
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.fit_loops import CountedModel, predicted

RequireTool = Callable[[str], str]
small = st.integers(1, 7)


@settings(max_examples=60, deadline=None)
@given(small, small, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_taps_inside_are_those_that_a_loop_over_all_taps_finds(
    size: int, out: int, kernel: int, stride: int, dilation: int, before: int
) -> None:
    found = axis(size, out, kernel, stride, dilation, before)
    for place, (first, end) in enumerate(found.taps):
        start = place * stride - before
        inside = [k for k in range(kernel) if 0 <= start + k * dilation < size]
        assert list(range(first, end)) == inside


@settings(max_examples=40, deadline=None)
@given(small, small, st.integers(1, 4), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2))
def test_gathering_sums_what_a_loop_over_all_places_sums(
    size: int, out: int, kernel: int, stride: int, dilation: int, before: int
) -> None:
    rows = axis(size, out, kernel, stride, dilation, before)
    columns = axis(size + 1, out + 1, kernel, stride, dilation, before)
    whole = gathered(rows, columns, 6, 16)
    every = tail_places(rows, columns, 6, 16, out * (out + 1))
    assert whole == every  # the latter goes place by place
    taps = [(r, c) for r in rows.taps for c in columns.taps]
    copied = sum((r[1] - r[0]) * (c[1] - c[0]) for r, c in taps)
    assert 16 * whole.chunks + whole.rest == 6 * copied
    assert whole.filled == len(taps) * kernel * kernel - copied


def convolution(channels: int, out: int, size: int, kernel: int) -> Graph:
    rng = np.random.default_rng(0)
    build = GraphBuilder("one", (1, size, size, channels))
    around = (kernel // 2, kernel // 2)
    x = build.conv2d(
        *(build.input, rng.normal(0, 1, (out, kernel, kernel, channels))),
        padding=(around, around),
        activation=Activation.RELU,
    )
    samples = rng.normal(0, 1, (2, size, size, channels)).astype(np.float32)
    return quantize(build.finish(x), samples)


def test_products_are_counted_by_hand_when_pixels_and_channels_are_left_over() -> None:
    """49 pixels are 12 groups of four and one; 5 channels two pairs and one; 36 taps 18 pairs."""
    work = kernel_workload(convolution(4, 5, 7, 3), Family.DSP)
    loops = dict(work.layers[0].loops)
    assert loops["conv2d_call"] == 1
    assert loops["conv2d_quads"] == 12
    assert loops["conv2d_twos"] == 24
    assert loops["conv2d_twos_unrolled"] == 24 * 2
    assert loops["conv2d_twos_rest"] == 24 * 1
    assert loops["conv2d_quad_odd"] == 12
    assert loops["conv2d_ones"] == loops["conv2d_fours"] == loops["conv2d_one_odd"] == 1
    assert loops["conv2d_outputs_rectified"] == 245
    assert "conv2d_one_two" not in loops


def test_kernels_of_other_shapes_have_loops_of_their_own() -> None:
    names = {
        kernel_workload(graph, family).layers[0].loops[0][0]
        for graph in (convolution(4, 4, 4, 1), convolution(3, 4, 4, 3), convolution(4, 4, 4, 3))
        for family in Family
        if family in (Family.DSP, Family.PORTABLE)
    }
    assert {"pointwise_call", "conv2d_bytes_call", "conv2d_call"} <= names
    assert {"portable_pointwise_call", "portable_conv2d_call"} <= names


def test_loops_are_counted_for_our_own_engine_alone() -> None:
    graph, target = convolution(4, 4, 4, 3), load_target("cortex-m4")
    assert workload_on(graph, target, "c").layers[0].loops
    assert not workload_on(graph, target, "tflm").layers[0].loops


def test_probes_are_equal_when_seed_is_equal() -> None:
    first, second = (list(chain_probes(3, 12)) for _ in range(2))
    assert [kernel_workload(g, Family.DSP) for g in first] == [
        kernel_workload(g, Family.DSP) for g in second
    ]


def test_networks_take_families_in_turn() -> None:
    names = [graph.name for graph in networks(0, len(FAMILIES) + 1)]
    assert [name.rpartition("_")[0] for name in names] == [*FAMILIES, next(iter(FAMILIES))]


def _counted_apart(family: str, target: Target) -> Iterator[CountedModel]:
    """Networks of a family whose layers do not run together in strips: these have no price yet."""
    for seed in range(12345, 12365):
        graph = network(family, seed)
        counts = layer_instructions(graph, target)
        if len(counts) == sum(node.op is not Op.RESHAPE for node in graph.nodes):
            yield counted_model(graph, Family.DSP, counts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "within"),
    # Depthwise windows of 5 by 5 are priced too low, up to a fifth of the layer.
    [("separable", 0.03), ("inverted", 0.1), ("temporal", 0.03), ("autoencoder", 0.03)],
)
def test_instructions_of_unseen_networks_are_near_in_the_median(
    family: str, within: float, require_tool: RequireTool
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    table = instruction_table("cortex-m4")
    assert table is not None
    target = load_target("cortex-m4")
    counted = itertools.islice(_counted_apart(family, target), 3)
    ratios = [predicted(model, table.ops) / model.instructions for model in counted]
    assert statistics.median(ratios) == pytest.approx(1.0, abs=within)
