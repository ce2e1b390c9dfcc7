"""Conformal bounds: coverage by counting, ranks by hand, and never more than the data can say."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from edgekiln.targets import CostTable, LayerWork, OpCost, TargetError, Tier, Workload, load_target
from edgekiln.targets.conformal import fewest, rank, ratio_interval, upper_ratio
from edgekiln.targets.estimate import upper_bound_ms


def table(ratios: tuple[float, ...], widened: float = 1.0) -> CostTable:
    low, high = ratio_interval(np.array(ratios))
    costs = {"conv2d": OpCost(0.0, 1e3, 0.0)}
    return CostTable(
        *(costs, "c", "int8", Tier.T2, "probes", low, high * widened),
        interval="split",
        heldout_ratios=ratios,
    )


def test_bound_covers_what_it_promises_whatever_the_distribution() -> None:
    """With 19 held out, a new ratio is under the k-th of them with probability k / 20."""
    rng = np.random.default_rng(0)
    for draw in (rng.lognormal, rng.standard_exponential, rng.pareto):
        ratios = 0.5 + (draw(0, 1, (4000, 20)) if draw == rng.lognormal else _shaped(draw))
        bounds = np.sort(ratios[:, :-1], axis=1)[:, [rank(19, q) - 1 for q in (0.8, 0.9, 0.95)]]
        covered = (ratios[:, -1:] <= bounds).mean(axis=0)
        assert covered == pytest.approx([0.8, 0.9, 0.95], abs=0.02)


def _shaped(draw: object) -> np.ndarray:
    assert callable(draw)
    size = (4000, 20)
    return np.asarray(draw(2.0, size) if "pareto" in str(draw) else draw(size))


@pytest.mark.parametrize(
    ("count", "confidence", "expected"), [(9, 0.9, 9), (19, 0.95, 19), (99, 0.9, 90)]
)
def test_rank_is_the_conformal_one(count: int, confidence: float, expected: int) -> None:
    assert rank(count, confidence) == expected


@pytest.mark.parametrize(("confidence", "expected"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)])
def test_fewest_ratios_are_those_whose_largest_is_a_bound(confidence: float, expected: int) -> None:
    assert fewest(confidence) == expected
    assert rank(expected, confidence) <= expected
    assert expected == 1 or rank(expected - 1, confidence) > expected - 1


def test_upper_ratio_is_the_order_statistic_when_enough_ratios_are_held_out() -> None:
    ratios = tuple(1 + i / 100 for i in range(1, 40))
    known = table(ratios)
    assert upper_ratio(known, 0.95) == pytest.approx(ratios[rank(39, 0.95) - 1])
    assert upper_ratio(known, 0.9) == known.high_ratio
    assert upper_ratio(known, 0.8) < known.high_ratio < upper_ratio(known, 0.95)


def test_upper_ratio_widens_with_what_the_table_was_widened_by() -> None:
    ratios = tuple(1 + i / 100 for i in range(1, 40))
    plain, wide = table(ratios), table(ratios, widened=1.5)
    assert upper_ratio(wide, 0.95) == pytest.approx(1.5 * upper_ratio(plain, 0.95))


def test_upper_ratio_never_promises_less_than_the_estimate_itself() -> None:
    assert upper_ratio(table(tuple(0.5 + i / 1000 for i in range(40))), 0.95) == 1.0


def test_upper_ratio_is_an_error_when_too_few_models_were_held_out() -> None:
    known = table(tuple(1 + i / 100 for i in range(1, 15)))
    with pytest.raises(TargetError, match=r"holds 14 held-out ratios; a bound at 0.95 takes 19"):
        upper_ratio(known, 0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_upper_ratio_is_an_error_when_confidence_is_no_probability(confidence: float) -> None:
    with pytest.raises(TargetError, match="between 0 and 1"):
        upper_ratio(table(tuple(1 + i / 100 for i in range(40))), confidence)


def test_upper_bound_is_the_estimate_times_the_ratio() -> None:
    known = table(tuple(1 + i / 100 for i in range(1, 40)))
    target = dataclasses.replace(load_target("cortex-m4"), costs=(known,))
    work = Workload((LayerWork("a", "conv2d", 1000, 0, 0),), "int8")
    expected = 1.0 * upper_ratio(known, 0.95)
    assert upper_bound_ms(target, work, "c", 0.95) == pytest.approx(expected)
