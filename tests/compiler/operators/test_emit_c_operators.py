"""Generated C of every operator on tensors of any shape gives the reference's bytes."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import CSources, emit_c
from edgekiln.compiler.graph import Array, DType, Graph, QuantParams
from edgekiln.compiler.ops import (
    Activation,
    Attrs,
    AxisAttrs,
    BinaryAttrs,
    GeluAttrs,
    LeakyAttrs,
    MatmulAttrs,
    Op,
    PadAttrs,
    ReduceAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import TOOLS, emulate_folder
from edgekiln.targets.profiles import load_target

Draft = Any  # of this folder's conftest.py
Make = Callable[[DType, int], Draft]
RequireTool = Callable[[str], str]
Layer = Callable[[Draft], str]
SAMPLES = 200
FLAGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"),
    *("-Wcast-align=strict", "-Wvla", "-Wundef", "-fsanitize=undefined,address"),
    "-fno-sanitize-recover=all",
)
MAIN = b"""
#include <stdio.h>
#include "model.h"
static model context;
int main(void) {
    model_input_type *x = model_input(&context);
    while (fread(x, sizeof *x, MODEL_INPUT_SIZE, stdin) == MODEL_INPUT_SIZE) {
        model_invoke(&context);
        fwrite(model_output(&context), sizeof(model_output_type), MODEL_OUTPUT_SIZE, stdout);
    }
    return 0;
}
"""


def _one(op: Op, attrs: Attrs | None = None, shape: tuple[int, ...] = (1, 4, 5, 3)) -> Layer:
    """The operator on the input alone; exponentials get the range that they need."""

    def layer(draft: Draft) -> str:
        x = draft.input(shape)
        reach = draft.reach(x)
        largest = math.exp(min(reach, 20.0)) if op is Op.EXP else reach
        return str(draft.node(op, (x,), attrs, largest=largest))

    return layer


def _with_constant(op: Op, attrs: Attrs | None, shape: tuple[int, ...], first: bool) -> Layer:
    """The operator on the input and a constant, which may come first."""

    def layer(draft: Draft) -> str:
        x = draft.input((1, 4, 5, 3))
        shared = op in (Op.MINIMUM, Op.MAXIMUM, Op.CONCATENATION)
        other = draft.constant(shape, draft.quant(x) if shared else None)
        operands = (other, x) if first else (x, other)
        return str(draft.node(op, operands, attrs, largest=draft.reach(x)))

    return layer


def _gated(op: Op, attrs: Attrs | None, keep: tuple[int, ...]) -> Layer:
    """The operator on the input and a part of it that is broadcast again."""

    def layer(draft: Draft) -> str:
        x = draft.input((1, 4, 5, 3))
        part = draft.node(Op.REDUCE_MAX, (x,), ReduceAttrs(keep, keep_dims=True))
        return str(draft.node(op, (x, part), attrs, largest=draft.reach(x)))

    return layer


def _matmul(b_shape: tuple[int, ...], attrs: MatmulAttrs) -> Layer:
    def layer(draft: Draft) -> str:
        a = draft.input((1, 3, 4, 5))
        b = draft.constant(b_shape)
        return str(draft.node(Op.BATCH_MATMUL, (a, b), attrs, largest=draft.reach(a) * 5))

    return layer


def _gram(draft: Draft) -> str:
    x = draft.input((1, 3, 4, 5))
    return str(draft.node(Op.BATCH_MATMUL, (x, x), MatmulAttrs(True), largest=draft.reach(x)))


def _concatenated(draft: Draft) -> str:
    x = draft.input((1, 4, 5, 3))
    part = draft.node(Op.SLICE, (x,), SliceAttrs((0, 0, 1, 0), (1, 4, 2, 3), (1, 1, 2, 1)))
    other = draft.constant((1, 4, 1, 3), draft.quant(x))
    return str(draft.node(Op.CONCATENATION, (part, other, x, part), AxisAttrs(2)))


def _rsqrt(draft: Draft) -> str:
    """Of numbers that are not negative: int16 ones are given so."""
    wide = draft.dtype is DType.INT16
    x = draft.input((1, 4, 5, 3), QuantParams((0.05,), (0 if wide else -128,)))
    return str(draft.node(Op.RSQRT, (x,), largest=5.0))


PAIR = BinaryAttrs()
RELU = BinaryAttrs(Activation.RELU)
RELU6 = BinaryAttrs(Activation.RELU6)
LAYERS: dict[str, Layer] = {
    **{op.value: _one(op) for op in (Op.RELU, Op.RELU6, Op.ELU, Op.HARD_SWISH, Op.LOGISTIC)},
    **{op.value: _one(op) for op in (Op.TANH, Op.EXP, Op.ABS, Op.QUANTIZE)},
    "rsqrt": _rsqrt,
    "leaky_relu": _one(Op.LEAKY_RELU, LeakyAttrs(-0.3)),
    "gelu": _one(Op.GELU, GeluAttrs()),
    "prelu_one_slope": _with_constant(Op.PRELU, None, (1, 1, 1), False),
    "prelu": _with_constant(Op.PRELU, None, (1, 1, 3), False),
    "scaled": _with_constant(Op.MUL, RELU6, (1,), True),
    "shifted": _with_constant(Op.SUB, RELU, (1,), True),
    "mul_channels": _with_constant(Op.MUL, PAIR, (3,), False),
    "mul_image": _gated(Op.MUL, PAIR, (1, 2)),
    "mul_pixels": _gated(Op.MUL, RELU, (3,)),
    "add_rows": _with_constant(Op.ADD, RELU6, (4, 1, 1), True),
    "add_image": _gated(Op.ADD, RELU, (1, 2)),
    "sub_constant": _with_constant(Op.SUB, PAIR, (5, 3), True),
    "sub_columns": _gated(Op.SUB, RELU, (1, 3)),
    "minimum": _with_constant(Op.MINIMUM, None, (5, 1), False),
    "maximum": _gated(Op.MAXIMUM, None, (2,)),
    "slice": _one(Op.SLICE, SliceAttrs((0, 3, 0, 2), (1, 2, 3, 3), (1, -2, 2, -1))),
    "transpose": _one(Op.TRANSPOSE, TransposeAttrs((0, 3, 1, 2))),
    "transpose_5": _one(Op.TRANSPOSE, TransposeAttrs((0, 2, 4, 1, 3)), (1, 2, 3, 4, 5)),
    "pad": _one(Op.PAD, PadAttrs(((0, 0), (1, 0), (0, 2), (2, 1)))),
    "pad_with_number": _one(Op.PAD, PadAttrs(((0, 0), (1, 2), (0, 1), (0, 0)), 0.5)),
    "pad_rank_3": _one(Op.PAD, PadAttrs(((0, 0), (3, 2), (0, 0))), (1, 4, 5)),
    "resize_nearest": _one(Op.RESIZE_NEAREST_NEIGHBOR, ResizeAttrs((7, 4))),
    "resize_nearest_half": _one(
        Op.RESIZE_NEAREST_NEIGHBOR, ResizeAttrs((8, 10), half_pixel_centers=True)
    ),
    "resize_bilinear": _one(Op.RESIZE_BILINEAR, ResizeAttrs((7, 3), align_corners=True)),
    "resize_bilinear_half": _one(Op.RESIZE_BILINEAR, ResizeAttrs((9, 11), half_pixel_centers=True)),
    "concatenation": _concatenated,
    "concatenation_channels": _with_constant(Op.CONCATENATION, AxisAttrs(3), (1, 4, 5, 2), True),
    "mean_rows": _one(Op.MEAN, ReduceAttrs((1,))),
    "mean_channels": _one(Op.MEAN, ReduceAttrs((3,), keep_dims=True)),
    "mean_apart": _one(Op.MEAN, ReduceAttrs((1, 3)), (1, 6, 3, 4)),
    "sum": _one(Op.SUM, ReduceAttrs((2,))),
    "reduce_max": _one(Op.REDUCE_MAX, ReduceAttrs((1, 2))),
    "log_softmax": _one(Op.LOG_SOFTMAX, None, (1, 3, 40)),
    "matmul": _matmul((1, 3, 5, 2), MatmulAttrs()),
    "matmul_broadcast": _matmul((5, 6), MatmulAttrs()),
    "matmul_transposed": _gram,
}
ONLY_INT8 = {"elu", "hard_swish", "prelu", "prelu_one_slope", "sum", "log_softmax"}


def _inputs(graph: Graph, seed: int) -> Array:
    """Noise over all codes, after one sample of each end of the range."""
    rng, kind = np.random.default_rng(seed), graph.input.dtype.numpy
    ends = np.iinfo(kind)
    inputs = rng.integers(ends.min, ends.max + 1, (SAMPLES, *graph.input.shape[1:])).astype(kind)
    inputs[:1], inputs[1:2] = ends.min, ends.max
    if kind == np.int16 and any(node.op is Op.RSQRT for node in graph.nodes):
        return np.maximum(inputs, 0)
    return inputs


def _run(graph: Graph, inputs: Array, folder: Path, cc: str) -> Array:
    CSources({**emit_c(graph, inputs[:1]).files, "main.c": MAIN}).write(folder)
    files = sorted(path.name for path in folder.glob("*.c"))
    command = (cc, *FLAGS, *files, "-o", "run")
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run(
        (folder / "run",), input=inputs.tobytes(), capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    kind = graph.output.dtype.numpy
    return np.frombuffer(ran.stdout, kind).reshape(len(inputs), *graph.output.shape[1:])


def _cases() -> list[Any]:
    return [
        pytest.param(dtype, name, seed, id=f"{dtype}-{name}-{seed}")
        for dtype, seeds in ((DType.INT8, 4), (DType.INT16, 1))
        for name in LAYERS
        if dtype is DType.INT8 or name not in ONLY_INT8
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(("dtype", "name", "seed"), _cases())
@pytest.mark.slow
def test_c_equals_reference_when_encodings_are_drawn(
    dtype: DType, name: str, seed: int, draft: Make, tmp_path: Path, require_tool: RequireTool
) -> None:
    drawn = draft(dtype, seed)
    LAYERS[name](drawn)
    graph = drawn.graph()
    inputs = _inputs(graph, seed)
    found = _run(graph, inputs, tmp_path, require_tool("gcc"))
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_c_equals_reference_when_indices_are_gathered(
    axis: int, tmp_path: Path, require_tool: RequireTool
) -> None:
    build = GraphBuilder("gathered", (1, 4, 5, 3))
    indices = build.constant("indices", np.array([2, 0, 2, 1], np.int32))
    x = build.node(Op.GATHER, (build.input, indices), AxisAttrs(axis))
    samples = np.random.default_rng(0).normal(0, 1, (8, 4, 5, 3)).astype(np.float32)
    graph = quantize(build.finish(x), samples)
    inputs = _inputs(graph, 0)
    found = _run(graph, inputs, tmp_path, require_tool("gcc"))
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


FREE = ("mul_image", "add_rows", "sub_constant", "prelu", "matmul_broadcast", "sum", "mean_apart")


@pytest.mark.parametrize("zero_point", [-128, 127])
@pytest.mark.parametrize("scale", [1e-3, pytest.param(1e3, marks=pytest.mark.slow), 1e9], ids=str)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (i > 1)) for i, n in enumerate(FREE)]
)
@pytest.mark.slow
def test_c_equals_reference_when_factors_are_extreme(
    name: str, scale: float, zero_point: int, draft: Make, tmp_path: Path, require_tool: RequireTool
) -> None:
    drawn = draft(DType.INT8, 0)
    LAYERS[name](drawn)
    graph = drawn.graph()
    output = graph.output
    assert output.quant is not None
    extreme = QuantParams((output.quant.scale[0] * scale,), (zero_point,))
    values = [*graph.values.values(), dataclasses.replace(output, quant=extreme)]
    graph = graph.replace(values=values)
    inputs = _inputs(graph, 0)
    found = _run(graph, inputs, tmp_path, require_tool("gcc"))
    np.testing.assert_array_equal(found, run_int8(graph, inputs))


def test_kernels_need_no_library_and_hold_no_state_when_a_network_uses_all_kinds(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    graph = _network(0)
    emit_c(graph, _inputs(graph, 0)[:1]).write(tmp_path)
    files = sorted(path.name for path in tmp_path.glob("*.c") if path.name != "main.c")
    command = (require_tool("gcc"), "-std=c99", "-Os", "-fno-pie", "-c", *files)
    subprocess.run(command, cwd=tmp_path, check=True)
    objects = sorted(path.name for path in tmp_path.glob("*.o"))
    listing = subprocess.run(
        ("nm", *objects), cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    defined = set(re.findall(r"^\S+ [TtRr] (\S+)$", listing, re.M))
    undefined = set(re.findall(r"^ +U (\S+)$", listing, re.M))
    assert undefined <= defined | {"_GLOBAL_OFFSET_TABLE_"}
    assert not re.findall(r"^\S+ [BbDdCc] \S+$", listing, re.M)


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def _enlarged(build: GraphBuilder, rng: np.random.Generator, x: str, channels: int) -> str:
    weights = build.constant("enlarged.weights", _normal(rng, channels, 3, 2, build.shape(x)[3]))
    bias = build.constant("enlarged.bias", _normal(rng, channels))
    attrs = TransposeConvAttrs((2, 3), ((1, 0), (0, 1)), Activation.RELU)
    return build.node(Op.TRANSPOSE_CONV, (x, weights, bias), attrs)


def _excited(build: GraphBuilder, rng: np.random.Generator, x: str) -> str:
    """Squeeze and excitation."""
    channels = build.shape(x)[3]
    mean = build.node(Op.MEAN, (x,), ReduceAttrs((1, 2), keep_dims=True))
    gate = build.conv2d(mean, _normal(rng, 2, 1, 1, channels), activation=Activation.RELU)
    gate = build.conv2d(gate, _normal(rng, channels, 1, 1, 2), _normal(rng, channels))
    return build.node(Op.MUL, (x, build.node(Op.LOGISTIC, (gate,))), BinaryAttrs())


def _network(seed: int) -> Graph:
    """Blocks of mobile networks, an enlarging head and a little attention."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("network", (1, 6, 5, 3))
    x = build.conv2d(build.input, _normal(rng, 4, 3, 3, 3), _normal(rng, 4), padding=((1, 1),) * 2)
    x = build.node(Op.HARD_SWISH, (x,))
    excited = _excited(build, rng, x)
    x = build.node(Op.CONCATENATION, (excited, x, build.input), AxisAttrs(3))
    x = build.node(Op.GELU, (x,), GeluAttrs())
    x = _enlarged(build, rng, x, 4)
    _, height, width, _ = build.shape(x)
    half = SliceAttrs((0, 0, 1, 0), (1, height, width // 2, 4), (1, 1, 2, 1))
    x = build.reshape(build.node(Op.SLICE, (x,), half), (1, height * (width // 2), 4))
    scores = build.node(Op.SOFTMAX, (build.node(Op.BATCH_MATMUL, (x, x), MatmulAttrs(True)),))
    x = build.node(Op.BATCH_MATMUL, (scores, x), MatmulAttrs())
    x = build.node(Op.MEAN, (x,), ReduceAttrs((1,)))
    graph = build.finish(build.fully_connected(x, _normal(rng, 5, 4), _normal(rng, 5)))
    return quantize(graph, rng.normal(0, 1, (16, 6, 5, 3)).astype(np.float32))


@pytest.mark.slow
def test_c_equals_reference_when_a_network_uses_all_kinds(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    graph = _network(0)
    inputs = _inputs(graph, 0)
    found = _run(graph, inputs, tmp_path, require_tool("gcc"))
    expected = run_int8(graph, inputs)
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) > 20


@pytest.mark.slow
@pytest.mark.tool
def test_emulated_core_gives_the_reference_when_a_network_uses_all_kinds(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph = _network(1)
    inputs = _inputs(graph, 1)[:10]
    emit_c(graph, inputs).write(tmp_path)
    result = emulate_folder(tmp_path, load_target("cortex-m4"))
    assert result.outputs == run_int8(graph, inputs).tobytes()
