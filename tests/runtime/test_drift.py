"""The e-detectors do what they promise: by arithmetic, and by simulation with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.drift import (
    FADE,
    RUN_LENGTH,
    TOLERANCE,
    DriftDetector,
    EDetectors,
    sampling_variation,
)
from edgekiln.runtime.errors import DriftStateError
from edgekiln.runtime.reference import BINS, Binner, Reference, build_reference, describe

EVEN = np.full((1, BINS), 1 / BINS, np.float32)
FEATURES = 72  # as many detectors as a digits device runs; sets the threshold of the simulations
THRESHOLD = float(RUN_LENGTH * FEATURES)

Draw = Callable[[int, int], np.ndarray]  # (observation, rows) -> one value a row


def _first_alarms(reference: np.ndarray, draw: Draw, observations: int, seed: int) -> np.ndarray:
    """Detectors on independent rows, each with its own reference sample (n, rows).

    Returns the observation of each row's first alarm, or 0.
    """
    count, rows = reference.shape
    binner = Binner([describe(str(row), column) for row, column in enumerate(reference.T)])
    shares = np.repeat(EVEN, rows, axis=0)
    detectors = EDetectors(shares, sampling_variation(shares, count) + TOLERANCE, THRESHOLD)
    rng = np.random.default_rng(seed)
    first = np.zeros(rows, int)
    for observation in range(observations):
        values = draw(observation, rows).astype(np.float32)[None]
        detectors.observe(binner.bins(values, rng.random(values.shape, np.float32))[0])
        first[detectors.alarms & (first == 0)] = observation + 1
    return first


def _pool(rng: np.random.Generator, size: int, rows: int) -> Draw:
    """Loops over a pool of `size` normal values a row, in a new order each time."""
    values = rng.normal(size=(size, rows))

    def draw(observation: int, _: int) -> np.ndarray:
        if observation % size == 0:
            rng.permuted(values, axis=0, out=values)
        return values[observation % size]

    return draw


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.4), st.integers(2, 20))
def test_bets_never_win_on_average_when_the_data_stays_in_the_ball(
    seed: int, eps: float, bins: int
) -> None:
    """The worst distribution within eps, found by linear programming, gives a mean of at most 1."""
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.ones(bins)) * 0.9 + 0.1 / bins
    detectors = EDetectors(q[None].astype("f4"), np.array([eps]), THRESHOLD)
    detectors.counts = (rng.dirichlet(np.ones(bins) * 0.3) * 100 + q)[None].astype("f4")
    detectors.refresh()
    bets = detectors._bets[0].astype(float)
    # Maximise sum p·bets over p = q + up - down, with up, down >= 0 and sum up <= eps.
    found = optimize.linprog(
        np.concatenate([-bets, bets]),
        A_ub=np.concatenate([np.ones(bins), np.zeros(bins)])[None],
        b_ub=[eps],
        A_eq=np.concatenate([np.ones(bins), -np.ones(bins)])[None],
        b_eq=[0.0],
        bounds=[(0, None)] * bins + [(0, share) for share in q],
    )
    assert q @ bets - found.fun <= 1 + 1e-4


def test_bets_are_level_when_what_was_seen_is_inside_the_ball() -> None:
    detectors = EDetectors(EVEN, np.array([0.1]), THRESHOLD)
    detectors.counts[0, :8] *= 1.1
    detectors.refresh()
    np.testing.assert_array_equal(detectors._bets, np.ones((1, BINS), np.float32))


def test_evidence_settles_low_when_nothing_happens() -> None:
    detectors = EDetectors(EVEN, np.array([0.1]), THRESHOLD)
    for observation in range(4000):
        detectors.observe(np.array([observation % BINS]))
    assert detectors.evidence[0] == pytest.approx(1 / FADE - 1, rel=0.01)


def test_sampling_variation_is_what_simulation_finds() -> None:
    rng = np.random.default_rng(0)
    for shares in (np.full(BINS, 1 / BINS), np.array([0.7, 0.2, 0.1])):
        drawn = rng.multinomial(400, shares, size=4000) / 400
        simulated = np.abs(drawn - shares).sum(axis=1).mean() / 2
        assert sampling_variation(shares[None], 400)[0] == pytest.approx(simulated, rel=0.02)
    assert sampling_variation(EVEN, 400)[0] == pytest.approx(1.545 / np.sqrt(400), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 1000])
def test_no_alarm_within_the_run_length_when_data_is_fresh(size: int) -> None:
    rng = np.random.default_rng(size)
    reference = rng.normal(size=(size, FEATURES))
    first = _first_alarms(reference, lambda _, rows: rng.normal(size=rows), RUN_LENGTH, seed=1)
    assert (first > 0).sum() == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 1000])
def test_no_alarm_within_the_run_length_when_a_pool_of_300_is_looped(size: int) -> None:
    rng = np.random.default_rng(size + 1)
    reference = rng.normal(size=(size, FEATURES))
    first = _first_alarms(reference, _pool(rng, 300, FEATURES), RUN_LENGTH, seed=2)
    assert (first > 0).sum() == 0


def test_shift_of_one_sd_is_found_within_about_200_observations() -> None:
    rng = np.random.default_rng(5)
    reference, before = rng.normal(size=(1000, 200)), 400
    shifted = lambda t, rows: rng.normal(float(t >= before), 1, rows)  # noqa: E731
    delays = _first_alarms(reference, shifted, before + 600, seed=3) - before
    assert (delays > 0).all()
    assert np.median(delays) < 200
    assert np.quantile(delays, 0.95) < 280


@pytest.mark.parametrize(("shift", "spread"), [(0.1, 1.0), (-0.1, 1.0), (0.0, 1.1)])
def test_no_alarm_when_a_shift_is_immaterial(shift: float, spread: float) -> None:
    rng = np.random.default_rng(6)
    reference = rng.normal(size=(1000, FEATURES))
    moved = lambda _, rows: rng.normal(shift, spread, rows)  # noqa: E731
    assert (_first_alarms(reference, moved, 6000, seed=4) > 0).sum() == 0


def test_alarm_ends_when_the_data_is_back() -> None:
    rng = np.random.default_rng(7)
    detectors = EDetectors(EVEN, np.array([0.1]), THRESHOLD)
    for _ in range(300):
        detectors.observe(rng.integers(0, 4, 1))
    assert detectors.alarms[0]
    for _ in range(600):
        detectors.observe(rng.integers(0, BINS, 1))
    assert not detectors.alarms[0]
    assert np.isfinite(detectors.evidence).all()


def _reference() -> Reference:
    rng = np.random.default_rng(8)
    contract = Contract(TensorSpec("x", (3,)), ("a", "b", "c"))
    raw = rng.normal(size=(500, 3)).astype(np.float32)
    answers = rng.choice(3, 500, p=[0.7, 0.2, 0.1])
    return build_reference(contract, raw, rng.random(500).astype(np.float32), answers)


def _observations(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    return rng.integers(0, BINS, (count, 6)), rng.choice(3, count, p=[0.7, 0.2, 0.1])


def test_class_detector_alarms_when_only_the_answers_change() -> None:
    detector = DriftDetector(_reference())
    bins, _ = _observations(400)
    detector.observe(bins, np.random.default_rng(1).choice(3, 400, p=[0.1, 0.2, 0.7]))
    assert detector.classes.alarms[0]
    assert not detector.binned.alarms.any()


def test_observe_is_the_same_one_by_one_and_in_batches() -> None:
    bins, answers = _observations(37)
    whole, parts = DriftDetector(_reference()), DriftDetector(_reference())
    whole.observe(bins, answers)
    for start in range(0, 37, 5):
        parts.observe(bins[start : start + 5], answers[start : start + 5])
    assert whole.to_bytes() == parts.to_bytes()


def test_state_survives_when_it_is_saved_and_restored() -> None:
    bins, answers = _observations(200)
    bins[:, 0] = 3
    detector = DriftDetector(_reference())
    detector.observe(bins, answers)
    restored = DriftDetector(_reference())
    restored.restore(detector.to_bytes())
    assert restored.to_bytes() == detector.to_bytes()
    assert restored.binned.alarms.tolist() == [True] + 5 * [False]
    restored.observe(bins, answers)  # its arrays can be written to
    state = len(detector.to_bytes())
    assert state <= 68 * len(detector.names) + 120


def test_restore_changes_nothing_when_the_state_is_damaged_or_foreign() -> None:
    bins, answers = _observations(50)
    detector = DriftDetector(_reference())
    detector.observe(bins, answers)
    before = detector.to_bytes()
    other = build_reference(
        Contract(TensorSpec("x", (2,)), ("a", "b")),
        np.eye(2, dtype=np.float32),
        np.ones(2, np.float32),
        np.arange(2),
    )
    nan = bytearray(before)
    place = before.index(b"evidence") + len(b"evidence") + 2  # behind MessagePack's length
    nan[place : place + 4] = np.float32("nan").tobytes()
    for data in (b"", before[:-3], DriftDetector(other).to_bytes(), bytes(nan)):
        with pytest.raises(DriftStateError, match="the saved drift state"):
            detector.restore(data)
        assert detector.to_bytes() == before
