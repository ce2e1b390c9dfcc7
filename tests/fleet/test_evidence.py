"""The guarantees of the e-processes, by exact sums and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.fleet.evidence import (
    ALPHA,
    History,
    combine,
    history,
    minimum_harm,
    one_arm,
    paired,
    paired_path,
)

RUNS = 2000
DEVICES = 150


def betabinomial(failures: int, n: int, a: float, b: float) -> float:
    from scipy.stats import betabinom

    return float(betabinom.pmf(failures, n, a, b))


@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize("past", [History(), history(5, 95), history(0, 900)])
def test_one_arm_equals_scipys_beta_binomials(n: int, past: History) -> None:
    a, b = past.failures, past.successes
    for f in range(n + 1):
        expected = betabinomial(f, n, a, a) / betabinomial(f, n, a, b)
        assert one_arm(f, n, past) == pytest.approx(min(expected, math.exp(30.0), 1e12), rel=1e-6)


@pytest.mark.parametrize("n", [1, 3, 6])  # more devices reach the ceiling, which takes some away
def test_one_arm_has_expectation_one_when_the_rate_is_from_history(n: int) -> None:
    past = History()
    mean = sum(
        betabinomial(f, n, past.failures, past.successes) * one_arm(f, n, past)
        for f in range(n + 1)
    )
    assert mean == pytest.approx(1.0, rel=1e-6)


@given(st.integers(1, 300), st.data())
def test_one_arm_grows_with_each_failure(n: int, data: st.DataObject) -> None:
    f = data.draw(st.integers(0, n - 1))
    past = history(data.draw(st.integers(0, 50)), data.draw(st.integers(0, 500)))
    assert one_arm(f + 1, n, past) >= one_arm(f, n, past)


def test_one_arm_rarely_aborts_when_devices_fail_as_they_always_did() -> None:
    rng = np.random.default_rng(1)
    past = History()
    crossed = 0
    for rate in rng.beta(past.failures, past.successes, RUNS):
        failures = np.cumsum(rng.random(DEVICES) < rate)
        steps = [int(i) for i in np.flatnonzero(np.diff(failures, prepend=0))]  # where it can rise
        crossed += any(one_arm(int(failures[i]), i + 1, past) >= 1 / ALPHA for i in steps)
    assert crossed / RUNS <= ALPHA


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.2, 0.5, 0.9])
def test_paired_rarely_aborts_when_both_arms_fail_alike(rate: float) -> None:
    rng = np.random.default_rng(2)
    crossed = sum(ever_crosses(rng, rate, rate) for _ in range(600))
    assert crossed / 600 <= ALPHA


def test_paired_rarely_aborts_when_the_canary_is_better() -> None:
    rng = np.random.default_rng(3)
    assert sum(ever_crosses(rng, 0.05, 0.4) for _ in range(600)) / 600 <= ALPHA / 2


def test_paired_finds_a_release_that_fails_ten_times_as_often() -> None:
    rng = np.random.default_rng(4)
    assert sum(ever_crosses(rng, 0.2, 0.02) for _ in range(200)) / 200 >= 0.9


def ever_crosses(rng: np.random.Generator, canary: float, holdback: float) -> bool:
    """Whether the process ever reaches 1/alpha within DEVICES pairs."""
    outcomes = rng.random((DEVICES, 2)) < np.array([canary, holdback])
    return max(paired_path([(bool(x), bool(y)) for x, y in outcomes])) >= 1 / ALPHA


@given(st.lists(st.booleans(), min_size=1, max_size=2))
def test_paired_block_is_an_e_value_for_every_null_rate(past: list[bool]) -> None:
    before = [(True, False)] * len(past)
    base = paired(before)
    for q in np.linspace(0.0, 1.0, 21):
        for p in np.linspace(0.0, q, 5):
            mean = sum(
                (p if x else 1 - p) * (q if y else 1 - q) * paired([*before, (x, y)]) / base
                for x in (True, False)
                for y in (True, False)
            )
            assert mean <= 1.0 + 1e-9


def test_verdicts_on_few_devices() -> None:
    past = History()
    assert one_arm(1, 1, past) == pytest.approx(50.0)
    assert one_arm(2, 2, past) >= 1 / ALPHA
    assert one_arm(1, 2, past) < 1 / ALPHA
    assert one_arm(1, 100, past) < 2.0
    assert combine(50.0, 1.0, holdback=False) == 50.0
    assert combine(50.0, 1.0, holdback=True) == 25.5


def test_history_of_failures_leaves_nothing_to_bet_on() -> None:
    assert one_arm(3, 3, history(500, 10)) == pytest.approx(1.0)
    assert history(100, 99_900).failures + history(100, 99_900).successes == pytest.approx(1000.0)


def test_minimum_harm_falls_with_the_size_of_the_canary() -> None:
    past = History()
    found = [minimum_harm(n, past, False) for n in (1, 2, 10, 100, 1000)]
    assert found[0] == pytest.approx(0.8, abs=1e-3)
    values = [harm for harm in found if harm is not None]
    assert len(values) == 5
    assert values[-1] < 0.1
    assert values[-3:] == sorted(values[-3:], reverse=True)
    assert minimum_harm(0, past, False) is None
    assert minimum_harm(1, history(5, 0), True) is None


def test_minimum_harm_is_what_simulation_finds() -> None:
    past = History()
    harm = minimum_harm(30, past, False)
    assert harm is not None
    failures = np.random.default_rng(5).binomial(30, harm, 4000)
    hit = np.mean([one_arm(int(f), 30, past) >= 1 / ALPHA for f in failures])
    assert hit == pytest.approx(0.8, abs=0.03)
