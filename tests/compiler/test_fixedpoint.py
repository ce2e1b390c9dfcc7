"""Requantization arithmetic against its C definition in scalar Python, and against LiteRT."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.fixedpoint import (
    Multiplier,
    multiply,
    multiply_real,
    multiply_wide,
    quantize_multiplier,
)
from edgekiln.compiler.graph import Array, DType, Graph, QuantParams
from edgekiln.compiler.reference import run_int8

INT32 = st.integers(-(2**31) + 1, 2**31 - 1)


def c_divide(a: int, b: int) -> int:
    """Integer division that truncates, as C does it."""
    return abs(a) // b * (1 if a >= 0 else -1)


def scalar_multiply(value: int, factor: Multiplier) -> int:
    """gemmlowp line by line: nudge by sign, truncate, then shift with a threshold."""
    shifted = value << max(factor.shift, 0)
    product = shifted * factor.multiplier
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    high = c_divide(product + nudge, 1 << 31)
    exponent = max(-factor.shift, 0)
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    return (high >> exponent) + (1 if high & mask > threshold else 0)


@given(value=INT32, multiplier=st.integers(2**30, 2**31 - 1), shift=st.integers(-31, 0))
def test_multiply_equals_scalar_definition_when_operands_are_any(
    value: int, multiplier: int, shift: int
) -> None:
    factor = Multiplier(multiplier, shift)
    assert multiply(np.array([value]), (factor,))[0] == scalar_multiply(value, factor)


@given(value=st.integers(-(2**22), 2**22), shift=st.integers(1, 8))
def test_multiply_equals_scalar_definition_when_shift_is_left(value: int, shift: int) -> None:
    factor = Multiplier(2**30 + 12345, shift)
    assert multiply(np.array([value]), (factor,))[0] == scalar_multiply(value, factor)


@given(value=INT32, multiplier=st.integers(2**30, 2**31 - 1), shift=st.integers(1, 40))
def test_multiply_is_exact_or_leaves_32_bits_with_its_sign_when_shift_is_any_left_one(
    value: int, multiplier: int, shift: int
) -> None:
    factor = Multiplier(multiplier, shift)
    found, expected = int(multiply(np.array([value]), (factor,))[0]), scalar_multiply(value, factor)
    if abs(expected) < 2**31:
        assert found == expected
    else:
        assert abs(found) >= 2**31
        assert (found > 0) == (expected > 0)


@given(st.lists(st.tuples(INT32, st.integers(-20, 0)), min_size=1, max_size=8))
def test_multiply_uses_one_factor_for_each_channel_when_given_many(
    pairs: list[tuple[int, int]],
) -> None:
    factors = tuple(Multiplier(2**30 + 7 * n, shift) for n, (_, shift) in enumerate(pairs))
    row = np.array([value for value, _ in pairs])
    expected = [scalar_multiply(int(v), f) for v, f in zip(row, factors, strict=True)]
    assert multiply(np.stack([row, row]), factors).tolist() == [expected, expected]


@given(st.floats(2.0**-30, 2.0**10))
def test_quantize_multiplier_is_within_half_a_step_when_factor_is_normal(real: float) -> None:
    factor = quantize_multiplier(real)
    assert 2**30 <= factor.multiplier < 2**31
    assert math.isclose(factor.multiplier * 2.0 ** (factor.shift - 31), real, rel_tol=2.0**-31)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, Multiplier(0, 0)),
        (2.0**-40, Multiplier(0, 0)),
        (1.0, Multiplier(2**30, 1)),
        (0.5, Multiplier(2**30, 0)),
        (1.0 - 2.0**-40, Multiplier(2**30, 1)),  # rounds up to the next power of two
    ],
)
def test_quantize_multiplier_gives_exact_parts_when_factor_is_special(
    real: float, expected: Multiplier
) -> None:
    assert quantize_multiplier(real) == expected


@given(
    st.integers(-(2**47) + 1, 2**47 - 1),
    st.integers(1 << 30, (1 << 31) - 1),
    st.integers(-31, 7),
)
def test_multiply_wide_rounds_once_and_half_up_when_sums_have_48_bits(
    value: int, multiplier: int, shift: int
) -> None:
    factor = min((multiplier + (1 << 15)) >> 16, 0x7FFF)
    expected = math.floor(Fraction(value * factor, 1 << (15 - shift)) + Fraction(1, 2))
    found = multiply_wide(np.array([value]), (Multiplier(multiplier, shift),))
    assert found.tolist() == [expected]


def test_multiply_real_rounds_half_away_from_zero_when_products_are_ties() -> None:
    values = np.array([-5, -3, -1, 1, 3, 5, 2])
    assert multiply_real(values, np.array([0.5])).tolist() == [-3, -2, -1, 1, 2, 3, 1]


# Float32 scales a, b, c with a·b/c = 2^-5·(1 ± 1e-11): in double precision the products of odd
# multiples of 16 lie just beside a tie, while the nearest fixed-point factor is exactly 2^-5.
def _near_ties() -> list[tuple[float, float, float]]:
    rng = np.random.default_rng(1)
    found: list[tuple[float, float, float]] = []
    while len(found) < 4:
        a, b = np.float32(rng.uniform(0.5, 1)), np.float32(rng.uniform(0.5, 1) / 16)
        c = np.float32(float(a) * float(b) * 32)
        if 0 < abs(float(a) * float(b) / float(c) * 32 - 1) < 2.0**-35:
            found.append((float(a), float(b), float(c)))
    return found


def _identity(op: str, scales: tuple[float, float, float]) -> Graph:
    """One output for each input, q_out = round(q_in · a·b/c)."""
    shape = (1, 2) if op == "fully_connected" else (1, 1, 1, 2)
    build = GraphBuilder(op, shape)
    kernels = {
        "fully_connected": lambda: build.fully_connected(build.input, np.eye(2)),
        "conv2d": lambda: build.conv2d(build.input, np.eye(2).reshape(2, 1, 1, 2)),
        "depthwise_conv2d": lambda: build.depthwise_conv2d(build.input, np.ones((1, 1, 1, 2))),
    }
    graph = build.finish(kernels[op]())
    node = graph.nodes[0]
    a, b, c = scales
    axis = 3 if op == "depthwise_conv2d" else 0
    values = dict(graph.values)

    def set_quant(name: str, dtype: DType, quant: QuantParams) -> None:
        data = values[name].data
        stored = None if data is None else data.astype(dtype.numpy)
        values[name] = dataclasses.replace(values[name], dtype=dtype, quant=quant, data=stored)

    set_quant("input", DType.INT8, QuantParams((a,), (0,)))
    set_quant(node.output, DType.INT8, QuantParams((c,), (0,)))
    set_quant(node.inputs[1], DType.INT8, QuantParams((b, b), (0, 0), axis))
    product = float(np.float32(a) * np.float32(b))
    set_quant(node.inputs[2], DType.INT32, QuantParams((product, product), (0, 0), 0))
    return graph.replace(values=values.values())


@pytest.mark.parametrize("op", ["conv2d", "depthwise_conv2d", "fully_connected"])
@pytest.mark.parametrize("scales", [*_near_ties(), (1.0, 0.25, 1.0), (1.0, 2.0**-5, 1.0)])
def test_rounding_equals_litert_when_products_are_ties_or_beside_them(
    op: str,
    scales: tuple[float, float, float],
    run_litert: Callable[..., dict[str, Array]],
) -> None:
    graph = _identity(op, scales)
    every_byte = np.arange(-128, 128, dtype=np.int8)
    batch = np.stack([every_byte, every_byte], axis=1).reshape(256, *graph.input.shape[1:])
    expected = run_litert(emit_tflite(graph), batch)[graph.outputs[0]]
    np.testing.assert_array_equal(run_int8(graph, batch), expected)
