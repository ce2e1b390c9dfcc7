"""QUANTIZE and DEQUANTIZE equal LiteRT's, ties and ends of the range included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import BinaryAttrs, NoAttrs, Op

Run = Callable[[bytes, Array], dict[str, Array]]
SEEDS = range(12)


def drawn_quant(rng: np.random.Generator, dtype: DType) -> QuantParams:
    zero_point = int(rng.integers(-128, 128)) if dtype is DType.INT8 else 0
    return QuantParams((float(np.float32(10 ** rng.uniform(-4, 0))),), (zero_point,))


def conversion(op: Op, x: Value, y: Value) -> Graph:
    graph = Graph.build("t", [x, y], [Node(op, "y", ("x",), ("y",), NoAttrs())], ("x",), ("y",))
    check(graph)
    return graph


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
def test_quantize_rounds_ties_away_from_zero_and_saturates(
    dtype: DType, run_reference: Run
) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        quant = drawn_quant(rng, dtype)
        steps = np.arange(-40, 41) / 2  # every half step is a tie
        far = rng.normal(0, 1e5, 100)
        batch = (np.append(steps, far) * np.float32(quant.scale[0])).astype(np.float32)[None]
        x = Value("x", batch.shape, DType.FLOAT32)
        graph = conversion(Op.QUANTIZE, x, Value("y", batch.shape, dtype, quant))
        theirs = run_reference(emit_tflite(graph), batch)["y"]
        np.testing.assert_array_equal(run_all(graph, {"x": batch})["y"], theirs)


@pytest.mark.parametrize(
    ("before", "after"),
    [(a, b) for a in (DType.INT8, DType.INT16) for b in (DType.INT8, DType.INT16)],
)
def test_quantize_changes_the_encoding_as_litert_does_on_every_code(
    before: DType, after: DType, run_reference: Run
) -> None:
    limits = np.iinfo(before.numpy)
    batch = np.arange(limits.min, limits.max + 1, dtype=before.numpy)[None]
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        x = Value("x", batch.shape, before, drawn_quant(rng, before))
        y = Value("y", batch.shape, after, drawn_quant(rng, after))
        graph = conversion(Op.QUANTIZE, x, y)
        theirs = run_reference(emit_tflite(graph), batch)["y"]
        np.testing.assert_array_equal(run_all(graph, {"x": batch})["y"], theirs)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
def test_dequantize_gives_litert_s_floats_on_every_code(dtype: DType, run_reference: Run) -> None:
    limits = np.iinfo(dtype.numpy)
    batch = np.arange(limits.min, limits.max + 1, dtype=dtype.numpy)[None]
    for seed in SEEDS:
        quant = drawn_quant(np.random.default_rng(seed), dtype)
        x = Value("x", batch.shape, dtype, quant)
        graph = conversion(Op.DEQUANTIZE, x, Value("y", batch.shape, DType.FLOAT32))
        theirs = run_reference(emit_tflite(graph), batch)["y"]
        np.testing.assert_array_equal(run_all(graph, {"x": batch})["y"], theirs)


def test_dequantize_widens_a_float16_constant_exactly(run_reference: Run) -> None:
    halves = np.random.default_rng(0).normal(0, 1, (1, 50)).astype(np.float16)
    values = [
        Value("x", (1, 50), DType.FLOAT32),
        Value("h", (1, 50), DType.FLOAT16, data=halves),
        Value("f", (1, 50), DType.FLOAT32),
        Value("y", (1, 50), DType.FLOAT32),
    ]
    nodes = [
        Node(Op.DEQUANTIZE, "f", ("h",), ("f",), NoAttrs()),
        Node(Op.ADD, "y", ("x", "f"), ("y",), BinaryAttrs()),
    ]
    graph = Graph.build("t", values, nodes, ("x",), ("y",))
    check(graph)
    batch = np.ones((1, 50), np.float32)
    theirs = run_reference(emit_tflite(graph), batch)["y"]
    np.testing.assert_array_equal(run_all(graph, {"x": batch})["y"], theirs)
