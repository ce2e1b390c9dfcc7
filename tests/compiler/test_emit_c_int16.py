"""Generated C of int16 activations with int8 weights: the reference's and LiteRT's bytes."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import CSources, emit_c, memory_plan
from edgekiln.compiler.emit_c_family import Family, family_of_core
from edgekiln.compiler.emit_c_sources import answering_main
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.ops import (
    Activation,
    AxisAttrs,
    BinaryAttrs,
    GeluAttrs,
    LeakyAttrs,
    MatmulAttrs,
    Op,
    TransposeConvAttrs,
)
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import emulate_folder
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.profiles import load_target

RequireTool = Callable[[str], str]
RunLiteRt = Callable[..., dict[str, Array]]
Make = Callable[[np.random.Generator], Graph]
INT16X8 = Recipe(activations=ActivationFormat.INT16)
WARNINGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"),
    *("-Wcast-align=strict", "-Wvla", "-Wundef"),
)
SANITIZE = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def _int16(graph: Graph, seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 1, (16, *graph.input.shape[1:])).astype(np.float32)
    return quantize_by(graph, samples, INT16X8).int8_graph


def _inputs(graph: Graph, count: int, seed: int = 0) -> Array:
    """Noise over all codes, after one sample of each end of the range."""
    shape, kind = (count, *graph.input.shape[1:]), graph.input.dtype.numpy
    rng = np.random.default_rng(seed)
    if kind == np.float32:
        return rng.normal(0, 2, shape).astype(np.float32)
    ends = np.iinfo(kind)
    inputs = rng.integers(ends.min, ends.max + 1, shape).astype(kind)
    inputs[:1], inputs[1:2] = ends.min, ends.max
    return inputs


def _run(graph: Graph, inputs: Array, *flags: str, family: Family = Family.PORTABLE) -> Array:
    """Outputs of `inputs` from a build on this machine."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-test-") as name:
        folder = Path(name)
        CSources({**emit_c(graph, inputs[:1], family).files, "main.c": answering_main()}).write(
            folder
        )
        files = sorted(path.name for path in folder.glob("*.c"))
        command = ("gcc", *WARNINGS, *flags, *files, "-o", "run")
        built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        ran = subprocess.run(
            (folder / "run",), input=inputs.tobytes(), capture_output=True, check=False
        )
        assert ran.returncode == 0, ran.stderr.decode()
    kind = graph.output.dtype.numpy
    return np.frombuffer(ran.stdout, kind).reshape(len(inputs), *graph.output.shape[1:])


def _odd_channels(rng: np.random.Generator) -> Graph:
    """Channels that fill no block, pixels left over, windows that see nothing but padding."""
    build = GraphBuilder("odd_channels", (1, 5, 3, 5))
    x = build.conv2d(build.input, _normal(rng, 7, 1, 1, 5), _normal(rng, 7))
    x = build.conv2d(x, _normal(rng, 12, 1, 2, 7), activation=Activation.RELU)
    x = build.conv2d(x, _normal(rng, 3, 1, 1, 12), activation=Activation.RELU6)
    x = build.conv2d(x, _normal(rng, 9, 3, 1, 3), padding=((5, 0), (1, 2)), stride=(1, 2))
    return build.finish(x)


def _dead_channels(rng: np.random.Generator) -> Graph:
    """Weights of 0 leave constant outputs, with biases of any size."""
    build = GraphBuilder("dead_channels", (1, 4, 4, 4))
    weights, bias = _normal(rng, 6, 1, 1, 4), _normal(rng, 6)
    weights[[1, 4]] = 0
    x = build.conv2d(build.input, weights, bias, activation=Activation.RELU)
    filters = _normal(rng, 1, 3, 3, 6)
    filters[..., 2] = 0
    return build.finish(build.depthwise_conv2d(x, filters, _normal(rng, 6)))


