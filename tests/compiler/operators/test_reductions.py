"""Reductions and softmaxes: our kernels, the file, its import and LiteRT agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.graph import Array, DType, QuantParams
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import AxisAttrs, Op, ReduceAttrs

Draft = Any  # of this folder's conftest.py
Make = Callable[[DType, int], Draft]
Agree = Callable[..., dict[str, Array]]

FLOAT32, INT8, INT16 = DType.FLOAT32, DType.INT8, DType.INT16
DTYPES = (FLOAT32, INT8, INT16)
SHAPE = (1, 6, 7, 5)
AXES = [(1,), (2,), (3,), (1, 2), (2, 3), (1, 3), (1, 2, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [Op.MEAN, Op.REDUCE_MAX])
@pytest.mark.parametrize("keep_dims", [False, True])
def test_reduction_agrees_over_any_axes(
    op: Op, dtype: DType, keep_dims: bool, draft: Make, agree: Agree
) -> None:
    for seed, axes in enumerate(AXES):
        drawn = draft(dtype, seed)
        x = drawn.input(SHAPE)
        drawn.node(op, (x,), ReduceAttrs(axes, keep_dims), largest=drawn.reach(x))
        agree(drawn.graph(), drawn.codes((4, *SHAPE[1:])))


@pytest.mark.parametrize("count", [2, 3, 5, 31, 97, 1000])
@pytest.mark.parametrize("dtype", [INT8, INT16])
def test_mean_agrees_when_the_count_is_folded_into_the_factor(
    count: int, dtype: DType, draft: Make, agree: Agree
) -> None:
    for seed in range(3):
        drawn = draft(dtype, seed)
        x = drawn.input((1, count, 4))
        drawn.node(Op.MEAN, (x,), ReduceAttrs((1,)), largest=drawn.reach(x) / count**0.5)
        agree(drawn.graph(), drawn.codes((6, count, 4)))


@pytest.mark.parametrize("axes", AXES)
def test_sum_agrees_when_numbers_are_floats(
    axes: tuple[int, ...], draft: Make, agree: Agree
) -> None:
    drawn = draft(FLOAT32, 0)
    drawn.node(Op.SUM, (drawn.input(SHAPE),), ReduceAttrs(axes, keep_dims=len(axes) == 1))
    agree(drawn.graph(), drawn.codes((4, *SHAPE[1:])))


def test_int8_sum_equals_litert_where_its_reference_kernel_reads_codes_right(
    draft: Make, run_reference: Callable[[bytes, Array], dict[str, Array]]
) -> None:
    """LiteRT 2.3 reads the codes as uint8, so only those from 0 to 127 mean the same to it."""
    compared = 0
    for seed in range(30):
        drawn = draft(INT8, seed)
        quant = QuantParams((0.1,), (int(drawn.rng.integers(-20, 60)),))
        x = drawn.input((1, 5, 4), quant)
        y = drawn.node(Op.SUM, (x,), ReduceAttrs((1,)), largest=50.0)
        graph = drawn.graph()
        batch = drawn.rng.integers(0, 128, (8, 5, 4)).astype(np.int8)
        theirs = run_reference(emit_tflite(graph), batch)[y]
        ours = run_all(graph, {"x": batch})[y]
        inside = (ours >= 0) & (ours < 127)
        np.testing.assert_array_equal(ours[inside], theirs[inside])
        compared += int(inside.sum())
    assert compared > 200


def test_int8_sum_stays_within_one_step_of_xnnpack_on_every_code(draft: Make) -> None:
    from ai_edge_litert.interpreter import Interpreter

    for seed in range(10):
        drawn = draft(INT8, seed)
        x = drawn.input((1, 9, 16))
        y = drawn.node(Op.SUM, (x,), ReduceAttrs((1,)), largest=drawn.reach(x) * 9)
        graph = drawn.graph()
        interpreter = Interpreter(model_content=emit_tflite(graph), num_threads=1)
        interpreter.allocate_tensors()
        batch = drawn.codes((1, 9, 16))
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
        interpreter.invoke()
        theirs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        distance = np.abs(theirs.astype(int) - run_all(graph, {"x": batch})[y])
        assert distance.max() <= 1


def test_emit_tflite_raises_when_an_int8_sum_keeps_its_inputs_encoding(draft: Make) -> None:
    drawn = draft(INT8, 0)
    x = drawn.input((1, 4, 3), QuantParams((0.5,), (3,)))
    y = drawn.node(Op.SUM, (x,), ReduceAttrs((1,)))
    graph = drawn.graph()
    values = {**graph.values, y: graph.values[y].__class__(y, (1, 3), INT8, drawn.quant(x))}
    with pytest.raises(EmitError, match="another scale"):
        emit_tflite(graph.replace(values=values.values()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (1, 10), (1, 7, 33)])
def test_softmax_agrees_when_logits_lie_near_or_far(
    dtype: DType, shape: tuple[int, ...], draft: Make, agree: Agree
) -> None:
    for seed in range(6):
        drawn = draft(dtype, seed)
        drawn.node(Op.SOFTMAX, (drawn.input(shape),))
        agree(drawn.graph(), drawn.codes((6, *shape[1:])))


@pytest.mark.parametrize("dtype", [FLOAT32, INT8])
@pytest.mark.parametrize("shape", [(1, 2), (1, 10), (1, 3, 200)])
def test_log_softmax_agrees_when_logits_lie_near_or_far(
    dtype: DType, shape: tuple[int, ...], draft: Make, agree: Agree
) -> None:
    for seed in range(12):
        drawn = draft(dtype, seed)
        drawn.node(Op.LOG_SOFTMAX, (drawn.input(shape),))
        agree(drawn.graph(), drawn.codes((6, *shape[1:])), 1e-6)


@pytest.mark.parametrize("dtype", [FLOAT32, INT8])
@pytest.mark.parametrize("index", [DType.INT32, DType.INT64])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_arg_max_takes_the_first_when_several_are_largest(
    dtype: DType,
    index: DType,
    axis: int,
    draft: Make,
    run_reference: Callable[[bytes, Array], dict[str, Array]],
) -> None:
    drawn = draft(dtype, 0)
    y = drawn.node(Op.ARG_MAX, (drawn.input(SHAPE),), AxisAttrs(axis), dtype=index)
    graph = drawn.graph()
    batch = drawn.rng.integers(-2, 3, (6, *SHAPE[1:])).astype(dtype.numpy)
    theirs = run_reference(emit_tflite(graph), batch)[y]
    ours = run_all(graph, {"x": batch})[y]
    assert ours.dtype == index.numpy
    np.testing.assert_array_equal(ours, theirs)
