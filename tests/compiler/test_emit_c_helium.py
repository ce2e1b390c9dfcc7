"""The helium family on an emulated Cortex-M55: vector instructions give the reference's bytes.

On other machines the same kernels are plain C, which tests/compiler/test_emit_c_families.py runs.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import Family, family_of_core
from edgekiln.compiler.graph import Array, Graph, QuantParams
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.ops import Activation, AxisAttrs, Op
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import Emulation, emulate_folder
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

RequireTool = Callable[[str], str]
CHANNELS = (1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 35)
LAYERS = 12  # of one build, all of them on the graph's input
SAMPLES = 6


@pytest.fixture
def m55(require_tool: RequireTool) -> Target:
    for tool in MACHINES["cortex-m55"].tools:
        require_tool(tool)
    return dataclasses.replace(load_target("cortex-m4"), core="cortex-m55")


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def _quantized(graph: Graph, seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    return quantize(graph, rng.normal(0, 1, (16, *graph.input.shape[1:])).astype(np.float32))


def _inputs(graph: Graph, count: int, seed: int) -> Array:
    """Noise over all of int8, after one sample of each end of the range."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-128, 128, (count, *graph.input.shape[1:])).astype(np.int8)
    inputs[:1], inputs[1:2] = -128, 127
    return inputs