def _grouped(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("grouped", (1, 5, 6, 6))
    weights, padding = _normal(rng, 15, 2, 3, 2), ((1, 0), (1, 1))
    return build.finish(
        build.conv2d(build.input, weights, _normal(rng, 15), stride=(1, 2), padding=padding)
    )


def _depthwise(rng: np.random.Generator) -> Graph:
    """3 by 3 and others, dilated, with several outputs of a channel."""
    build = GraphBuilder("depthwise", (1, 8, 9, 3))
    x = build.depthwise_conv2d(
        build.input, _normal(rng, 1, 3, 3, 3), _normal(rng, 3), padding=((1, 1), (1, 1))
    )
    x = build.depthwise_conv2d(x, _normal(rng, 1, 3, 3, 3), stride=(2, 1), padding=((3, 0), (2, 3)))
    x = build.depthwise_conv2d(
        x, _normal(rng, 1, 2, 4, 6), dilation=(2, 1), activation=Activation.RELU
    )
    return build.finish(x)


def _enlarged(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("enlarged", (1, 3, 4, 5))
    weights = build.constant("weights", _normal(rng, 4, 3, 2, 5))
    attrs = TransposeConvAttrs((2, 3), ((1, 0), (0, 1)), Activation.RELU)
    operands = (build.input, weights, build.constant("bias", _normal(rng, 4)))
    return build.finish(build.node(Op.TRANSPOSE_CONV, operands, attrs))


def _dense(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("dense", (1, 2, 13))
    x = build.fully_connected(build.input, _normal(rng, 7, 13), _normal(rng, 7))
    x = build.fully_connected(x, _normal(rng, 18, 7), activation=Activation.RELU6)
    x = build.fully_connected(x, _normal(rng, 3, 18) * 1e-3, activation=Activation.RELU)
    return build.finish(build.fully_connected(x, _normal(rng, 6, 3)))


def _long_sums(rng: np.random.Generator) -> Graph:
    """More taps than 32 bits hold, all of one sign, in every kind of product."""
    build = GraphBuilder("long_sums", (1, 1, 2, 1100))
    ones = np.abs(_normal(rng, 5, 1, 1, 1100)) + 1
    x = build.conv2d(build.input, ones, _normal(rng, 5))
    y = build.conv2d(build.input, np.ones((2, 1, 2, 1100)), padding=((0, 0), (1, 0)))
    rows = build.reshape(build.input, (1, 2200))
    z = build.fully_connected(rows, np.ones((6, 2200)), _normal(rng, 6))
    parts = [build.reshape(part, (1, build_size)) for part, build_size in ((x, 10), (y, 4), (z, 6))]
    return build.finish(build.node(Op.CONCATENATION, tuple(parts), AxisAttrs(1)))


def _pools(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("pools", (1, 9, 8, 2))
    x = build.pad(build.input, ((1, 2), (0, 1)))
    x = build.max_pool2d(x, (3, 2), (2, 2), ((1, 1), (1, 0)))
    return build.finish(build.average_pool2d(x, (2, 3), (1, 2), ((1, 0), (1, 1))))


def _attention(rng: np.random.Generator) -> Graph:
    """Products of two activations, two softmaxes that share their tables."""
    build = GraphBuilder("attention", (1, 6, 4))
    x = build.input
    for _ in range(2):
        scores = build.node(Op.BATCH_MATMUL, (x, x), MatmulAttrs(True))
        x = build.node(Op.BATCH_MATMUL, (build.node(Op.SOFTMAX, (scores,)), x), MatmulAttrs())
        x = build.node(Op.GELU, (build.fully_connected(x, _normal(rng, 4, 4)),), GeluAttrs())
    return build.finish(build.node(Op.SOFTMAX, (x,)))


def _gates(rng: np.random.Generator) -> Graph:
    """What LSTMs are made of, and activations that are composed for int16."""
    build = GraphBuilder("gates", (1, 3, 3, 8))
    x = build.conv2d(build.input, _normal(rng, 8, 1, 1, 8), _normal(rng, 8))
    gate, state = build.node(Op.LOGISTIC, (x,)), build.node(Op.TANH, (x,))
    x = build.node(Op.MUL, (gate, state), BinaryAttrs())
    x = build.add(x, build.node(Op.HARD_SWISH, (build.input,)), activation=Activation.RELU6)
    return build.finish(build.node(Op.LEAKY_RELU, (x,), LeakyAttrs(0.1)))


GRAPHS = (
    *(_odd_channels, _grouped, _depthwise, _enlarged, _dense, _long_sums, _pools, _attention),
    *(_gates, _dead_channels),
)


@pytest.mark.slow
@pytest.mark.parametrize("make", GRAPHS)
def test_output_equals_reference_and_litert_when_run_under_sanitizers(
    make: Make, run_litert: RunLiteRt, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    graph = _int16(make(np.random.default_rng(1)))
    inputs = _inputs(graph, 60)
    found, expected = _run(graph, inputs, *SANITIZE), run_int8(graph, inputs)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(_run(graph, inputs, *SANITIZE, family=Family.DSP), expected)
    model, name = emit_tflite(graph), graph.outputs[0]
    one_by_one = [run_litert(model, sample[None])[name] for sample in inputs[:12]]
    np.testing.assert_array_equal(found[:12], np.concatenate(one_by_one))
    assert len(np.unique(found)) > 20


def test_output_equals_reference_when_layers_are_of_all_kinds(require_tool: RequireTool) -> None:
    require_tool("gcc")
    graph = _int16(_gates(np.random.default_rng(2)))
    inputs = _inputs(graph, 20)
    np.testing.assert_array_equal(_run(graph, inputs, "-O0"), run_int8(graph, inputs))


SAME = ((1, 1), (1, 1))
LAYERS: dict[str, Callable[[GraphBuilder, np.random.Generator, str, int], str]] = {
    "conv": lambda build, rng, x, n: build.conv2d(
        x, _normal(rng, 5, 3, 3, n), _normal(rng, 5), padding=SAME
    ),
    "depthwise": lambda build, rng, x, n: build.depthwise_conv2d(
        x, _normal(rng, 1, 3, 3, n), padding=SAME
    ),
    "pointwise": lambda build, rng, x, n: build.conv2d(
        x, _normal(rng, 4, 1, 1, n), activation=Activation.RELU
    ),
    "pool": lambda build, rng, x, n: build.max_pool2d(x, (2, 2), (1, 1), ((1, 0), (0, 1))),
    "tanh": lambda build, rng, x, n: build.node(Op.TANH, (x,)),
    "pad": lambda build, rng, x, n: build.pad(x, ((0, 1), (1, 0))),
    "joined": lambda build, rng, x, n: build.node(
        Op.CONCATENATION, (x, build.node(Op.ABS, (x,))), AxisAttrs(3)
    ),
    "added": lambda build, rng, x, n: build.add(x, build.node(Op.LOGISTIC, (x,))),
    "gated": lambda build, rng, x, n: build.node(
        Op.MUL, (x, build.node(Op.LOGISTIC, (x,))), BinaryAttrs()
    ),
}


@st.composite
def _graphs(draw: st.DrawFn) -> Graph:
    """A few layers that keep an image's rank, then sometimes a dense head."""
    channels = draw(st.integers(1, 6))
    build = GraphBuilder("drawn", (1, draw(st.integers(3, 6)), draw(st.integers(3, 6)), channels))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    x = build.input
    for kind in draw(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=5)):
        x = LAYERS[kind](build, rng, x, build.shape(x)[3])
    if draw(st.booleans()):
        x = build.mean(x)
        x = build.fully_connected(x, _normal(rng, 5, build.shape(x)[1]), _normal(rng, 5))
        x = build.node(Op.SOFTMAX, (x,))
    return optimize(build.finish(x))


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)
@given(float_graph=_graphs())
def test_output_equals_reference_when_the_graph_is_drawn(float_graph: Graph) -> None:
    graph = _int16(float_graph)
    inputs = _inputs(graph, 30)
    family = Family.DSP if len(graph.nodes) % 2 else Family.PORTABLE
    found = _run(graph, inputs, *SANITIZE, family=family)
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


@pytest.mark.slow
def test_output_equals_litert_when_a_real_model_is_quantized(
    mlperf_models: Path, run_litert: RunLiteRt, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    graph = _int16(import_model(mlperf_models / "kws_dscnn_float.tflite"))
    inputs = _inputs(graph, 8)
    found = _run(graph, inputs, "-O2", family=Family.DSP)
    np.testing.assert_array_equal(found, run_int8(graph, inputs))
    np.testing.assert_array_equal(found, run_litert(emit_tflite(graph), inputs)[graph.outputs[0]])


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m4", "cortex-m55", "rv32imc"])
def test_emulated_core_gives_the_reference_when_activations_are_int16(
    core: str, tmp_path: Path, require_tool: RequireTool
) -> None:
    for tool in MACHINES[core].tools:
        require_tool(tool)
    target = dataclasses.replace(load_target("cortex-m4"), core=core)
    for make in (_odd_channels, _depthwise, _dense, _attention):
        graph = _int16(make(np.random.default_rng(3)))
        inputs = _inputs(graph, 10)
        folder = tmp_path / make.__name__
        folder.mkdir()
        family = family_of_core(core)
        emit_c(graph, inputs, family).write(folder)
        result = emulate_folder(folder, target)
        assert result.outputs == run_int8(graph, inputs).tobytes()
        assert result.ram_bytes == memory_plan(graph, family).arena_bytes


@pytest.mark.slow
def test_objects_need_no_library_and_hold_no_state_when_activations_are_int16(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    cc = require_tool("gcc")
    for make in GRAPHS:
        graph = _int16(make(np.random.default_rng(1)))
        for family in Family:
            emit_c(graph, _inputs(graph, 1), family).write(tmp_path)
    files = sorted(path.name for path in tmp_path.glob("ek_*.c"))
    command = (cc, *WARNINGS, "-Os", "-fno-pie", "-c", *files)
    subprocess.run(command, cwd=tmp_path, check=True)
    objects = sorted(path.name for path in tmp_path.glob("*.o"))
    listing = subprocess.run(
        ("nm", *objects), cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    undefined = set(re.findall(r"^ +U (\S+)$", listing, re.M))
    assert undefined <= {"_GLOBAL_OFFSET_TABLE_"}
    assert not re.findall(r"^\S+ [BbDdCc] \S+$", listing, re.M)


KERNELS = {
    _odd_channels: "dsp_conv2d dsp_conv2d dsp_pointwise dsp_conv2d",
    _grouped: "grouped_conv2d",
    _depthwise: "dsp_depthwise dsp_depthwise depthwise_conv2d",
    _dense: " ".join(["dsp_fully_connected"] * 4),
    _long_sums: "conv2d pointwise fully_connected concatenation",
    _dead_channels: "dsp_pointwise dsp_depthwise",
}


@pytest.mark.parametrize("make", KERNELS)
def test_kernels_are_those_of_the_family_when_sums_fit_32_bits(make: Make) -> None:
    graph = _int16(make(np.random.default_rng(1)))
    text = emit_c(graph, _inputs(graph, 1), Family.DSP).files["model.c"].decode()
    called = re.findall(r"^    ek_(\w+)\(", text, re.M)
    assert " ".join(name.removesuffix("_16") for name in called) == KERNELS[make]


def test_types_are_int16_when_a_header_is_read() -> None:
    graph = _int16(_pools(np.random.default_rng(0)))
    header = emit_c(graph, _inputs(graph, 1)).files["model.h"].decode()
    assert "int16_t *model_input(model *m);" in header
    assert "typedef int16_t model_output_type;" in header
    assert "int8_t" not in header
