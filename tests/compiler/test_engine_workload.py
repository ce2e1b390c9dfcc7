"""What an engine's kernels pass for a layer: stairs where they take blocks, and what they fuse."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.engine_plan import engine_probes
from edgekiln.compiler.engine_rules import kernel_calls
from edgekiln.compiler.engine_workload import engine_tile, engine_workload
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import NoAttrs, Op
from edgekiln.compiler.oracles import litert_interpreter
from edgekiln.compiler.probe_networks import networks
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.tile_choice import choose_tile
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Tile

TILE = Tile(rows=7, columns=16, depth=8, lanes=16, aligned=4)


def convolution(side: int, depth: int, out: int, window: int = 1) -> Graph:
    build = GraphBuilder("one", (1, side, 1, depth))
    weights = np.ones((out, window, 1, depth), np.float32)
    padding = ((window // 2, window // 2), (0, 0))
    return build.finish(build.conv2d(build.input, weights, padding=padding))


def passes(graph: Graph, engine: str = "litert", tile: Tile = TILE) -> dict[str, int]:
    return {
        name: n for layer in engine_workload(graph, engine, tile).layers for name, n in layer.loops
    }


@pytest.mark.parametrize(("rows", "strips"), [(2, 1), (7, 1), (8, 2), (14, 2), (15, 3)])
def test_blocks_are_whole_when_rows_are_left_over(rows: int, strips: int) -> None:
    counted = passes(convolution(rows, 3, 16), tile=Tile(7, 16, 8, 16))
    assert counted["conv2d_block"] == counted["conv2d_strip"] == strips
    assert counted["conv2d_block_step_0"] == strips  # three channels are one step of eight


def test_steps_rise_where_the_columns_begin_another_block() -> None:
    one, two = (passes(convolution(7, 8, out), tile=Tile(7, 16, 8, 16)) for out in (16, 17))
    assert "conv2d_block_step_1" not in one
    assert two["conv2d_block_step_1"] == two["conv2d_block_step_0"] == 1


def test_single_row_has_a_kernel_of_its_own() -> None:
    counted = passes(convolution(1, 8, 16), tile=Tile(7, 16, 8, 16))
    assert counted["conv2d_few"] == 1
    assert "conv2d_block" not in counted


def test_layers_have_other_names_when_their_channels_are_aligned() -> None:
    assert all(n.startswith("conv2d_aligned") for n in passes(convolution(7, 8, 16)))
    assert not any(n.startswith("conv2d_aligned") for n in passes(convolution(7, 9, 16)))


def test_padding_is_fused_when_one_convolution_reads_it() -> None:
    """Three rows above and below are no SAME padding: the file has a PAD before the convolution."""
    build = GraphBuilder("padded", (1, 9, 9, 4))
    weights = np.ones((4, 3, 3, 4), np.float32)
    graph = build.finish(build.conv2d(build.input, weights, padding=((3, 3), (3, 3))))
    kinds = [call.kind for call in kernel_calls(graph, "litert").calls]
    assert kinds == ["pad_fused", "conv2d"]
    assert [call.kind for call in kernel_calls(graph, "onnxruntime").calls] == ["conv2d"]


def test_calls_are_the_file_s_operators_when_litert_runs_it() -> None:
    for graph in networks(4, 7):
        run = litert_interpreter(emit_tflite(graph))
        written = [
            item["op_name"] for item in run._get_ops_details() if item["op_name"] != "DELEGATE"
        ]
        assert len(kernel_calls(graph, "litert").calls) == len(written)


def test_activation_is_counted_in_onnx_when_the_encoding_does_not_clamp() -> None:
    build = GraphBuilder("clamped", (1, 4, 4, 2))
    below = build.node(Op.TANH, (build.input,), NoAttrs())
    graph = build.finish(build.node(Op.RELU, (build.add(below, below),), NoAttrs()))
    noise = np.random.default_rng(0).normal(0, 1, (4, 4, 4, 2)).astype(np.float32)
    small = quantize(graph, noise)
    zero_point = small.output.quant.zero_point[0] if small.output.quant else 0
    assert ("clamp_call" in passes(small, "onnxruntime")) == (zero_point != -128)
    assert "clamp_call" not in passes(small, "litert")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["litert", "onnxruntime"])
def test_every_part_is_probed_when_nothing_is_spent(engine: str) -> None:
    """What networks pass must have a price from the probes that are always measured."""
    known: set[str] = set()
    for probe in itertools.takewhile(lambda probe: probe.needed, engine_probes(1)):
        if not probe.family:
            known |= set(passes(probe.int8, engine))
    for graph in networks(77, 14):
        assert set(passes(graph, engine)) <= known


def test_tile_is_found_when_times_have_its_stairs() -> None:
    """Times made of blocks of five rows by eight columns that read four channels a step."""
    timed = []
    rng = np.random.default_rng(3)
    for _ in range(120):
        rows, depth, out = (int(n) for n in rng.integers((3, 1, 1), (60, 64, 32)))
        blocks = -(-rows // 5) * -(-out // 8)
        timed.append((convolution(rows, depth, out), 1.0 + blocks * (0.2 + 0.1 * -(-depth // 4))))
    found = choose_tile(timed, "litert")
    assert (found.rows, found.columns, found.depth, found.aligned) == (5, 8, 4, 1)


def test_there_is_no_tile_when_a_target_has_no_such_table() -> None:
    assert engine_tile(load_target("host"), "litert", "int8") is None
    assert engine_tile(load_target("cortex-m4"), "c", "int8") is None