def _window(rng: np.random.Generator, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Kernel, stride, dilation and padding under which the window fits an image of `size`."""
    kernel = tuple(int(k) for k in rng.integers(1, 5, 2))
    dilation = tuple(int(d) for d in rng.integers(1, 3, 2))
    padding = []
    for length, taps, apart in zip(size, kernel, dilation, strict=True):
        missing = max((taps - 1) * apart + 1 - length, 0)
        padding.append((missing + int(rng.integers(0, 3)), int(rng.integers(0, 3))))
    stride = tuple(int(s) for s in rng.integers(1, 4, 2))
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": tuple(padding)}


def _layer(build: GraphBuilder, rng: np.random.Generator, activation: Activation) -> str:
    """A random layer on the graph's input."""
    x = build.input
    _, height, width, channels = build.shape(x)
    made = int(rng.choice(CHANNELS))
    window = _window(rng, (height, width))
    kernel = window.pop("kernel")
    kind = rng.choice(["pointwise", "conv2d", "depthwise", "dense", "add"])
    if kind == "pointwise":
        return build.conv2d(
            x, _normal(rng, made, 1, 1, channels), _normal(rng, made), activation=activation
        )
    if kind == "conv2d":
        weights = _normal(rng, made, *kernel, channels)
        return build.conv2d(x, weights, _normal(rng, made), activation=activation, **window)
    if kind == "depthwise":
        weights = _normal(rng, 1, *kernel, channels)
        return build.depthwise_conv2d(
            x, weights, _normal(rng, channels), activation=activation, **window
        )
    if kind == "dense":
        return build.fully_connected(
            x, _normal(rng, made, channels), _normal(rng, made), activation=activation
        )
    return build.add(x, x, activation=activation)


def _many_layers(seed: int, activation: Activation) -> Graph:
    """Layers side by side, so that none hides what another does wrong."""
    rng = np.random.default_rng(seed)
    size = tuple(int(n) for n in rng.integers(3, 9, 2))
    build = GraphBuilder(f"layers_{seed}", (1, *size, int(rng.choice(CHANNELS))))
    flat = []
    for _ in range(LAYERS):
        x = _layer(build, rng, activation)
        flat.append(build.reshape(x, (1, math.prod(build.shape(x)))))
    return build.finish(build.node(Op.CONCATENATION, tuple(flat), AxisAttrs(1)))


def _check(graph: Graph, inputs: Array, folder: Path, target: Target) -> tuple[Emulation, str]:
    """The run on the core, whose outputs are the reference's, and the text of model.c."""
    folder.mkdir(exist_ok=True)
    sources = emit_c(graph, inputs, family_of_core(target.core))
    sources.write(folder)
    result = emulate_folder(folder, target)
    found = np.frombuffer(result.outputs, np.int8).reshape(len(inputs), -1)
    np.testing.assert_array_equal(found, run_int8(graph, inputs).reshape(len(inputs), -1))
    return result, sources.files["model.c"].decode()


@pytest.mark.slow
@pytest.mark.tool
def test_vector_kernels_give_the_reference_when_layers_are_random(
    m55: Target, tmp_path: Path
) -> None:
    """Odd channels, windows, strides, dilations, paddings, in every kernel and both roundings."""
    called: set[str] = set()
    for seed, activation in enumerate((Activation.NONE, Activation.RELU) * 3):
        graph = _quantized(_many_layers(seed, activation), seed)
        inputs = _inputs(graph, SAMPLES, seed)
        _, text = _check(graph, inputs, tmp_path / str(seed), m55)
        called |= set(re.findall(r"^    ek_helium_(\w+)\(", text, re.M))
    both = {f"{kind}_{end}" for kind in ("conv2d", "pointwise", "depthwise") for end in ENDS}
    assert called >= {*both, "fully_connected", "add"}


ENDS = ("clamped", "rectified")


def _with_scales(graph: Graph, scales: dict[str, float]) -> Graph:
    """`graph` with these scales, all of them around zero, of its values."""
    values = (
        dataclasses.replace(value, quant=QuantParams((scales[value.name],), (0,)))
        if value.name in scales
        else value
        for value in graph.values.values()
    )
    return graph.replace(values=values)


@pytest.mark.slow
@pytest.mark.tool
def test_vector_kernels_give_the_reference_when_factors_are_extreme(
    m55: Target, tmp_path: Path
) -> None:
    """Factors down to 2^-31, factors beside 1/2 with ties everywhere, and all kinds of dense."""
    rng = np.random.default_rng(1)
    build = GraphBuilder("one_of_each", (1, 4, 4, 5))
    x = build.conv2d(build.input, _normal(rng, 6, 1, 1, 5), _normal(rng, 6))
    x = build.depthwise_conv2d(x, _normal(rng, 1, 3, 2, 6), padding=((1, 1), (1, 0)))
    x = build.add(build.conv2d(x, _normal(rng, 6, 2, 2, 6), padding=((1, 0), (1, 0))), x)
    graph = _quantized(build.finish(build.fully_connected(x, _normal(rng, 7, 6))), 1)
    pixel, window, gathered, total, dense = (node.output for node in graph.nodes)
    shrinking = {pixel: 50.0, window: 1e3, gathered: 1e11, total: 1e11, dense: 1e14}
    for number, scales in enumerate((shrinking, {pixel: 0.02, window: 0.04, total: 0.04})):
        changed = _with_scales(graph, scales)
        _check(changed, _inputs(changed, SAMPLES, 1), tmp_path / str(number), m55)


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.parametrize("kind", ["wide", "double"])
def test_dense_outputs_are_exact_when_31_bits_are_too_few(
    kind: str, m55: Target, tmp_path: Path
) -> None:
    build = GraphBuilder(kind, (1, 13))
    weights = _normal(np.random.default_rng(0), 7, 13)
    graph = _quantized(build.finish(build.fully_connected(build.input, weights)), 0)
    (node,) = graph.nodes
    factor = float(np.nextafter(0.125, 0.0)) if kind == "double" else 1.5
    scales = {node.inputs[0]: 1.0, node.inputs[1]: factor, node.output: 1.0}
    changed = _with_scales(graph, scales)
    inputs = _inputs(changed, 60, 0) // 8
    _, text = _check(changed, inputs, tmp_path, m55)
    assert f"ek_helium_fully_connected_{kind}(" in text


# The dsp family takes two and a half to five times as many: benchmarks/helium.py.
MOST_INSTRUCTIONS = {
    "ad_fc": 70_000,
    "ic_resnet8": 4_000_000,
    "kws_dscnn": 1_300_000,
    "vww_mbv1": 4_500_000,
}


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.parametrize("name", MOST_INSTRUCTIONS)
def test_models_are_exact_and_fast_when_the_core_has_vectors(
    name: str, m55: Target, mlperf_models: Path, tmp_path: Path
) -> None:
    graph = import_model(mlperf_models / f"{name}_int8.tflite")
    result, _ = _check(graph, _inputs(graph, 2, 2), tmp_path, m55)
    assert result.instructions <= MOST_INSTRUCTIONS[name]
    assert result.code_bytes <= 16_384


@pytest.mark.slow
@pytest.mark.tool
def test_figures_repeat_when_the_same_code_is_emulated_twice(m55: Target, tmp_path: Path) -> None:
    graph = _quantized(_many_layers(0, Activation.NONE), 0)
    first, _ = _check(graph, _inputs(graph, 2, 0), tmp_path, m55)
    assert first == emulate_folder(tmp_path, m55)


def _kernels(graph: Graph) -> list[str]:
    text = emit_c(graph, _inputs(graph, 1, 0), Family.HELIUM).files["model.c"].decode()
    return re.findall(r"^    (ek_\w+)\(", text, re.M)


def test_portable_kernels_are_taken_when_vectors_would_not_be_exact() -> None:
    """Two products of -128 · -128 exceed 16 bits; several outputs of a channel; factors over 1."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("depthwise", (1, 4, 4, 3))
    graph = _quantized(
        build.finish(build.depthwise_conv2d(build.input, _normal(rng, 1, 2, 2, 3))), 0
    )
    assert _kernels(graph) == ["ek_helium_depthwise_clamped"]
    name = graph.nodes[0].inputs[1]
    lowest = np.array(graph.constant(name))
    lowest[0, 0, :, 1] = -128
    values = (
        dataclasses.replace(value, data=lowest) if value.name == name else value
        for value in graph.values.values()
    )
    assert _kernels(graph.replace(values=values)) == ["ek_depthwise_conv2d"]
    assert _kernels(_with_scales(graph, {graph.outputs[0]: 1e-9})) == ["ek_depthwise_conv2d"]
    build = GraphBuilder("several", (1, 4, 4, 3))
    several = build.finish(build.depthwise_conv2d(build.input, _normal(rng, 1, 2, 2, 6)))
    assert _kernels(_quantized(several, 0)) == ["ek_depthwise_conv2d"]
