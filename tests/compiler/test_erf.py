"""The error function equals the C library's."""

from __future__ import annotations

import math

import numpy as np

from edgekiln.compiler.float_kernels.erf import erf


def test_erf_equals_the_c_library_to_thirteen_digits() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 2, 5000), np.linspace(-7, 7, 1001), [1e-300, 1e300, np.inf]])
    expected = np.array([math.erf(number) for number in x])
    np.testing.assert_allclose(erf(x), expected, rtol=0, atol=2e-13)


def test_erf_stays_undefined_when_a_number_is() -> None:
    assert math.isnan(float(erf(np.array([math.nan]))[0]))
