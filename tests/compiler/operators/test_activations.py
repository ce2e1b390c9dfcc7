"""Operators on one tensor: our kernels, the file, its import and LiteRT agree on every byte."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import CompileError, GrammarError
from edgekiln.compiler.graph import Array, DType, QuantParams
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Attrs, GeluAttrs, LeakyAttrs, NoAttrs, Op

Draft = Any  # of this folder's conftest.py
Make = Callable[[DType, int], Draft]
Agree = Callable[..., dict[str, Array]]

FLOAT32, INT8, INT16 = DType.FLOAT32, DType.INT8, DType.INT16
ALL_THREE = (FLOAT32, INT8, INT16)
TWO = (FLOAT32, INT8)

# LiteRT's reference resolver has no ELU; the test after next compares that with its built-in one.
CASES: dict[str, tuple[Op, Attrs, tuple[DType, ...]]] = {
    "relu": (Op.RELU, NoAttrs(), ALL_THREE),
    "relu6": (Op.RELU6, NoAttrs(), ALL_THREE),
    "leaky_relu": (Op.LEAKY_RELU, LeakyAttrs(0.1), ALL_THREE),
    "leaky_relu_steep": (Op.LEAKY_RELU, LeakyAttrs(1.75), ALL_THREE),
    "leaky_relu_falling": (Op.LEAKY_RELU, LeakyAttrs(-0.25), ALL_THREE),
    "hard_swish": (Op.HARD_SWISH, NoAttrs(), TWO),
    "logistic": (Op.LOGISTIC, NoAttrs(), ALL_THREE),
    "tanh": (Op.TANH, NoAttrs(), ALL_THREE),
    "gelu": (Op.GELU, GeluAttrs(), ALL_THREE),
    "gelu_tanh": (Op.GELU, GeluAttrs(approximate=True), ALL_THREE),
    "abs": (Op.ABS, NoAttrs(), ALL_THREE),
    "exp": (Op.EXP, NoAttrs(), ALL_THREE),
}
RUNS = [(case, dtype) for case, (_, _, dtypes) in CASES.items() for dtype in dtypes]


def every_code(dtype: DType) -> Array:
    """(1, codes): all of them, or floats around zero and far away."""
    if dtype is FLOAT32:
        numbers = np.concatenate([np.linspace(-9, 9, 721), [-80.0, -30.0, 0.0, 30.0]])
        return numbers.astype(np.float32)[None]
    limits = np.iinfo(dtype.numpy)
    return np.arange(limits.min, limits.max + 1, dtype=dtype.numpy)[None]


@pytest.mark.parametrize(("case", "dtype"), RUNS)
def test_activation_agrees_on_every_code_when_encodings_are_drawn(
    case: str, dtype: DType, draft: Make, agree: Agree
) -> None:
    op, attrs, _ = CASES[case]
    batch = every_code(dtype)
    for seed in range(1 if dtype is FLOAT32 else 8):
        drawn = draft(dtype, seed)
        x = drawn.input(batch.shape)
        largest = math.exp(min(drawn.reach(x), 20.0)) if op is Op.EXP else drawn.reach(x)
        drawn.node(op, (x,), attrs, largest=largest)
        agree(drawn.graph(), batch)


@pytest.mark.parametrize("dtype", TWO)
@pytest.mark.parametrize("slopes", [(3,), (1, 1, 3), (1, 4, 5, 3), (1,)])
def test_prelu_agrees_when_slopes_are_shared_along_axes(
    slopes: tuple[int, ...], dtype: DType, draft: Make, agree: Agree
) -> None:
    for seed in range(3):
        drawn = draft(dtype, seed)
        x = drawn.input((1, 4, 5, 3))
        drawn.node(Op.PRELU, (x, drawn.constant(slopes)), largest=drawn.reach(x))
        agree(drawn.graph(), drawn.codes((5, 4, 5, 3)))


@pytest.mark.parametrize("dtype", TWO)
def test_elu_equals_litert_when_its_reference_resolver_has_none(dtype: DType, draft: Make) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    batch = every_code(dtype)
    for seed in range(6):
        drawn = draft(dtype, seed)
        x = drawn.input(batch.shape)
        y = drawn.node(Op.ELU, (x,), largest=drawn.reach(x))
        graph = drawn.graph()
        interpreter = Interpreter(
            model_content=emit_tflite(graph),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
        interpreter.invoke()
        theirs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(run_all(graph, {"x": batch})[y], theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("op", [Op.SQRT, Op.RSQRT])
def test_roots_agree_when_numbers_are_floats(op: Op, draft: Make, agree: Agree) -> None:
    drawn = draft(FLOAT32, 0)
    drawn.node(op, (drawn.input((1, 200)),))
    agree(drawn.graph(), np.geomspace(1e-6, 1e6, 200, dtype=np.float32)[None])


@pytest.mark.parametrize("dtype", [INT8, INT16])
def test_rsqrt_agrees_on_every_code_when_none_is_negative(
    dtype: DType, draft: Make, agree: Agree
) -> None:
    for seed in range(8):
        drawn = draft(dtype, seed)
        batch = every_code(dtype)
        quant = drawn.encoding(10 ** drawn.rng.uniform(-2, 2))
        zero = quant.zero_point[0]
        drawn.node(Op.RSQRT, (drawn.input(batch.shape, quant),), largest=quant.scale[0] ** -0.5)
        agree(drawn.graph(), np.maximum(batch, batch.dtype.type(zero)))


@pytest.mark.parametrize("dtype", [INT8, INT16])
def test_rsqrt_raises_and_names_the_node_when_a_number_is_negative(
    dtype: DType, draft: Make
) -> None:
    drawn = draft(dtype, 1)
    y = drawn.node(Op.RSQRT, (drawn.input((1, 1), drawn.encoding(1.0)),))
    with pytest.raises(CompileError, match=f"'{y}'.*negative"):
        run_all(drawn.graph(), {"x": np.array([[-128]], dtype.numpy)})


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_hard_swish_raises_and_says_why_when_litert_would_refuse_the_scales(
    scale: float, draft: Make
) -> None:
    drawn = draft(INT8, 1)
    x = drawn.input((1, 4), QuantParams((scale,), (0,)))
    drawn.node(Op.HARD_SWISH, (x,), largest=127 * (2e-3 if scale == 1.0 else 0.1))
    with pytest.raises(GrammarError, match="1/256 to 128 times"):
        run_all(drawn.graph(), {"x": np.zeros((1, 4), np.int8)})


@pytest.mark.parametrize("op", [Op.LOGISTIC, Op.TANH])
@pytest.mark.parametrize("exponent", range(-16, -8))
@pytest.mark.parametrize("off", [0.0, 5e-4, -1e-3])
def test_int16_sigmoid_agrees_when_the_scale_is_near_a_power_of_two(
    op: Op, exponent: int, off: float, draft: Make, agree: Agree
) -> None:
    drawn = draft(INT16, 0)
    batch = every_code(INT16)
    scale = float(np.float32(2.0**exponent * (1 + off)))
    drawn.node(op, (drawn.input(batch.shape, QuantParams((scale,), (0,))),))
    agree(drawn.graph(), batch)
