"""Operators on two tensors: our kernels, the file, its import and LiteRT agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Activation, BinaryAttrs, LeakyAttrs, Op, ReduceAttrs
from edgekiln.compiler.shapes import Shape

Draft = Any  # of this folder's conftest.py
Make = Callable[[DType, int], Draft]
Agree = Callable[..., dict[str, Array]]

DTYPES = (DType.FLOAT32, DType.INT8, DType.INT16)
IMAGE = (1, 4, 5, 3)
CONSTANTS: dict[str, Shape] = {
    "same": IMAGE,
    "channels": (3,),
    "column": (4, 1, 1),
    "scalar": (),
    "one": (1,),
    "wider": (1, 4, 5, 3),
}
ARITHMETIC = (Op.ADD, Op.SUB, Op.MUL)


def _arithmetic(draft: Draft, op: Op, a: str, b: str) -> str:
    reaches = (draft.reach(a), draft.reach(b))
    largest = reaches[0] * reaches[1] if op is Op.MUL else max(reaches)
    activation = list(Activation)[draft.rng.integers(3)]
    name: str = draft.node(op, (a, b), BinaryAttrs(activation), largest=largest)
    return name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("shape", CONSTANTS)
def test_arithmetic_agrees_when_one_side_is_a_constant(
    op: Op, dtype: DType, shape: str, draft: Make, agree: Agree
) -> None:
    for seed in range(4):
        drawn = draft(dtype, seed)
        x, constant = drawn.input(IMAGE), drawn.constant(CONSTANTS[shape])
        sides = (x, constant) if seed % 2 else (constant, x)
        _arithmetic(drawn, op, *sides)
        agree(drawn.graph(), drawn.codes((5, *IMAGE[1:])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("axes", [(), (1, 2), (3,), (1, 2, 3)])
def test_arithmetic_agrees_when_both_sides_are_computed(
    op: Op, dtype: DType, axes: tuple[int, ...], draft: Make, agree: Agree
) -> None:
    for seed in range(4):
        drawn = draft(dtype, seed)
        x = drawn.input(IMAGE)
        if axes:
            other = drawn.node(Op.MEAN, (x,), ReduceAttrs(axes, True), largest=drawn.reach(x))
        else:
            other = drawn.node(Op.LEAKY_RELU, (x,), LeakyAttrs(-0.7), largest=drawn.reach(x))
        _arithmetic(drawn, op, *((x, other) if seed % 2 else (other, x)))
        agree(drawn.graph(), drawn.codes((5, *IMAGE[1:])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [*ARITHMETIC, Op.MAXIMUM])
def test_two_sides_agree_when_they_broadcast_along_five_axes(
    op: Op, dtype: DType, draft: Make, agree: Agree
) -> None:
    drawn = draft(dtype, 5)
    x = drawn.input((1, 2, 3, 2, 5))
    other = drawn.constant((2, 1, 2, 1), drawn.quant(x))
    if op is Op.MAXIMUM:
        drawn.node(op, (x, other))
    else:
        _arithmetic(drawn, op, x, other)
    agree(drawn.graph(), drawn.codes((3, 2, 3, 2, 5)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [Op.MINIMUM, Op.MAXIMUM])
def test_choice_agrees_when_encodings_are_shared(
    op: Op, dtype: DType, draft: Make, agree: Agree
) -> None:
    for seed in range(3):
        drawn = draft(dtype, seed)
        x = drawn.input(IMAGE)
        chosen = drawn.node(op, (x, drawn.constant((3,), drawn.quant(x))))
        largest = drawn.node(Op.REDUCE_MAX, (chosen,), ReduceAttrs((1, 2), True))
        drawn.node(op, (x, largest))
        agree(drawn.graph(), drawn.codes((5, *IMAGE[1:])))


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("op", [Op.ADD, Op.SUB])
def test_emit_tflite_raises_where_litert_would_end_the_process(
    op: Op, dtype: DType, draft: Make
) -> None:
    drawn = draft(dtype, 0)
    x = drawn.input(IMAGE, QuantParams((1.0,), (0,)))
    drawn.node(op, (x, drawn.constant((3,))), BinaryAttrs(), largest=1e-5)
    with pytest.raises(EmitError, match="too fine for operands"):
        emit_tflite(drawn.graph())


def test_division_agrees_when_numbers_are_floats(draft: Make, agree: Agree) -> None:
    drawn = draft(DType.FLOAT32, 0)
    x = drawn.input(IMAGE)
    quotient = drawn.node(Op.DIV, (drawn.constant(IMAGE), x), BinaryAttrs(Activation.RELU6))
    drawn.node(Op.DIV, (quotient, drawn.constant((3,))), BinaryAttrs())
    agree(drawn.graph(), drawn.codes((5, *IMAGE[1:])) + np.float32(9.0))


def test_comparison_agrees_when_numbers_are_equal_or_nearly(draft: Make, agree: Agree) -> None:
    drawn = draft(DType.FLOAT32, 0)
    x = drawn.input(IMAGE)
    below = drawn.node(Op.LESS_EQUAL, (x, drawn.constant((3,))))
    drawn.node(Op.MUL, (x, below), BinaryAttrs())
    limits = drawn.graph().constant("c1")
    batch = np.broadcast_to(limits, (5, *IMAGE[1:])).copy()
    batch[1] = np.nextafter(batch[1], np.float32(9))
    batch[2] = np.nextafter(batch[2], np.float32(-9))
    found = agree(drawn.graph(), batch)[below]
    np.testing.assert_array_equal(found[:, 0, 0, 0], [1, 0, 1, 1, 1])


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("op", ARITHMETIC)
def test_results_saturate_when_the_output_is_too_narrow(
    op: Op, dtype: DType, draft: Make, agree: Agree
) -> None:
    drawn = draft(dtype, 3)
    one = drawn.encoding(1.0)
    x, other = drawn.input(IMAGE, one), drawn.constant(IMAGE, one)
    y = drawn.node(op, (x, other), BinaryAttrs(), largest=0.2)
    found = agree(drawn.graph(), drawn.codes((20, *IMAGE[1:])))[y]
    limits = np.iinfo(dtype.numpy)
    assert found.min() == limits.min
    assert found.max() == limits.max


@pytest.mark.parametrize("op", [Op.ADD, Op.SUB])
def test_int16_operands_are_rescaled_when_all_scales_are_powers_of_two(
    op: Op, draft: Make, agree: Agree
) -> None:
    """LiteRT has another kernel for those, which files must switch off."""
    drawn = draft(DType.INT16, 0)
    x = drawn.input(IMAGE, QuantParams((2.0**-12,), (0,)))
    y = drawn.node(op, (x, drawn.constant((3,), QuantParams((2.0**-10,), (0,)))), BinaryAttrs())
    graph = drawn.graph()
    output = dataclasses.replace(graph.values[y], quant=QuantParams((2.0**-11,), (0,)))
    agree(graph.replace(values=(graph.values | {y: output}).values()), drawn.codes(IMAGE))


@settings(max_examples=25, deadline=None)
@given(
    scales=st.tuples(*[st.floats(2.0**-9, 2.0, width=32)] * 2),
    ratio=st.floats(2.0**-10, 0.5, width=32) | st.sampled_from([0.5, 0.25, 2.0**-6, 2.0**-14]),
    zeros=st.tuples(*[st.integers(-128, 127)] * 3),
)
def test_product_is_rounded_as_litert_rounds_it_on_every_pair_of_bytes(
    scales: tuple[float, float],
    ratio: float,
    zeros: tuple[int, int, int],
    run_reference: Callable[[bytes, Array], dict[str, Array]],
) -> None:
    every = np.arange(-128, 128, dtype=np.int8)
    output = float(np.float32(scales[0] * scales[1] / ratio))
    quants = [
        QuantParams((scale,), (zero,)) for scale, zero in zip((*scales, output), zeros, strict=True)
    ]
    values = [
        Value("x", (1, 256, 1), DType.INT8, quants[0]),
        Value("b", (256,), DType.INT8, quants[1], every),
        Value("y", (1, 256, 256), DType.INT8, quants[2]),
    ]
    node = Node(Op.MUL, "y", ("x", "b"), ("y",), BinaryAttrs())
    graph = Graph.build("product", values, [node], ("x",), ("y",))
    batch = every.reshape(1, 256, 1)
    expected = run_reference(emit_tflite(graph), batch)["y"]
    np.testing.assert_array_equal(run_all(graph, {"x": batch})["y"], expected)
