"""No bet wins on average without drift: by arithmetic, linear programming and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.drift import DriftDetector
from edgekiln.runtime.drift_bets import (
    BET_LIMIT,
    FADE,
    LEARNED_FADE,
    SHAPES,
    SIGMAS,
    STARTS,
    class_bets,
    even_bets,
    sampling_variation,
    shape_bets,
)
from edgekiln.runtime.reference import BINS, build_reference

EVEN = np.full(BINS, 1 / BINS)
WHOLE = 10**15  # so many samples leave no doubt about the reference


def _worst_mean(bets: np.ndarray, shares: np.ndarray, radius: float) -> float:
    """The largest mean of the bets under any distribution that near in total variation."""
    bins = len(bets)
    # Maximise sum p·bets over p = q + up - down, with up, down >= 0 and sum up <= radius.
    found = optimize.linprog(
        np.concatenate([-bets, bets]),
        A_ub=np.concatenate([np.ones(bins), np.zeros(bins)])[None],
        b_ub=[radius],
        A_eq=np.concatenate([np.ones(bins), -np.ones(bins)])[None],
        b_eq=[0.0],
        bounds=[(0, None)] * bins + [(0, share) for share in shares],
    )
    return float(shares @ bets - found.fun)


def test_shapes_are_those_of_a_normal_distribution() -> None:
    edges = stats.norm.ppf(np.arange(BINS + 1) / BINS)
    changes = [(0.25, 1), (-0.25, 1), (0.5, 1), (-0.5, 1), (1, 1), (-1, 1), (0, 3 / 2), (0, 2 / 3)]
    for shape, (shift, spread) in zip(SHAPES, changes, strict=True):
        np.testing.assert_allclose(shape, np.diff(stats.norm.cdf(edges, shift, spread)), atol=2e-6)
    assert len(STARTS) == len(SHAPES) + 1
    assert sum(STARTS) == pytest.approx(1.0)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.4), st.integers(2, 20))
def test_shape_bets_never_win_on_average_when_the_data_stays_in_the_ball(
    seed: int, tolerance: float, bins: int
) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(bins)) * 0.9 + 0.1 / bins
    shape = rng.dirichlet(np.ones(bins) * 0.3) * 0.99 + 0.01 / bins
    bets = np.array(shape_bets(shape.tolist(), shares.tolist(), WHOLE, tolerance))
    worst = _worst_mean(bets, shares, tolerance)
    assert worst <= 1 - FADE + 1e-7
    if abs(shape - shares).sum() / 2 > tolerance:  # else the bets are level
        assert worst == pytest.approx(1 - FADE, abs=1e-6)  # and none is given away


def test_shape_bets_are_clipped_where_the_two_sums_are_the_tolerance() -> None:
    tolerance = 0.02
    for shape in SHAPES:
        bets = np.array(shape_bets(shape, EVEN.tolist(), WHOLE, tolerance)) / (1 - FADE)
        p = np.array(shape)
        over = lambda b, p=p: np.maximum(p / b - EVEN, 0).sum() - tolerance  # noqa: E731
        under = lambda a, p=p: np.maximum(EVEN - p / a, 0).sum() - tolerance  # noqa: E731
        assert bets.max() == pytest.approx(optimize.brentq(over, 0.1, 10))
        assert bets.min() == pytest.approx(optimize.brentq(under, 0.01, 10))
        inside = (bets < bets.max()) & (bets > bets.min())
        np.testing.assert_allclose(bets[inside], p[inside] * BINS)


def test_shape_bets_are_level_when_the_tolerance_takes_the_shape_in() -> None:
    quarter = 0.0995  # total variation of a shift by a quarter of a standard deviation
    bets = even_bets(WHOLE, quarter + 0.001).shapes
    np.testing.assert_allclose(bets[:, :2], 1 - FADE, rtol=1e-6)
    assert (bets[:, 2:].max(axis=0) > 1).all()


@pytest.mark.parametrize("samples", [300, 5000])
def test_shape_bets_win_as_rarely_as_stated_when_the_reference_is_a_sample(samples: int) -> None:
    """With no tolerance: the true shares of bins that are even in a sample, drawn many times."""
    rng = np.random.default_rng(samples)
    truth = rng.dirichlet(np.full(BINS, samples / BINS), 20_000)
    means = truth @ (even_bets(samples, 0.0).shapes.astype(float) / (1 - FADE))
    # Skew makes it a third more at 300 samples than of a normal distribution.
    assert ((means > 1).mean(axis=0) < 1.4 * stats.norm.sf(SIGMAS)).all()
    # Within the tolerance, no change at all is farther from it.
    means = truth @ even_bets(samples, 0.02).shapes.astype(float)
    assert (means > 1).mean() < 2e-3


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.3), st.integers(50, 10**6))
def test_learned_bets_never_win_on_average_when_the_data_stays_in_the_ball(
    seed: int, tolerance: float, samples: int
) -> None:
    rng = np.random.default_rng(seed)
    contract = Contract(TensorSpec("x", (1,)), tuple("abcd"))
    reference = build_reference(
        contract, rng.random((samples % 500 + 50, 1), np.float32), rng.random(9), np.arange(9) % 4
    )
    detector = DriftDetector(reference, tolerance=tolerance)
    detector.observe(
        rng.choice(BINS, (200, 2), p=rng.dirichlet(np.ones(BINS) * 0.3)),
        rng.choice(4, 200, p=rng.dirichlet(np.ones(4) * 0.3)),
    )
    cells = detector._bets[:, -1].astype(float)
    assert cells.max() <= BET_LIMIT
    for bets, q, rests_on in (
        (cells[: 2 * BINS : 2], EVEN, reference.samples),
        (cells[1 : 2 * BINS : 2], EVEN, reference.answers),
        (cells[2 * BINS :], np.array(reference.classes), reference.answers),
    ):
        radius = min(1.0, tolerance + sampling_variation(q.tolist(), rests_on))
        assert _worst_mean(bets, q, radius) <= 1 - LEARNED_FADE + 1e-5


def test_sampling_variation_is_passed_as_rarely_as_stated() -> None:
    rng = np.random.default_rng(0)
    for shares in (EVEN, np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.5])):
        drawn = rng.multinomial(400, shares, size=20_000) / 400
        variations = np.abs(drawn - shares).sum(axis=1) / 2
        assert (variations > sampling_variation(shares.tolist(), 400)).mean() < 0.05
    assert sampling_variation(EVEN.tolist(), 400) == pytest.approx(2.545 / 20, rel=0.01)


def test_class_bets_need_no_shapes() -> None:
    bets = class_bets([0.5, 0.3, 0.2], 1000, 0.02)
    assert bets.shapes.shape == (3, 0)
    assert bets.radius == pytest.approx(0.02 + sampling_variation([0.5, 0.3, 0.2], 1000))
