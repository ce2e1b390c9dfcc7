"""Generated C equals the integer reference byte for byte, and asks nothing of its platform."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import CSources, emit_c, memory_plan
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.ops import Activation, AxisAttrs, Op
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import TOOLS, emulate_folder
from edgekiln.targets.profiles import load_target

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
WARNINGS += ("-Wcast-align=strict", "-Wvla", "-Wundef")
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
RequireTool = Callable[[str], str]


def _weights(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def _conv(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("conv", (1, 7, 6, 3))
    x = build.conv2d(
        build.input,
        _weights(rng, 5, 3, 2, 3),
        _weights(rng, 5),
        stride=(2, 1),
        padding=((1, 1), (0, 1)),
        activation=Activation.RELU,
    )
    x = build.conv2d(x, _weights(rng, 4, 2, 2, 5), dilation=(2, 3), activation=Activation.RELU6)
    return build.finish(x)


def _depthwise(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("depthwise", (1, 8, 7, 4))
    x = build.depthwise_conv2d(
        build.input,
        _weights(rng, 1, 3, 3, 4),
        _weights(rng, 4),
        stride=(1, 2),
        padding=((1, 1), (1, 1)),
    )
    x = build.depthwise_conv2d(
        x, _weights(rng, 1, 2, 2, 4), dilation=(3, 2), activation=Activation.RELU
    )
    return build.finish(build.conv2d(x, _weights(rng, 6, 1, 1, 4), _weights(rng, 6)))


def _residual(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("residual", (1, 6, 6, 4))
    x = build.conv2d(build.input, _weights(rng, 4, 1, 1, 4), activation=Activation.RELU)
    y = build.conv2d(x, _weights(rng, 4, 3, 3, 4), _weights(rng, 4), padding=((1, 1), (1, 1)))
    z = build.add(x, y, activation=Activation.RELU)
    mean = build.mean(build.add(z, build.input))
    return build.finish(build.fully_connected(mean, _weights(rng, 3, 4), _weights(rng, 3)))


def _pools(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("pools", (1, 9, 8, 2))
    x = build.pad(build.input, ((1, 2), (0, 1)))
    x = build.max_pool2d(x, (3, 2), (2, 2), ((1, 1), (1, 0)))
    x = build.conv2d(x, _weights(rng, 3, 1, 1, 2), _weights(rng, 3))
    x = build.average_pool2d(x, (2, 3), (1, 2), ((1, 0), (1, 1)))
    _, height, width, channels = build.shape(x)
    size = height * width * channels
    x = build.reshape(x, (1, size))
    return build.finish(build.fully_connected(x, _weights(rng, 5, size), _weights(rng, 5)))


def _dense(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("dense */ \u00e9", (1, 30))
    x = build.fully_connected(
        build.input, _weights(rng, 16, 30), _weights(rng, 16), activation=Activation.RELU
    )
    return build.finish(build.fully_connected(x, _weights(rng, 1, 16), _weights(rng, 1)))


def _only_reshape(_: np.random.Generator) -> Graph:
    build = GraphBuilder("reshape", (1, 2, 3, 4))
    return build.finish(build.reshape(build.input, (1, 24)))


def _wide_padding(rng: np.random.Generator) -> Graph:
    """Some windows see nothing but padding."""
    build = GraphBuilder("wide_padding", (1, 4, 5, 3))
    x = build.depthwise_conv2d(
        build.input, _weights(rng, 1, 2, 2, 3), _weights(rng, 3), padding=((3, 2), (0, 4))
    )
    x = build.conv2d(
        x, _weights(rng, 2, 3, 2, 3), _weights(rng, 2), padding=((7, 0), (5, 5)), dilation=(3, 2)
    )
    return build.finish(x)


GRAPHS = (_conv, _depthwise, _residual, _pools, _dense, _wide_padding, _only_reshape)


def _int8(make: Callable[[np.random.Generator], Graph], seed: int = 0) -> tuple[Graph, Array]:
    """A quantized graph and golden inputs that reach both ends of the range."""
    rng = np.random.default_rng(seed)
    graph = make(rng)
    shape = graph.input.shape[1:]
    quantized = quantize(graph, rng.normal(0, 1, (32, *shape)).astype(np.float32))
    golden = rng.integers(-128, 128, (64, *shape)).astype(np.int8)
    golden[0], golden[1] = -128, 127
    return quantized, golden


def _sources(
    make: Callable[[np.random.Generator], Graph], family: Family = Family.PORTABLE
) -> CSources:
    return emit_c(*_int8(make), family)


def _compile(sources: CSources, folder: Path, cc: str, *flags: str) -> None:
    sources.write(folder)
    files = sorted(path.name for path in folder.glob("*.c"))
    result = subprocess.run(
        (cc, *flags, *files), cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "family", [Family.PORTABLE, pytest.param(Family.DSP, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("make", GRAPHS)
@pytest.mark.slow
def test_output_equals_reference_when_run_under_sanitizers(
    make: Callable[[np.random.Generator], Graph],
    family: Family,
    tmp_path: Path,
    require_tool: RequireTool,
) -> None:
    graph, golden = _int8(make)
    _compile(
        emit_c(graph, golden, family),
        tmp_path,
        require_tool("gcc"),
        *WARNINGS,
        *SANITIZE,
        "-o",
        "run",
    )
    result = subprocess.run((tmp_path / "run",), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert bytes.fromhex(result.stdout) == run_int8(graph, golden).tobytes()


@pytest.mark.parametrize(
    "family",  # tests/compiler/test_measure_c.py runs portable C on the core
    [pytest.param(Family.PORTABLE, marks=pytest.mark.slow), Family.DSP],
)
def test_output_equals_reference_when_run_on_the_emulated_core(
    family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph, golden = _int8(_residual)
    emit_c(graph, golden, family).write(tmp_path)
    result = emulate_folder(tmp_path, load_target("cortex-m4"))
    assert result.outputs == run_int8(graph, golden).tobytes()
    assert result.ram_bytes == memory_plan(graph, family).arena_bytes


def test_exit_code_is_one_when_weights_are_another_models(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    other = emit_c(*_int8(_dense, seed=1)).files["weights.c"]
    spoiled = CSources({**_sources(_dense).files, "weights.c": other})
    _compile(spoiled, tmp_path, require_tool("gcc"), "-std=c99", "-w", "-o", "run")
    result = subprocess.run((tmp_path / "run",), capture_output=True, check=False)
    assert result.returncode == 1


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("make", GRAPHS)
@pytest.mark.slow
def test_objects_need_no_library_and_hold_no_state_when_compiled(
    make: Callable[[np.random.Generator], Graph],
    family: Family,
    tmp_path: Path,
    require_tool: RequireTool,
) -> None:
    """No undefined symbol means no heap and no libm; no writable symbol means re-entrant."""
    _compile(
        _sources(make, family), tmp_path, require_tool("gcc"), *WARNINGS, "-Os", "-fno-pie", "-c"
    )
    objects = sorted(path.name for path in tmp_path.glob("*.o") if path.name != "main.o")
    listing = subprocess.run(
        ("nm", *objects), cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    defined = set(re.findall(r"^\S+ [TtRr] (\S+)$", listing, re.M))
    undefined = set(re.findall(r"^ +U (\S+)$", listing, re.M))
    assert undefined <= defined | {"_GLOBAL_OFFSET_TABLE_"}
    assert not re.findall(r"^\S+ [BbDdCc] \S+$", listing, re.M)


def test_contexts_do_not_disturb_each_other_when_interleaved(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    main = b"""
#include <stdio.h>
#include <string.h>
#include "golden.h"
#include "model.h"
int main(void) {
    static model a, b;
    memcpy(model_input(&a), golden_inputs[2], MODEL_INPUT_SIZE);
    memcpy(model_input(&b), golden_inputs[3], MODEL_INPUT_SIZE);
    model_invoke(&a);
    model_invoke(&b);
    return memcmp(model_output(&a), golden_outputs[2], MODEL_OUTPUT_SIZE) != 0
        || memcmp(model_output(&b), golden_outputs[3], MODEL_OUTPUT_SIZE) != 0;
}
"""
    both = CSources({**_sources(_residual).files, "main.c": main})
    _compile(both, tmp_path, require_tool("gcc"), *WARNINGS, "-o", "run")
    assert subprocess.run((tmp_path / "run",), check=False).returncode == 0


def test_only_used_kernels_are_copied_when_graph_is_dense() -> None:
    kernels = {name for name in _sources(_dense).files if name.endswith(".c")}
    assert kernels == {"ek_fully_connected.c", "main.c", "model.c", "weights.c"}


def test_files_are_equal_when_emitted_twice() -> None:
    assert _sources(_residual).files == _sources(_residual).files


def test_float_graph_is_refused_when_emitted() -> None:
    graph = _dense(np.random.default_rng(0))
    with pytest.raises(EmitError, match="int8 graph"):
        emit_c(graph, np.zeros((1, 30), np.int8))


@pytest.mark.parametrize(
    "golden", [np.zeros((1, 29), np.int8), np.zeros((0, 30), np.int8), np.zeros((1, 30))]
)
def test_golden_is_refused_when_it_does_not_fit(golden: Array) -> None:
    graph, _ = _int8(_dense)
    with pytest.raises(EmitError, match="golden inputs"):
        emit_c(graph, golden)


def test_emit_c_says_what_it_lacks_when_an_output_is_no_int8() -> None:
    build = GraphBuilder("lacking", (1, 5, 5, 4))
    place = build.node(Op.ARG_MAX, (build.input,), AxisAttrs(3))
    graph = quantize(build.finish(place), np.ones((2, 5, 5, 4), np.float32))
    with pytest.raises(EmitError, match="C takes int8"):
        emit_c(graph, np.zeros((1, 5, 5, 4), np.int8))
