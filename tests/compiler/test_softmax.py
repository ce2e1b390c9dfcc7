"""The int8 softmax against LiteRT's reference kernel, and through every emitter."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import GrammarError
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import NoAttrs, Op
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8
from edgekiln.compiler.softmax import OUTPUT_QUANT, softmax_int8
from edgekiln.compiler.workload import workload

C_FLAGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"),
    *("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)
SCALES = (1e-5, 0.001, 0.0146, 0.1, 0.17, 0.5, 2.0, 40.0)


def softmax_graph(classes: int, scale: float) -> Graph:
    quant = QuantParams((float(np.float32(scale)),), (3,))
    values = (
        Value("input", (1, classes), DType.INT8, quant),
        Value("softmax", (1, classes), DType.INT8, OUTPUT_QUANT),
    )
    node = Node(Op.SOFTMAX, "softmax", ("input",), ("softmax",), NoAttrs())
    return Graph.build("softmax", values, (node,), ("input",), ("softmax",))


def float_graph(classes: int) -> Graph:
    graph = softmax_graph(classes, 1.0)
    floats = [
        dataclasses.replace(value, dtype=DType.FLOAT32, quant=None)
        for value in graph.values.values()
    ]
    return graph.replace(values=floats)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 200])
def test_softmax_equals_litert_when_logits_are_any(
    run_litert: Callable[..., dict[str, Array]], classes: int, scale: float
) -> None:
    rng = np.random.default_rng(classes)
    x = rng.integers(-128, 128, (8000 // classes + 1, classes)).astype(np.int8)
    x[: len(x) // 2] //= 8  # near one another, as uncertain answers are
    theirs = run_litert(emit_tflite(softmax_graph(classes, scale)), x)["softmax"]
    np.testing.assert_array_equal(softmax_int8(x, float(np.float32(scale))), theirs)


def test_softmax_is_not_the_float_table_when_the_two_differ() -> None:
    # exp(-0.1·d) of this row lies so near a rounding boundary that a table of floats rounds up.
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (20_000, 10)).astype(np.int8)
    real = np.exp(np.float32(0.1) * (x - x.max(axis=1, keepdims=True).astype(np.float32)))
    table = np.floor(256 * real / real.sum(axis=1, keepdims=True) + 0.5).clip(0, 255) - 128
    differing = np.abs(softmax_int8(x, float(np.float32(0.1))) - table)
    assert 0 < np.count_nonzero(differing) < 10
    assert differing.max() == 1


def test_quantize_gives_shares_their_fixed_scale_when_a_float_graph_ends_in_softmax(
    run_onnx: Callable[[bytes, Array], Array],
) -> None:
    graph = float_graph(7)
    check(graph)
    x = np.random.default_rng(0).normal(0, 2, (64, 7)).astype(np.float32)
    quantized = quantize(graph, x)
    assert quantized.output.quant == OUTPUT_QUANT
    found = dequantize_output(quantized, run_int8(quantized, quantize_input(quantized, x)))
    np.testing.assert_allclose(found, run_float(graph, x), atol=0.02)
    np.testing.assert_allclose(run_onnx(emit_onnx(quantized), x), found, atol=1.01 / 256)
    np.testing.assert_allclose(run_onnx(emit_onnx(graph), x), run_float(graph, x), atol=1e-6)


def test_workload_counts_no_macs_when_layer_is_a_softmax() -> None:
    (layer,) = workload(softmax_graph(10, 0.1)).layers
    assert (layer.op, layer.macs) == ("softmax", 0)


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (softmax_graph(5000, 0.1), "at most 4095 classes"),
        (softmax_graph(10, 2.0**-27), "scale above"),
    ],
)
def test_check_refuses_a_softmax_when_its_fixed_point_would_overflow(
    graph: Graph, text: str
) -> None:
    with pytest.raises(GrammarError, match=text):
        check(graph)


def test_check_refuses_a_softmax_when_its_output_has_another_scale() -> None:
    graph = softmax_graph(10, 0.1)
    wrong = dataclasses.replace(graph.output, quant=QuantParams((0.1,), (0,)))
    with pytest.raises(GrammarError, match="scale 0"):
        check(graph.replace(values=[graph.input, wrong]))


@pytest.mark.parametrize("classes", [1, 2, 10, 300])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.slow
def test_generated_c_equals_the_reference_when_logits_are_any(
    require_tool: Callable[[str], str], tmp_path: Path, classes: int, scale: float
) -> None:
    graph = softmax_graph(classes, scale)
    golden = np.random.default_rng(classes).integers(-128, 128, (40, classes)).astype(np.int8)
    golden[:20] //= 8
    emit_c(graph, golden).write(tmp_path)
    binary = str(tmp_path / "model")
    sources = sorted(str(path) for path in tmp_path.glob("*.c"))
    subprocess.run([require_tool("gcc"), *C_FLAGS, *sources, "-o", binary], check=True, timeout=60)
    run = subprocess.run([binary], capture_output=True, text=True, check=True, timeout=60)
    found = np.frombuffer(bytes.fromhex("".join(run.stdout.split())), np.int8)
    np.testing.assert_array_equal(found.reshape(golden.shape), run_int8(graph, golden))
