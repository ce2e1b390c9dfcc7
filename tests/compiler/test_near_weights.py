"""Updates of weights: only what is worth its bits, near the optimum by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgekiln.compiler.graph import Array
from edgekiln.compiler.near_weights import (
    CHANGE_BITS,
    DOUBLING_BITS,
    Change,
    choose_update,
    scale_ratios,
)


def problem(seed: int, count: int = 7, outputs: int = 5) -> Change:
    """A layer whose inputs are correlated, a step or two away from its base."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, count)) @ rng.normal(size=(count, count))
    base = rng.integers(-90, 90, (1, outputs, count)).astype(float)
    wanted = base + rng.normal(0, 1.2, base.shape)
    return Change(wanted, base, (x.T @ x / 400)[None], 127)


def cost(change: Change, codes: Array, price: float) -> Array:
    """What `choose_update` makes small, for each output, by its definition."""
    off = codes - change.wanted
    size = np.abs(codes - change.base)
    bits = np.where(size > 0, CHANGE_BITS + DOUBLING_BITS * np.log2(np.maximum(size, 1)), 0.0)
    error = np.einsum("gok,gkl,gol->go", off, change.gram, off)
    return (error + price * bits.sum(axis=2)).ravel()


def optimum(change: Change, price: float) -> Array:
    """Over every choice among the base's codes and the two around the wanted number."""
    best = np.full(change.base.shape[1], np.inf)
    low = np.floor(change.wanted)
    for picks in itertools.product((0, 1, 2), repeat=change.base.shape[2]):
        codes = np.choose(np.array(picks), [change.base, low, low + 1.0])
        best = np.minimum(best, cost(change, codes, price))
    return best


@pytest.mark.parametrize("price", [0.05, 0.5, 5.0])
def test_cost_is_near_the_optimum_and_below_that_of_a_plain_deadband(price: float) -> None:
    found = least = deadband = 0.0
    for seed in range(6):
        change = problem(seed)
        prices = np.full(change.base.shape[:2], price)
        found += cost(change, choose_update(change, prices), price).sum()
        least += optimum(change, price).sum()
        bands = [
            np.where(np.abs(np.rint(change.wanted) - change.base) <= tau, change.base,
                     np.rint(change.wanted))
            for tau in range(6)
        ]  # fmt: skip
        deadband += min(cost(change, codes, price).sum() for codes in bands)
    assert found >= least * 0.999
    assert found <= 1.35 * least
    assert found < deadband


def test_nothing_changes_when_bits_are_dear_and_everything_when_they_are_free() -> None:
    change = problem(1)
    dear = choose_update(change, np.full(change.base.shape[:2], 1e12))
    np.testing.assert_array_equal(dear, change.base)
    free = choose_update(change, np.zeros(change.base.shape[:2]))
    nearest = np.rint(change.wanted)
    assert cost(change, free, 0.0).sum() <= cost(change, nearest, 0.0).sum()


def test_codes_stay_within_the_limit_when_the_wanted_ones_do_not() -> None:
    change = problem(2)
    far = Change(change.wanted * 3.0, change.base, change.gram, 127)
    assert np.abs(choose_update(far, np.zeros(far.base.shape[:2]))).max() <= 127


def test_inputs_that_are_always_zero_cost_nothing() -> None:
    change = problem(3)
    gram = change.gram.copy()
    gram[:, 2, :] = gram[:, :, 2] = 0.0
    codes = choose_update(
        Change(change.wanted, change.base, gram, 127), np.full(change.base.shape[:2], 0.5)
    )
    np.testing.assert_array_equal(codes[:, :, 2], change.base[:, :, 2])


def test_channel_that_grew_as_a_whole_gets_another_scale_and_keeps_its_codes() -> None:
    change = problem(4)
    grown = Change(change.base * 1.125, change.base, change.gram, 127)
    scales = np.full(change.base.shape[:2], 0.02)
    price = np.full(scales.shape, 1e-3)
    widest = np.full(scales.shape, 10.0)
    ratios = scale_ratios(grown, scales, price, widest)
    np.testing.assert_allclose(ratios, 1.125, rtol=2e-3)
    moved = Change(grown.wanted / ratios[:, :, None], grown.base, grown.gram, 127)
    np.testing.assert_array_equal(choose_update(moved, price * 100), change.base)
    stored = (scales.astype(np.float32) * ratios).astype(np.float32)
    np.testing.assert_allclose(stored / scales.astype(np.float32), ratios, rtol=1e-7)
    same = scale_ratios(Change(change.base, change.base, change.gram, 127), scales, price, widest)
    np.testing.assert_array_equal(same, 1.0)
    capped = scale_ratios(grown, scales, price, np.full(scales.shape, 1.05))
    assert capped.max() <= 1.05
