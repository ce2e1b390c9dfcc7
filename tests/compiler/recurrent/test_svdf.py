"""SVDF: our kernels, the files we write, LiteRT, TensorFlow Lite Micro and C, frame by frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import EmitError, GrammarError
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import DType, Graph, Value
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.mcu import run_tflm_codes
from edgekiln.compiler.numerics import output_scale
from edgekiln.compiler.ops import Activation, Op, SvdfAttrs
from edgekiln.compiler.oracles import (
    run_c_emulated,
    run_c_host,
    run_litert_reference,
    run_runtime,
)
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize, quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe, Step, WeightFormat
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8
from edgekiln.compiler.streams import remembered_bytes, some_of
from edgekiln.runtime.c_library import build_library
from edgekiln.runtime.engines import open_engine
from edgekiln.targets.profiles import load_target

Make = Callable[..., bytes]
FRAMES = 300  # more than the reference takes at once of what is no stream
SIZES = ((4, 3, 1, 5), (9, 4, 2, 8), (1, 1, 3, 1), (13, 2, 2, 2))  # features, units, rank, memory


def frames(graph: Graph, seed: int, count: int = FRAMES) -> Any:
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (count, *graph.input.shape[1:])).astype(np.int8)


def real(graph: Graph, codes: Any) -> Any:
    """What quantizes to these codes."""
    quant = graph.input.quant
    assert quant is not None
    return ((codes.astype(np.float64) - quant.zero_point[0]) * quant.scale[0]).astype(np.float32)


@pytest.mark.parametrize(("seed", "size"), enumerate(SIZES))
def test_svdf_equals_litert_byte_for_byte_when_frames_follow_one_another(
    int8_svdf: Make, seed: int, size: tuple[int, ...]
) -> None:
    model = int8_svdf(seed, *size, bias=seed != 1)
    graph = import_tflite(model, "svdf")
    codes = frames(graph, seed)
    ours = run_int8(graph, codes)
    assert len(np.unique(ours)) > 8
    np.testing.assert_array_equal(ours, run_litert_reference(model, real(graph, codes)))
    written = emit_tflite(graph)
    np.testing.assert_array_equal(ours, run_litert_reference(written, real(graph, codes)))
    again = import_tflite(written, "svdf")
    np.testing.assert_array_equal(ours, run_int8(again, codes))
    runtime = run_runtime("tflite", written, real(graph, codes), output_scale(graph, ours))
    np.testing.assert_array_equal(ours, runtime)


@pytest.mark.parametrize("activation", [0, 1, 3])
def test_float_svdf_equals_litert_when_frames_follow_one_another(
    float_svdf: Make, activation: int
) -> None:
    model = float_svdf(3, 6, 4, 2, 5, activation)
    graph = import_tflite(model, "svdf")
    x = np.random.default_rng(4).normal(0, 1, (40, 6)).astype(np.float32)
    ours = run_float(graph, x)
    np.testing.assert_allclose(ours, run_litert_reference(model, x), rtol=0, atol=2e-5)
    np.testing.assert_allclose(ours, run_litert_reference(emit_tflite(graph), x), rtol=0, atol=2e-5)


def test_svdf_of_no_more_memory_than_a_frame_forgets_when_frames_change_places(
    int8_svdf: Make,
) -> None:
    graph = import_tflite(int8_svdf(5, 6, 4, 2, 1), "svdf")
    codes = frames(graph, 5, 20)
    np.testing.assert_array_equal(run_int8(graph, codes[::-1])[::-1], run_int8(graph, codes))
    remembers = import_tflite(int8_svdf(5, 6, 4, 2, 3), "svdf")
    assert (run_int8(remembers, codes[::-1])[::-1] != run_int8(remembers, codes)).any()


def test_engine_carries_frames_on_until_it_is_reset(int8_svdf: Make) -> None:
    model = int8_svdf(6, 7, 3, 2, 6)
    graph = import_tflite(model, "svdf")
    codes = frames(graph, 6, 12)
    whole = run_int8(graph, codes)
    engine = open_engine("tflite", model, output_scale(graph, whole))
    parts = [engine.run(real(graph, part)) for part in (codes[:5], codes[5:6], codes[6:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (engine.run(real(graph, codes)) != whole).any()
    engine.reset()
    np.testing.assert_array_equal(engine.run(real(graph, codes)), whole)


@pytest.mark.slow
def test_engine_of_generated_c_carries_frames_on_until_it_is_reset(
    int8_svdf: Make, require_tool: Callable[[str], str]
) -> None:
    require_tool("gcc")
    graph = import_tflite(int8_svdf(6, 7, 3, 2, 6), "svdf")
    codes = frames(graph, 6, 12)
    whole = run_int8(graph, codes)
    library = build_library(emit_c(graph, codes[:1]).files)
    engine = open_engine("c", library, output_scale(graph, whole))
    parts = [engine.run(real(graph, part)) for part in (codes[:5], codes[5:6], codes[6:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    engine.reset()
    np.testing.assert_array_equal(engine.run(real(graph, codes)), whole)


def test_micro_equals_the_reference_when_frames_follow_one_another(int8_svdf: Make) -> None:
    pytest.importorskip("tflite_micro")
    graph = import_tflite(int8_svdf(7, 8, 5, 2, 7), "svdf")
    codes = frames(graph, 7, 30)
    found = run_tflm_codes(emit_tflite(graph), [codes])
    np.testing.assert_array_equal(found, run_int8(graph, codes))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "size"), enumerate(SIZES))
def test_c_equals_the_reference_when_frames_follow_one_another(
    int8_svdf: Make, require_tool: Callable[[str], str], seed: int, size: tuple[int, ...]
) -> None:
    require_tool("gcc")
    graph = import_tflite(int8_svdf(seed, *size), "svdf")
    codes = frames(graph, seed, 40)
    expected = run_int8(graph, codes)
    np.testing.assert_array_equal(run_c_host(emit_c(graph, codes).files, expected), expected)


@pytest.mark.slow
def test_c_on_an_emulated_core_counts_what_it_remembers(
    int8_svdf: Make, require_tool: Callable[[str], str]
) -> None:
    require_tool("qemu-system-arm")
    require_tool("arm-none-eabi-gcc")
    codes_of = {}
    for memory in (4, 54):
        graph = import_tflite(int8_svdf(8, 10, 6, 2, memory), "svdf")
        codes = frames(graph, 8, 10)
        emulation = run_c_emulated(emit_c(graph, codes).files, load_target("cortex-m4"))
        found = np.frombuffer(emulation.outputs, np.int8).reshape(-1, 6)
        np.testing.assert_array_equal(found, run_int8(graph, codes))
        codes_of[memory] = emulation.ram_bytes
        assert remembered_bytes(graph) == 2 * 12 * memory
    assert codes_of[54] - codes_of[4] == 2 * 12 * 50


def test_stream_takes_its_beginning_where_others_take_samples_from_everywhere(
    int8_svdf: Make,
) -> None:
    graph = import_tflite(int8_svdf(9, 2, 2, 1, 3), "svdf")
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.testing.assert_array_equal(some_of(graph, x, 4), x[:4])


@pytest.mark.parametrize("activation", [0, 1, 3])
def test_quantized_svdf_is_near_the_float_one_and_what_litert_computes(
    float_svdf: Make, activation: int
) -> None:
    graph = import_tflite(float_svdf(10, 5, 4, 2, 6, activation), "svdf")
    x = np.random.default_rng(10).normal(0, 1, (400, 5)).astype(np.float32)
    quantized = quantize(graph, x)
    exact, codes = run_float(graph, x), run_int8(quantized, quantize_input(quantized, x))
    assert {quantized.values[node.output].dtype for node in quantized.nodes} == {DType.INT8}
    distance = np.abs(dequantize_output(quantized, codes) - exact)
    assert distance.max() < 0.04 * np.abs(exact).max()
    np.testing.assert_array_equal(codes, run_litert_reference(emit_tflite(quantized), x))


RECIPES = {
    "int16": Recipe(activations=ActivationFormat.INT16),
    "int4": Recipe(weights=WeightFormat.INT4),
    "steps": Recipe(steps=(Step.EQUALIZE, Step.ADAROUND, Step.BIAS_CORRECT)),
    "half": Recipe(activations=ActivationFormat.FLOAT32, weights=WeightFormat.FLOAT16),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_what_litert_computes_when_a_dense_layer_follows(name: str) -> None:
    graph = _two_layers(np.random.default_rng(3))
    x = np.random.default_rng(4).normal(0, 1, (300, 12)).astype(np.float32)
    found = quantize_by(graph, x, RECIPES[name])
    ours = run_int8(found.int8_graph, quantize_input(found.int8_graph, x))
    theirs = run_litert_reference(emit_tflite(found.int8_graph), x)
    np.testing.assert_allclose(ours.astype(np.float64), theirs, rtol=0, atol=1e-4)
    assert any("svdf" in note for note in found.plan.notes) == (name in ("int16", "int4"))


def _two_layers(rng: np.random.Generator) -> Graph:
    def drawn(*shape: int) -> Any:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    build = GraphBuilder("two", (1, 12))
    data = {"weights": drawn(16, 12), "in_time": drawn(16, 6), "bias": drawn(8)}
    operands = (build.constant(name, each) for name, each in data.items())
    x = build.node(Op.SVDF, (build.input, *operands), SvdfAttrs(2, Activation.RELU6))
    return optimize(build.finish(build.fully_connected(x, drawn(5, 8), drawn(5))))


def test_sums_stay_in_32_bits_when_frames_are_the_worst_for_the_weights(float_svdf: Make) -> None:
    """Every number that is remembered is at its largest, and weighed with its own sign."""
    graph = import_tflite(float_svdf(12, 3, 2, 2, 5), "svdf")
    weights, in_time = (graph.constant(name) for name in graph.nodes[0].inputs[1:3])
    x = np.random.default_rng(12).normal(0, 1, (50, 3)).astype(np.float32)
    worst = np.sign(weights[0]) * np.sign(in_time[0])[:, None] * np.abs(x).max()
    quantized = quantize(graph, np.concatenate([x, worst]))
    found = run_int8(quantized, quantize_input(quantized, worst))
    exact = run_float(graph, worst)
    distance = np.abs(dequantize_output(quantized, found) - exact)
    assert distance.max() < 0.04 * np.abs(exact).max()


def test_onnx_is_refused_in_one_line_when_a_model_remembers(int8_svdf: Make) -> None:
    with pytest.raises(EmitError, match=r"^t5: ONNX keeps nothing between runs, 'svdf'"):
        emit_onnx(import_tflite(int8_svdf(0, *SIZES[0]), "svdf"))


def _changed(graph: Graph, index: int, **changes: Any) -> Graph:
    """The operand or, at the end, the output in another form."""
    node = graph.nodes[0]
    name = (*node.inputs, node.output)[index]
    value: Value = dataclasses.replace(graph.values[name], **changes)
    return graph.replace(values=[*graph.values.values(), value])


def _with(graph: Graph, **changes: Any) -> Graph:
    node = graph.nodes[0]
    assert isinstance(node.attrs, SvdfAttrs)
    attrs = dataclasses.replace(node.attrs, **changes)
    return graph.replace(nodes=[dataclasses.replace(node, attrs=attrs)])


BROKEN: dict[str, tuple[Callable[[Graph], Graph], str]] = {
    "rank": (lambda g: _with(g, rank=4), r"3 filters of rank 4 do not fit"),
    "no_rank": (lambda g: _with(g, rank=0), r"of rank 0"),
    "state": (lambda g: _with(g, state_scale=0.0), r"its state has scale 0"),
    "bias": (lambda g: _with(g, state_scale=0.5), r"does not have the scale of what"),
    "weights": (lambda g: _changed(g, 1, quant=None), r"must be symmetric int8 with one scale"),
    "output": (lambda g: _changed(g, 4, quant=None), r"'t5' is not quantized"),
    "frame": (lambda g: _changed(g, 0, shape=(1, 9)), r"do not fit the frame \(1, 9\)"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_check_names_the_rule_when_a_node_breaks_it(int8_svdf: Make, broken: str) -> None:
    change, said = BROKEN[broken]
    graph = import_tflite(int8_svdf(0, *SIZES[0]), "svdf")
    with pytest.raises(GrammarError, match=said):
        check(change(graph))
