"""Loops of the kernels: passes by brute force, and instructions of unseen networks."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.emit_c_plan import planned_chains
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.kernel_loops import kernel_workload, workload_on
from edgekiln.compiler.kernel_probes import chain_probes, strip_probes
from edgekiln.compiler.kernel_windows import axis, gathered, tail_places
from edgekiln.compiler.layer_counts import counted_model, layer_instructions
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.probe_networks import FAMILIES, network, networks
from edgekiln.compiler.quantize import quantize
from edgekiln.targets import load_target
from edgekiln.targets.core_costs import instruction_table
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.fit_loops import predicted

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


def test_layers_in_strips_pass_their_own_loops_for_every_strip() -> None:
    """Strip by strip the products are those of the whole image, but whole calls are repeated."""
    graph = list(strip_probes(0, 2))[1]
    (cut,) = planned_chains(graph, Family.DSP)
    alone, together = (kernel_workload(graph, Family.DSP, chains) for chains in ((), (cut,)))
    for node, one, many in zip(graph.nodes, alone.layers, together.layers, strict=True):
        whole, parts = dict(one.loops), dict(many.loops)
        if node not in cut.chain.nodes:
            assert parts == whole
            continue
        (call,) = (name for name in whole if name.endswith("_call"))
        assert parts[call] == len(cut.strips)
        outputs = [name for name in whole if "_outputs" in name]
        assert all(parts[name] == whole[name] for name in outputs)
    added = dict(together.layers[graph.nodes.index(cut.chain.depthwise)].loops)
    assert (added["strips_call"], added["strips_each"]) == (1, len(cut.strips))
    row_bytes = (
        graph.values[cut.chain.depthwise.inputs[0]].nbytes
        // (graph.values[cut.chain.depthwise.inputs[0]].shape[1])
    )
    assert added["strips_copied"] == sum(s.kept * row_bytes // 4 for s in cut.strips)


@pytest.mark.parametrize(("kernel", "turned"), [((4, 1), True), ((1, 4), False), ((5, 5), False)])
def test_loops_of_depthwise_windows_are_those_of_the_axis_that_the_kernel_takes(
    kernel: tuple[int, int], turned: bool
) -> None:
    build = GraphBuilder("one", (1, 12, 9, 2))
    rng = np.random.default_rng(0)
    x = build.depthwise_conv2d(build.input, rng.normal(0, 1, (1, *kernel, 2)))
    samples = rng.normal(0, 1, (2, 12, 9, 2)).astype(np.float32)
    graph = quantize(build.finish(x), samples)
    _, height, width, channels = graph.values[graph.nodes[0].output].shape
    loops = dict(kernel_workload(graph, Family.DSP).layers[0].loops)
    assert loops["dsp_depthwise_any_rows"] == channels * (width if turned else height)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["separable", "inverted", "temporal", "autoencoder"])
def test_instructions_of_unseen_networks_are_near_in_the_median(
    family: str, require_tool: RequireTool
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    table = instruction_table("cortex-m4")
    assert table is not None
    target = load_target("cortex-m4")
    ratios = []
    for seed in range(12345, 12348):
        graph = network(family, seed)
        model = counted_model(graph, Family.DSP, layer_instructions(graph, target))
        ratios.append(predicted(model, table.ops) / model.instructions)
    assert statistics.median(ratios) == pytest.approx(1.0, abs=0.03)


@pytest.mark.slow
def test_instructions_of_layers_in_strips_are_near(require_tool: RequireTool) -> None:
    for tool in TOOLS:
        require_tool(tool)
    table = instruction_table("cortex-m4")
    assert table is not None
    target = load_target("cortex-m4")
    graphs = [g for g in strip_probes(77, 6) if planned_chains(g, Family.DSP)][:3]
    assert len(graphs) == 3
    for graph in graphs:
        model = counted_model(graph, Family.DSP, layer_instructions(graph, target))
        assert predicted(model, table.ops) == pytest.approx(model.instructions, rel=0.03)
