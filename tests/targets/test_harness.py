"""The harness on a scripted clock: what it certifies, and what each rule refuses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle, repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.targets import MeasurementError, Tier
from edgekiln.targets.conditions import Conditions, read_conditions
from edgekiln.targets.harness import WARM_UP_S, Timing, time_callable
from edgekiln.targets.steadiness import Rules, median_interval, outlier_share

RULES = Rules(min_runs=50, min_s=0.0, budget_s=1.0)
QUIET = Conditions("a cpu", 2, 1, 0.1, 2_000_000_000, "performance", 0)


class Machine:
    """A callable that takes scripted microseconds, warm-up apart; `share` of them on the core."""

    def __init__(self, warm_us: float, times_us: Iterator[float], share: float = 1.0) -> None:
        self.now_ns = self.ran_ns = 0
        self._warm_ns = warm_us * 1e3
        self._times_us = times_us
        self._share = share

    def run(self) -> None:
        warm = self.now_ns < WARM_UP_S * 1e9 + 10 * self._warm_ns
        spent = self._warm_ns if warm else next(self._times_us) * 1e3
        self.now_ns += round(spent)
        self.ran_ns += round(spent * self._share)

    def time(self, rules: Rules = RULES) -> Timing:
        return time_callable(
            self.run,
            rules,
            clock=lambda: self.now_ns,
            thread_clock=lambda: self.ran_ns,
            look=lambda _: QUIET,
        )


def test_steady_runs_are_certified_with_a_tight_interval() -> None:
    timing = Machine(1000.0, cycle((990.0, 1000.0, 1010.0))).time()
    assert timing.certified
    assert timing.refusals == ()
    assert timing.median_us == pytest.approx(1000.0)
    assert timing.median_low_us >= 990.0
    assert timing.median_high_us <= 1010.0
    estimate = timing.estimate(Tier.T3)
    assert (estimate.value, estimate.unit, estimate.tier) == (1.0, "ms", Tier.T3)
    assert estimate.low == pytest.approx(0.99)
    assert estimate.high == pytest.approx(1.01)


def test_runs_go_on_until_the_interval_is_as_narrow_as_asked() -> None:
    noise = np.random.default_rng(0).normal(1000, 150, 100_000)
    wide = Machine(1000.0, iter(noise)).time(Rules(0.2, 1, 1, 1, min_s=0.0))
    narrow = Machine(1000.0, iter(noise)).time(Rules(0.02, 1, 1, 1, min_s=0.0))
    assert wide.runs == 50 < narrow.runs
    assert narrow.steadiness.precision <= 0.02


@pytest.mark.parametrize(
    ("times_us", "share", "said"),
    [
        (chain(repeat(1000.0, 60), repeat(1300.0)), 1.0, "more or less afterwards"),
        (cycle((*repeat(1000.0, 5), 9000.0)), 1.0, "far outside the rest"),
        (repeat(1000.0), 0.5, "waited for its core 50.0% of the time"),
        (cycle((500.0, 1500.0)), 1.0, "the median is known to ±50.0%"),
    ],
    ids=["drift", "outliers", "preempted", "imprecise"],
)
def test_timing_is_refused_with_its_reason_when_a_rule_is_broken(
    times_us: Iterator[float], share: float, said: str
) -> None:
    timing = Machine(1000.0, times_us, share).time(Rules(min_runs=60, min_s=0.0, budget_s=0.2))
    assert not timing.certified
    (reason,) = timing.refusals
    assert said in reason
    assert "\n" not in reason


def test_timing_fails_when_the_clock_stands_still() -> None:
    with pytest.raises(MeasurementError, match="did not advance"):
        time_callable(lambda: None, Rules(min_runs=2, budget_s=0.0), clock=lambda: 5)


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=200))
def test_interval_holds_its_median_and_stays_within_the_runs(times: list[float]) -> None:
    interval = median_interval(times)
    assert min(times) <= interval.low <= interval.median <= interval.high <= max(times)


def test_interval_covers_the_true_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.lognormal(0, 1, (2000, 75))  # true median 1, skewed as latencies are
    inside = [i.low <= 1 <= i.high for i in (median_interval(row) for row in draws)]
    assert 0.94 <= np.mean(inside) <= 0.985  # ranks are whole, so it covers a little more


@pytest.mark.parametrize(("strays", "share"), [(0, 0.0), (5, 0.05)])
def test_outliers_are_counted_when_runs_are_equal_otherwise(strays: int, share: float) -> None:
    assert outlier_share([100.0] * (100 - strays) + [500.0] * strays) == share


def test_conditions_name_the_machine_when_read_for_real() -> None:
    seen = read_conditions(0)
    assert seen.cores >= 1
    assert seen.cpu
    assert seen.frequency_hz is None or seen.frequency_hz > 1e6
