"""Who is trained next, who is on a front, who is chosen."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.search.choose import (
    Contender,
    cheapest_of_the_best,
    first_wave,
    leaders,
    log_costs,
    promoted,
    second_wave,
    shared_out,
    standard_error,
    target_front,
)
from edgekiln.search.propose import Proposal, mutants, proposals, sample_spread
from edgekiln.search.space import ConvSpace, candidate_id
from edgekiln.search.surrogate import predict
from edgekiln.targets import Budget, Estimate, Footprint, Target, Tier

SPACE = ConvSpace((8, 8, 1), 10)


def pool(targets: tuple[Target, ...], count: int = 12) -> tuple[Proposal, ...]:
    return proposals(SPACE, sample_spread(SPACE, count, random.Random(1)), targets)


def contender(name: str, accuracy: float, *cost: float) -> Contender:
    latency, ram, flash = (Estimate.exact(c, "bytes", Tier.T0, "test") for c in cost)
    return Contender(name, accuracy, Footprint(latency, ram, flash))


def test_sample_spread_is_distinct_and_holds_the_smallest() -> None:
    drawn = sample_spread(SPACE, 40, random.Random(4))
    assert len({candidate_id(c) for c in drawn}) == len(drawn) == 40
    assert SPACE.smallest() in drawn
    assert drawn == sample_spread(SPACE, 40, random.Random(4))


def test_mutants_are_new_and_distinct() -> None:
    parents = sample_spread(SPACE, 5, random.Random(4))
    known = [candidate_id(parent) for parent in parents]
    ids = [candidate_id(c) for c in mutants(SPACE, parents, known, 30, random.Random(2))]
    assert len(ids) == len(set(ids)) == 30
    assert not set(ids) & set(known)


def test_log_costs_puts_the_unpriceable_last(board: Target, addless: Target) -> None:
    items = pool((board, addless), 24)
    column = log_costs(items)[:, 3]
    priced = [item.priced.verdicts[1].footprint is not None for item in items]
    assert any(priced)
    assert not all(priced)
    worst = max(cost for cost, known in zip(column, priced, strict=True) if known)
    assert all(cost > worst for cost, known in zip(column, priced, strict=True) if not known)


def test_second_wave_never_repeats_when_candidates_were_tried(board: Target) -> None:
    items = pool((board,))
    wave = first_wave(items, 5)
    scores = {item.id: 0.1 * i for i, item in enumerate(wave)}
    second = second_wave(items, scores, frozenset(item.id for item in wave), 5)
    assert len(second) == 5
    assert not {item.id for item in second} & {item.id for item in wave}


def test_second_wave_goes_on_when_nothing_is_known(board: Target) -> None:
    items = pool((board,))
    assert len(second_wave(items, {}, frozenset(), 4)) == 4
    assert second_wave((), {}, frozenset(), 4) == ()


def test_promoted_keeps_the_most_accurate_and_the_leaders_alone(board: Target) -> None:
    items = pool((board,))
    scores = {item.id: math.log(item.work.parameters) / 20 for item in items}
    best = max(scores, key=lambda name: scores[name])
    for count in (1, 3, 6):
        ids = [item.id for item in promoted(items, scores, count)]
        assert len(ids) == len(set(ids)) == count
        assert best in ids
    assert best in [item.id for item in leaders(items, scores)]
    assert promoted(items, {}, 3) == ()


def test_target_front_drops_what_is_beaten_everywhere() -> None:
    good, cheap = contender("a", 0.9, 2, 2, 2), contender("b", 0.8, 1, 1, 1)
    beaten = contender("c", 0.8, 3, 3, 3)
    assert target_front([beaten, cheap, good]) == (good, cheap)
    assert target_front([]) == ()


def test_cheapest_of_the_best_takes_the_cheap_one_when_within_one_error() -> None:
    dear, near, far = (
        contender("dear", 0.98, 9, 9, 9),
        contender("near", 0.975, 2, 2, 2),
        contender("far", 0.90, 1, 1, 1),
    )
    chosen, error = cheapest_of_the_best([dear, near, far], 360)
    assert chosen == "near"
    assert 0.005 < error < 0.011
    assert cheapest_of_the_best([dear, near, far], 1_000_000)[0] == "dear"
    assert cheapest_of_the_best([], 10) == (None, 0.0)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_standard_error_is_never_nought_and_shrinks(samples: int, accuracy: float) -> None:
    assert 0 < standard_error(accuracy, 4 * samples) < 1
    assert standard_error(1.0, 4 * samples) < standard_error(1.0, samples)


def test_predict_follows_size_when_accuracy_does() -> None:
    sizes = np.linspace(4, 10, 30)
    features = np.column_stack([sizes, np.full(30, 2.0), np.ones(30)])
    truth = 1 / (1 + np.exp(5 - sizes))
    known = np.array([0, 9, 20, 29])
    assert np.allclose(predict(features, known, truth[known]), truth, atol=0.01)


def test_predict_uses_other_features_when_size_says_nothing() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 3))
    truth = 1 / (1 + np.exp(-features[:, 2]))
    known = np.arange(40)
    guess = predict(features, known, truth[known])
    assert np.corrcoef(guess[40:], truth[40:])[0, 1] > 0.95


def test_shared_out_serves_every_target(target_maker: Callable[..., Target]) -> None:
    items = pool((target_maker("roomy"), target_maker("tight", Budget(flash_bytes=3_000))), 24)
    fits = {item.id for item in items if item.priced.verdicts[1].fits}
    assert 3 <= len(fits) < 20
    dear_first = sorted(items, key=lambda item: -item.priced.model_bytes)
    kept = shared_out(dear_first, 6, lambda own, count: tuple(own[:count]))
    assert len(kept) == 6
    assert sum(item.id in fits for item in kept) == 3
    assert shared_out((), 6, first_wave) == ()
