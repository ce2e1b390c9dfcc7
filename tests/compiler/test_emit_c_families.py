"""Every family of kernels gives the reference's bytes: random graphs, odd layers, real models."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import CSources, emit_c, memory_plan
from edgekiln.compiler.emit_c_family import Family, family_of_core
from edgekiln.compiler.graph import Array, Graph, QuantParams
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import TOOLS, emulate_folder
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.profiles import load_target

RequireTool = Callable[[str], str]
RandomGraph = Callable[[int], Graph]
Make = Callable[[np.random.Generator], Graph]
MODELS = ("ad_fc", "ic_resnet8", "kws_dscnn", "vww_mbv1")
WARNINGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"),
    *("-Wcast-align=strict", "-Wvla", "-Wundef"),
)
SANITIZE = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Reads inputs and writes outputs as long as there are any: many inputs for one build.
MAIN = b"""
#include <stdio.h>
#include "model.h"
static model context;
int main(void) {
    while (fread(model_input(&context), 1, MODEL_INPUT_SIZE, stdin) == MODEL_INPUT_SIZE) {
        model_invoke(&context);
        fwrite(model_output(&context), 1, MODEL_OUTPUT_SIZE, stdout);
    }
    return 0;
}
"""


def _run(graph: Graph, family: Family, inputs: Array, folder: Path, *flags: str) -> Array:
    """Outputs of `inputs` from a build on this machine."""
    folder.mkdir()
    CSources({**emit_c(graph, inputs[:1], family).files, "main.c": MAIN}).write(folder)
    files = sorted(path.name for path in folder.glob("*.c"))
    command = ("gcc", *WARNINGS, *flags, *files, "-o", "run")
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run(
        (folder / "run",), input=inputs.tobytes(), capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return np.frombuffer(ran.stdout, np.int8).reshape(len(inputs), *graph.output.shape[1:])


def _quantized(graph: Graph, seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    return quantize(graph, rng.normal(0, 1, (16, *graph.input.shape[1:])).astype(np.float32))


def _inputs(graph: Graph, count: int, seed: int = 0) -> Array:
    """Noise over all of int8, after one sample of each end of the range."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-128, 128, (count, *graph.input.shape[1:])).astype(np.int8)
    inputs[:1], inputs[1:2] = -128, 127
    return inputs


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def _odd_channels(rng: np.random.Generator) -> Graph:
    """Channels that fill no block, a column of every length modulo 16, pixels left over."""
    build = GraphBuilder("odd_channels", (1, 5, 3, 5))
    x = build.conv2d(build.input, _normal(rng, 7, 1, 1, 5), _normal(rng, 7))
    x = build.conv2d(x, _normal(rng, 12, 1, 2, 7), activation=Activation.RELU)
    x = build.conv2d(x, _normal(rng, 3, 1, 1, 12), activation=Activation.RELU)
    x = build.conv2d(x, _normal(rng, 9, 3, 1, 3), padding=((2, 0), (1, 2)), stride=(1, 2))
    return build.finish(x)


def _dilated(rng: np.random.Generator) -> Graph:
    """Dilation and stride at once, in both kinds of convolution, on pixels of whole words."""
    build = GraphBuilder("dilated", (1, 9, 8, 4))
    x = build.conv2d(
        build.input, _normal(rng, 8, 3, 2, 4), padding=((2, 3), (1, 1)), dilation=(2, 3)
    )
    x = build.depthwise_conv2d(
        x, _normal(rng, 1, 3, 3, 8), padding=((2, 2), (3, 1)), dilation=(2, 1), stride=(1, 2)
    )
    x = build.depthwise_conv2d(x, _normal(rng, 1, 1, 4, 8), padding=((0, 0), (2, 1)))
    return build.finish(x)


