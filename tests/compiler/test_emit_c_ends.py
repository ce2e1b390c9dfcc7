"""Generated C between number formats: floats at the ends, int8 beside int16, places of maxima."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.measure_c import measure_c
from edgekiln.compiler.ops import AxisAttrs, NoAttrs, Op, TransposeAttrs
from edgekiln.compiler.oracles import run_c_host
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.profiles import load_target

RequireTool = Callable[[str], str]
RunLiteRt = Callable[..., dict[str, Array]]
SHAPE = (1, 3, 4, 5)
WARNINGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"),
    *("-Wcast-align=strict", "-Wvla", "-Wundef", "-fsanitize=address,undefined"),
    "-fno-sanitize-recover=all",
)
INT8, INT8_COARSE = QuantParams((0.05,), (-7,)), QuantParams((0.11,), (100,))
INT16, INT16_COARSE = QuantParams((0.0003,), (0,)), QuantParams((0.5,), (0,))
FORMATS = {
    "from int8 to int16": (DType.INT8, INT8, DType.INT16, INT16),
    "from int8 to few of int16": (DType.INT8, INT8, DType.INT16, INT16_COARSE),
    "from int16 to int8": (DType.INT16, INT16, DType.INT8, INT8_COARSE),
    "from int16 to coarse int16": (DType.INT16, INT16, DType.INT16, INT16_COARSE),
    "from float to int8": (DType.FLOAT32, None, DType.INT8, INT8_COARSE),
    "from float to int16": (DType.FLOAT32, None, DType.INT16, INT16_COARSE),
    "from int8 to float": (DType.INT8, INT8, DType.FLOAT32, None),
    "from int16 to float": (DType.INT16, INT16, DType.FLOAT32, None),
}


def _chain(x: Value, *steps: tuple[Op, NoAttrs | AxisAttrs | TransposeAttrs, Value]) -> Graph:
    """Operators of one operand, one after the other."""
    values, nodes = [x], []
    for op, attrs, value in steps:
        nodes.append(Node(op, value.name, (values[-1].name,), (value.name,), attrs))
        values.append(value)
    graph = Graph.build("ends", values, nodes, (x.name,), (values[-1].name,))
    check(graph)
    return graph


def _conversion(name: str) -> Graph:
    before, from_quant, after, to_quant = FORMATS[name]
    op = Op.DEQUANTIZE if after is DType.FLOAT32 else Op.QUANTIZE
    return _chain(
        Value("x", SHAPE, before, from_quant), (op, NoAttrs(), Value("y", SHAPE, after, to_quant))
    )


def _samples(graph: Graph) -> Array:
    """All codes and their ends; floats with ties, numbers out of range and infinities."""
    rng, shape, kind = np.random.default_rng(0), (40, *SHAPE[1:]), graph.input.dtype.numpy
    if kind != np.float32:
        ends = np.iinfo(kind)
        drawn = rng.integers(ends.min, ends.max + 1, shape).astype(kind)
        drawn[:1], drawn[1:2] = ends.min, ends.max
        return drawn
    assert graph.output.quant is not None
    halves = rng.integers(-400, 400, shape).astype(np.float32) / 2
    floats = halves * np.float32(graph.output.quant.scale[0])
    floats[1:20] = rng.normal(0, 30, floats[1:20].shape)
    floats.reshape(-1)[:5] = [0.0, 1e30, -1e30, 1e-30, -0.0]
    return floats


def _run(graph: Graph, inputs: Array, folder: Path, cc: str) -> bytes:
    """What the program prints; it compares, too."""
    emit_c(graph, inputs).write(folder)
    files = sorted(path.name for path in folder.glob("*.c"))
    built = subprocess.run(
        (cc, *WARNINGS, *files, "-o", "run"),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    ran = subprocess.run((folder / "run",), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return bytes.fromhex(ran.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_codes_equal_the_reference_when_formats_are_converted(
    name: str, tmp_path: Path, require_tool: RequireTool
) -> None:
    graph = _conversion(name)
    inputs = _samples(graph)
    assert _run(graph, inputs, tmp_path, require_tool("gcc")) == run_int8(graph, inputs).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("index", [DType.INT32, DType.INT64])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_first_of_the_largest_is_found_when_codes_repeat(
    axis: int, index: DType, tmp_path: Path, require_tool: RequireTool
) -> None:
    shape = SHAPE[:axis] + SHAPE[axis + 1 :]
    graph = _chain(
        Value("x", SHAPE, DType.INT8, INT8),
        (Op.ARG_MAX, AxisAttrs(axis), Value("y", shape, index)),
    )
    inputs = np.random.default_rng(0).integers(-2, 3, (40, *SHAPE[1:])).astype(np.int8)
    assert _run(graph, inputs, tmp_path, require_tool("gcc")) == run_int8(graph, inputs).tobytes()


def test_indices_are_moved_whole_when_they_are_transposed(require_tool: RequireTool) -> None:
    graph = _chain(
        Value("x", SHAPE, DType.INT8, INT8),
        (Op.ARG_MAX, AxisAttrs(1), Value("y", (1, 4, 5), DType.INT32)),
        (Op.TRANSPOSE, TransposeAttrs((0, 2, 1)), Value("z", (1, 5, 4), DType.INT32)),
    )
    require_tool("gcc")
    inputs = _samples(graph)[:4]
    expected = run_int8(graph, inputs).reshape(4, -1)
    np.testing.assert_array_equal(run_c_host(emit_c(graph, inputs).files, expected), expected)


def _places(recipe: Recipe) -> Graph:
    rng = np.random.default_rng(0)
    build = GraphBuilder("places", (1, 3, 8))
    x = build.fully_connected(build.input, rng.normal(0, 1, (6, 8)), rng.normal(0, 1, 6))
    graph = build.finish(build.node(Op.ARG_MAX, (x,), AxisAttrs(2)))
    return quantize_by(graph, rng.normal(0, 1, (16, 3, 8)).astype(np.float32), recipe).int8_graph


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ActivationFormat.INT8, ActivationFormat.INT16])
def test_places_equal_litert_when_a_classifier_ends_in_arg_max(
    kind: ActivationFormat, run_litert: RunLiteRt, tmp_path: Path, require_tool: RequireTool
) -> None:
    """int16 has no ARG_MAX in LiteRT: the quantizer converts to float32 before it."""
    graph = _places(Recipe(activations=kind))
    ends = np.iinfo(graph.input.dtype.numpy)
    drawn = np.random.default_rng(1).integers(ends.min, ends.max + 1, (30, 3, 8))
    inputs = drawn.astype(graph.input.dtype.numpy)
    printed = _run(graph, inputs, tmp_path, require_tool("gcc"))
    found = np.frombuffer(printed, np.int32).reshape(30, 3)
    np.testing.assert_array_equal(found, run_litert(emit_tflite(graph), inputs)[graph.outputs[0]])
    assert len(np.unique(found)) > 3


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.parametrize("name", ["from int8 to float", "from float to int16"])
def test_measured_folder_is_exact_when_an_end_is_float(
    name: str, tmp_path: Path, require_tool: RequireTool
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph = _conversion(name)
    emit_c(graph, _samples(graph)[:6]).write(tmp_path)
    report = measure_c(tmp_path, load_target("cortex-m4"))
    assert (report.bit_exact.samples, report.bit_exact.mismatches) == (6, 0)
