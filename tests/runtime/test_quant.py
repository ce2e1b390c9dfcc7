"""The rule between real numbers and int8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.quant import (
    Rounding,
    dequantize_array,
    quantize_array,
    quantize_to,
    softmax,
)

scales = st.floats(2**-13, 8.0, width=32)
zero_points = st.integers(-128, 127)


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=20), scales, zero_points)
def test_quantize_array_is_the_nearest_code(
    values: list[float], scale: float, zero_point: int
) -> None:
    x = np.array(values, np.float32)
    found = quantize_array(x, scale, zero_point)
    exact = x.astype(np.float64) / np.float32(scale) + zero_point
    # One code of slack at the ties that float32 division moves.
    assert (np.abs(found - np.clip(exact, -128, 127)) <= 0.5 + 1e-3).all()
    assert found.dtype == np.int8


@pytest.mark.parametrize(
    ("value", "code"), [(0.5, 0), (1.5, 2), (-0.5, 0), (-1.5, -2), (2.5, 2), (1e9, 127)]
)
def test_quantize_array_rounds_half_to_even(value: float, code: int) -> None:
    assert quantize_array(np.array([value], np.float32), 1.0, 0)[0] == code


@given(st.integers(-128, 127), scales, zero_points)
def test_dequantize_array_is_undone_by_quantize(code: int, scale: float, zero_point: int) -> None:
    real = dequantize_array(np.array([code], np.int8), scale, zero_point)
    assert quantize_array(real, scale, zero_point)[0] == code


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=20), scales, zero_points)
def test_rounding_gives_the_codes_of_the_plain_rule(
    dtype: str, values: list[float], scale: float, zero_point: int
) -> None:
    x = np.array(values, np.float32)
    found = Rounding(dtype, scale, zero_point).codes(x)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, quantize_to(np.dtype(dtype), x, scale, zero_point))


def test_softmax_stays_finite_when_logits_are_large() -> None:
    found = softmax(np.array([[1e4, 0.0], [0.0, 0.0]], np.float32))
    np.testing.assert_allclose(found, [[1.0, 0.0], [0.5, 0.5]])