def _windows_3x3(rng: np.random.Generator) -> Graph:
    """The depthwise kernels of 3 by 3: odd and even widths, strides, one-sided padding."""
    build = GraphBuilder("windows_3x3", (1, 8, 9, 3))
    x = build.depthwise_conv2d(
        build.input, _normal(rng, 1, 3, 3, 3), _normal(rng, 3), padding=((1, 1), (1, 1))
    )
    x = build.depthwise_conv2d(
        x, _normal(rng, 1, 3, 3, 3), padding=((0, 1), (1, 0)), activation=Activation.RELU
    )
    x = build.depthwise_conv2d(x, _normal(rng, 1, 3, 3, 3), stride=(2, 2), padding=((0, 1), (1, 1)))
    x = build.depthwise_conv2d(x, _normal(rng, 1, 3, 3, 3), stride=(3, 3), padding=((3, 0), (2, 3)))
    return build.finish(x)


def _dense_rest(rng: np.random.Generator) -> Graph:
    """Rows that fill no quad of taps, outputs that fill no block, factors above one half."""
    build = GraphBuilder("dense_rest", (1, 13))
    x = build.fully_connected(build.input, _normal(rng, 7, 13), _normal(rng, 7))
    x = build.fully_connected(x, _normal(rng, 18, 7), activation=Activation.RELU6)
    x = build.fully_connected(x, _normal(rng, 3, 18) * 1e-3, activation=Activation.RELU)
    return build.finish(build.fully_connected(x, _normal(rng, 6, 3)))


def _dead_channels(rng: np.random.Generator) -> Graph:
    """Weights of 0 leave constant outputs, with factors of any size."""
    build = GraphBuilder("dead_channels", (1, 4, 4, 4))
    weights, bias = _normal(rng, 6, 1, 1, 4), _normal(rng, 6)
    weights[[1, 4]] = 0
    x = build.conv2d(build.input, weights, bias, activation=Activation.RELU)
    filters = _normal(rng, 1, 3, 3, 6)
    filters[..., 2] = 0
    return build.finish(build.depthwise_conv2d(x, filters, _normal(rng, 6)))


ODD = (
    _odd_channels,
    _dilated,
    _windows_3x3,
    _dense_rest,
    _dead_channels,
)


@pytest.mark.parametrize(
    "flags", [("-O0",), pytest.param(SANITIZE, marks=pytest.mark.slow)], ids=["plain", "sanitized"]
)
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("make", ODD)
@pytest.mark.slow
def test_output_equals_reference_when_a_layer_is_odd(
    make: Make,
    family: Family,
    flags: tuple[str, ...],
    tmp_path: Path,
    require_tool: RequireTool,
) -> None:
    require_tool("gcc")
    graph = _quantized(make(np.random.default_rng(1)))
    inputs = _inputs(graph, 200)
    found = _run(graph, family, inputs, tmp_path / "c", *flags)
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


def _one_of_each(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("one_of_each", (1, 4, 4, 4))
    x = build.conv2d(build.input, _normal(rng, 4, 1, 1, 4), _normal(rng, 4))
    y = build.conv2d(x, _normal(rng, 4, 2, 3, 4), padding=((1, 0), (1, 1)))
    x = build.depthwise_conv2d(build.add(x, y), _normal(rng, 1, 3, 3, 4), padding=((1, 1), (1, 1)))
    return build.finish(build.fully_connected(build.mean(x), _normal(rng, 5, 4), _normal(rng, 5)))


# Scales of the outputs of: convolution, convolution, add, depthwise, mean, fully connected; and
# the kernels that the dsp family then takes, some of them portable ones.
FACTORS = {
    "above_one": (
        (1e-4, 3e-7, 1e-10, 3e-13, 3e-13, 1e-15),
        "pointwise conv2d add depthwise_conv2d mean dsp_fully_connected_wide",
    ),
    "tiny": (
        (50.0, 4e8, 1e11, 2e14, 2e14, 1e20),
        "dsp_pointwise_signed conv2d dsp_add_signed dsp_depthwise_signed mean "
        "dsp_fully_connected_wide",
    ),
}


def _scaled(graph: Graph, scales: tuple[float, ...]) -> Graph:
    """`graph` with these scales of its nodes' outputs."""
    values = dict(graph.values)
    for node, scale in zip(graph.nodes, scales, strict=True):
        quant = values[node.output].quant
        assert quant is not None
        quant = dataclasses.replace(quant, scale=(scale,))
        values[node.output] = dataclasses.replace(values[node.output], quant=quant)
    return graph.replace(values=values.values())


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("kind", FACTORS)
@pytest.mark.slow
def test_output_equals_reference_when_factors_are_extreme(
    kind: str, family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    scales, kernels = FACTORS[kind]
    graph = _scaled(_quantized(_one_of_each(np.random.default_rng(1))), scales)
    inputs = _inputs(graph, 100)
    if family is Family.DSP:
        text = emit_c(graph, inputs[:1], family).files["model.c"].decode()
        assert " ".join(re.findall(r"^    ek_(\w+)\(", text, re.M)) == kernels
    found = _run(graph, family, inputs, tmp_path / "c", "-O1")
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


@pytest.mark.parametrize("family", Family)
def test_double_precision_is_kept_when_no_integer_factor_is_exact(
    family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    build = GraphBuilder("neither", (1, 13))
    weights = _normal(np.random.default_rng(0), 7, 13)
    graph = _quantized(build.finish(build.fully_connected(build.input, weights)))
    one, factor = QuantParams((1.0,), (0,)), QuantParams((float(np.nextafter(0.125, 0.0)),), (0,))
    node = graph.nodes[0]
    quants = {node.inputs[0]: one, node.inputs[1]: factor, node.output: one}
    values = (
        dataclasses.replace(value, quant=quants.get(value.name, value.quant))
        for value in graph.values.values()
    )
    graph = graph.replace(values=values)
    inputs = _inputs(graph, 5000) // 8
    assert "_double(" in emit_c(graph, inputs[:1], family).files["model.c"].decode()
    found = _run(graph, family, inputs, tmp_path / "c", "-O1")
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 40))]
)
@pytest.mark.slow
def test_output_equals_reference_when_the_graph_is_random(
    seed: int, random_graph: RandomGraph, tmp_path: Path, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    graph = _quantized(random_graph(seed), seed)
    inputs = _inputs(graph, 300, seed)
    expected = run_int8(graph, inputs)
    for family in Family:
        found = _run(graph, family, inputs, tmp_path / family, *SANITIZE)
        np.testing.assert_array_equal(found, expected, err_msg=family)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_output_equals_reference_when_the_model_is_real(
    name: str, mlperf_models: Path, tmp_path: Path, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    graph = import_model(mlperf_models / f"{name}_int8.tflite")
    inputs = _inputs(graph, 4)
    found = _run(graph, Family.DSP, inputs, tmp_path / "c", "-O1")
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


@pytest.mark.slow
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MODELS)
def test_output_equals_reference_when_a_thousand_inputs_are_run(
    name: str, family: Family, mlperf_models: Path, tmp_path: Path, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    graph = import_model(mlperf_models / f"{name}_int8.tflite")
    inputs = _inputs(graph, 1000, seed=1)
    found = _run(graph, family, inputs, tmp_path / "c", "-O3")
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


# What TensorFlow Lite Micro with CMSIS-NN takes is about twice of these: benchmarks/mcu.py.
MOST_INSTRUCTIONS = {
    "ad_fc": 330_000,
    "ic_resnet8": 14_600_000,
    "kws_dscnn": 3_900_000,
    "vww_mbv1": 12_200_000,
}


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.parametrize("name", MODELS)
def test_emulated_core_is_exact_and_fast_when_the_family_is_its_own(
    name: str, mlperf_models: Path, tmp_path: Path, require_tool: RequireTool
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph = import_model(mlperf_models / f"{name}_int8.tflite")
    inputs = _inputs(graph, 20, seed=2)
    target = load_target("cortex-m4")
    emit_c(graph, inputs, family_of_core(target.core)).write(tmp_path)
    result = emulate_folder(tmp_path, target)
    assert result.outputs == run_int8(graph, inputs).tobytes()
    assert result.instructions <= MOST_INSTRUCTIONS[name]
    assert result.code_bytes <= 16_384
    assert result == emulate_folder(tmp_path, target)


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("core", MACHINES)
def test_every_core_gives_the_reference_when_emulated(
    core: str, family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    for tool in MACHINES[core].tools:
        require_tool(tool)
    target = dataclasses.replace(load_target("cortex-m4"), core=core)
    for make in (_one_of_each, _odd_channels, _windows_3x3, _dense_rest):
        graph = _quantized(make(np.random.default_rng(1)))
        inputs = _inputs(graph, 30)
        folder = tmp_path / make.__name__
        folder.mkdir()
        emit_c(graph, inputs, family).write(folder)
        result = emulate_folder(folder, target)
        assert result.outputs == run_int8(graph, inputs).tobytes()
        assert result.ram_bytes == memory_plan(graph, family).arena_bytes


@pytest.mark.parametrize("name", MODELS)
def test_weights_do_not_grow_when_they_are_packed(name: str, mlperf_models: Path) -> None:
    """Against the bytes of the model's constants; three hundredths more at most."""
    graph = import_model(mlperf_models / f"{name}_int8.tflite")
    constants = (value for value in graph.values.values() if value.data is not None)
    original = sum(value.nbytes for value in constants if value.dtype.numpy == np.int8)
    arrays = emit_c(graph, _inputs(graph, 1), Family.DSP).files["weights.h"].decode()
    packed = sum(
        int(line.split("[")[1].split("]")[0]) * (4 if "uint32_t" in line else 1)
        for line in arrays.splitlines()
        if "_weights[" in line
    )
    assert packed <= original * 1.03


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55", "cortex-m0plus", "rv32imc"])
@pytest.mark.slow
def test_code_compiles_without_a_warning_when_the_core_is_small(
    core: str, tmp_path: Path, require_tool: RequireTool
) -> None:
    machine = MACHINES[core]
    cc = require_tool(machine.tools[0])
    graph = _quantized(_one_of_each(np.random.default_rng(1)))
    for family in Family:
        folder = tmp_path / family
        folder.mkdir()
        emit_c(graph, _inputs(graph, 1), family).write(folder)
        files = sorted(path.name for path in folder.glob("*.c") if path.name != "main.c")
        command = (cc, *machine.flags, *WARNINGS, "-ffreestanding", "-O2", "-c", *files)
        built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr


def _groups(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("groups", (1, 5, 6, 6))
    weights = _normal(rng, 15, 2, 3, 2)
    padding = ((1, 0), (1, 1))
    return build.finish(build.conv2d(build.input, weights, stride=(1, 2), padding=padding))


def _several_outputs_3x3(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("several_outputs_3x3", (1, 5, 4, 3))
    weights = _normal(rng, 1, 3, 3, 9)
    return build.finish(build.depthwise_conv2d(build.input, weights, padding=((1, 1), (1, 1))))


def _several_outputs(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("several_outputs", (1, 5, 4, 2))
    return build.finish(build.depthwise_conv2d(build.input, _normal(rng, 1, 2, 4, 4)))


def _rows(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("rows", (1, 3, 2, 9))
    return build.finish(build.fully_connected(build.input, _normal(rng, 7, 9)))


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("make", [_groups, _several_outputs_3x3, _several_outputs, _rows])
@pytest.mark.slow
def test_output_equals_reference_when_an_operator_is_unusual(
    make: Make, family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    graph = _quantized(make(np.random.default_rng(1)))
    inputs = _inputs(graph, 300)
    found = _run(graph, family, inputs, tmp_path / "c", "-O1", "-fsanitize=undefined")
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


def test_core_has_the_family_it_can_run_fast() -> None:
    assert family_of_core("Cortex-M4F") is Family.DSP
    assert family_of_core("cortex-m0plus") is Family.PORTABLE
    assert family_of_core("Cortex-M55") is Family.HELIUM
