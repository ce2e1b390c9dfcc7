"""The e-detectors do what they promise: by arithmetic, and by simulation with fixed seeds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.drift import PERIOD, RUN_LENGTH, DriftDetector
from edgekiln.runtime.drift_bets import FADE
from edgekiln.runtime.errors import DriftStateError
from edgekiln.runtime.reference import BINS, Binner, Reference, build_reference, describe

FEATURES = 72  # as many detectors as a digits device runs; sets the threshold of the simulations
LOOK = 8  # observations between two looks at the alarms

Draw = Callable[[int, int], np.ndarray]  # (first observation, rows) -> LOOK values a row


def _detector(reference: np.ndarray, detectors: int) -> tuple[DriftDetector, Binner]:
    """A row for each column of a sample (n, rows), with the threshold of so many detectors."""
    count, rows = reference.shape
    features = tuple(describe(str(row), column) for row, column in enumerate(reference.T))
    sums = Reference(features[:-1], (0.5, 0.5), features[-1], samples=count, answers=count)
    return DriftDetector(sums, RUN_LENGTH * detectors / (rows + 1)), Binner(features)


def _first_alarms(
    reference: np.ndarray, draw: Draw, observations: int, seed: int, detectors: int = FEATURES
) -> np.ndarray:
    """For each row, the look at which its first alarm was seen, in observations, or 0."""
    rows = reference.shape[1]
    detector, binner = _detector(reference, detectors)
    rng = np.random.default_rng(seed)
    first = np.zeros(rows, int)
    for start in range(0, observations, LOOK):
        values = draw(start, rows).astype(np.float32)
        bins = binner.bins(values, rng.random(values.shape, np.float32))
        detector.observe(bins, rng.integers(0, 2, LOOK))
        first[detector.take_raised()[0] & (first == 0)] = start + LOOK
    return first


def _normal(rng: np.random.Generator, shift: float = 0.0, spread: float = 1.0) -> Draw:
    return lambda _, rows: rng.normal(shift, spread, (LOOK, rows))


def _pool(rng: np.random.Generator, size: int, rows: int) -> Draw:
    """Loops over a pool of `size` normal values a row, in a new order each time."""
    values = rng.normal(size=(size, rows))

    def draw(start: int, _: int) -> np.ndarray:
        if start % size == 0:
            rng.permuted(values, axis=0, out=values)
        return values[start % size : start % size + LOOK]

    return draw


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 5000])
def test_no_alarm_within_the_run_length_when_data_is_fresh(size: int) -> None:
    rng = np.random.default_rng(size)
    reference = rng.normal(size=(size, 4 * FEATURES))
    assert (_first_alarms(reference, _normal(rng), RUN_LENGTH, seed=1) > 0).sum() == 0


@pytest.mark.slow
def test_few_alarms_within_its_own_run_length_when_a_detector_is_alone() -> None:
    """A threshold of 20,000: on average at least as many observations to the first alarm, so that
    of a thousand detectors 632 could alarm within them if the times were exponential."""
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(1000, 1000))
    found = (_first_alarms(reference, _normal(rng), RUN_LENGTH, seed=2, detectors=1) > 0).sum()
    assert found <= 25


@pytest.mark.slow
@pytest.mark.parametrize("size", [608, 1000])
def test_no_alarm_within_the_run_length_when_a_pool_is_looped(size: int) -> None:
    rng = np.random.default_rng(size + 1)
    reference = rng.normal(size=(1000, 2 * FEATURES))
    pool = _pool(rng, size, 2 * FEATURES)
    assert (_first_alarms(reference, pool, RUN_LENGTH, seed=2) > 0).sum() == 0


@pytest.mark.parametrize(
    ("size", "shift", "spread", "median", "most"),
    [
        (1000, 0.5, 1.0, 200, 360),
        (5000, -0.5, 1.0, 170, 300),
        (1000, 1.0, 1.0, 56, 88),
        (1000, 0.0, 1.5, 208, 400),
    ],
)
def test_change_is_found_soon(
    size: int, shift: float, spread: float, median: float, most: float
) -> None:
    """On a device with 46 detectors. Delays are rounded up to a look."""
    rng = np.random.default_rng(5)
    reference, before = rng.normal(size=(size, 200)), 320
    changed, healthy = _normal(rng, shift, spread), _normal(rng)
    draw = lambda start, rows: (changed if start >= before else healthy)(start, rows)  # noqa: E731
    delays = _first_alarms(reference, draw, before + 800, seed=3, detectors=46) - before
    assert (delays > 0).mean() >= 0.98
    assert np.median(delays) <= median
    assert np.quantile(delays, 0.9) <= most


def test_change_of_another_shape_is_found_soon() -> None:
    """A sensor that is stuck in the middle, and one that fails to the same value now and then."""
    rng = np.random.default_rng(6)
    reference = rng.normal(size=(1000, 200))
    for share, median in ((1.0, 64), (0.3, 260)):
        stuck = lambda _, rows, share=share: np.where(  # noqa: E731
            rng.random((LOOK, rows)) < share, 0.05, rng.normal(size=(LOOK, rows))
        )
        delays = _first_alarms(reference, stuck, 600, seed=4)
        assert (delays > 0).all()
        assert np.median(delays) <= median


def test_no_alarm_when_a_shift_is_immaterial() -> None:
    rng = np.random.default_rng(6)
    for shift, spread in ((0.05, 1.0), (0.0, 1.04)):
        reference = rng.normal(size=(1000, FEATURES))
        moved = _normal(rng, shift, spread)
        assert (_first_alarms(reference, moved, 3200, seed=4) > 0).sum() == 0


def _reference() -> Reference:
    rng = np.random.default_rng(8)
    contract = Contract(TensorSpec("x", (3,)), ("a", "b", "c"))
    raw = rng.normal(size=(500, 3)).astype(np.float32)
    answers = rng.choice(3, 500, p=[0.7, 0.2, 0.1])
    return build_reference(contract, raw, rng.random(500).astype(np.float32), answers)


def _observations(count: int, seed: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, BINS, (count, 6)), rng.choice(3, count, p=[0.7, 0.2, 0.1])


def test_evidence_settles_low_when_nothing_happens() -> None:
    detector = DriftDetector(_reference())
    even = np.arange(16 * 250) % BINS
    detector.observe(np.repeat(even[:, None], 6, axis=1), _observations(len(even))[1])
    assert (detector.binned.evidence < 1 / FADE).all()
    assert (detector.classes.evidence < 1 / FADE).all()
    assert (detector.binned.evidence > 0).all()


def test_alarm_ends_when_the_data_is_back() -> None:
    detector = DriftDetector(_reference())
    bins, answers = _observations(4000)
    bins[:3000, 0], answers[:3000] = 3, 2
    detector.observe(bins[:3000], answers[:3000])
    assert detector.binned.alarms.tolist() == [True] + 5 * [False]
    assert detector.classes.alarms[0]
    assert np.isfinite(detector.binned.evidence).all()
    detector.observe(bins[3000:], answers[3000:])
    assert not detector.binned.alarms.any()
    assert not detector.classes.alarms[0]


@pytest.mark.parametrize("stuck", range(BINS))
def test_evidence_stays_finite_when_a_value_is_stuck_for_ever(stuck: int) -> None:
    detector = DriftDetector(_reference(), run_length=1e9, tolerance=0.0)
    detector.observe(np.full((1000, 6), stuck), np.full(1000, 2))
    assert np.isfinite(detector.binned.evidence).all()
    assert detector.binned.alarms.all()
    assert detector.classes.alarms[0]


def test_class_detector_alarms_when_only_the_answers_change() -> None:
    detector = DriftDetector(_reference())
    bins, _ = _observations(400)
    detector.observe(bins, np.random.default_rng(1).choice(3, 400, p=[0.1, 0.2, 0.7]))
    assert detector.classes.alarms[0]
    assert not detector.binned.alarms.any()


def test_raised_alarm_is_told_when_it_was_over_before_the_batch_was() -> None:
    detector = DriftDetector(_reference())
    bins, answers = _observations(2000)
    bins[100:140, 1], answers[600:700] = 15, 2
    detector.observe(bins, answers)
    assert not detector.binned.alarms.any()
    raised, classes = detector.take_raised()
    assert raised.tolist() == [False, True, False, False, False, False]
    assert classes
    raised, classes = detector.take_raised()
    assert not raised.any()
    assert not classes


def test_raised_alarm_is_told_again_when_it_is_on() -> None:
    detector = DriftDetector(_reference())
    bins, answers = _observations(100)
    bins[:, 0] = 15
    detector.observe(bins, answers)
    for _ in range(2):
        raised, classes = detector.take_raised()
        assert raised.tolist() == [True] + 5 * [False]
        assert not classes


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 3 * PERIOD), min_size=1, max_size=12),
    st.booleans(),
)
def test_observe_is_the_same_one_by_one_and_in_batches(
    seed: int, sizes: list[int], stuck: bool
) -> None:
    bins, answers = _observations(sum(sizes), seed)
    if stuck:
        bins[:, 2] = seed % BINS
    single, parts = DriftDetector(_reference(), 100.0), DriftDetector(_reference(), 100.0)
    raised = np.zeros(6, np.bool_)
    for row, answer in zip(bins, answers, strict=True):
        single.observe(row[None], answer[None])
        raised |= single.binned.alarms
    start = 0
    for size in sizes:
        parts.observe(bins[start : start + size], answers[start : start + size])
        start += size
    assert parts.to_bytes() == single.to_bytes()
    assert parts.take_raised()[0].tolist() == raised.tolist()


def test_state_survives_when_it_is_saved_and_restored() -> None:
    bins, answers = _observations(200)
    bins[:, 0] = 3
    whole, detector = DriftDetector(_reference()), DriftDetector(_reference())
    whole.observe(bins, answers)
    for count in range(0, 200, 7):  # every age of a period
        detector.observe(bins[count : count + 7], answers[count : count + 7])
        restored = DriftDetector(_reference())
        restored.restore(detector.to_bytes())
        assert restored.to_bytes() == detector.to_bytes()
        detector = restored
    assert detector.to_bytes() == whole.to_bytes()
    assert detector.binned.alarms.tolist() == [True] + 5 * [False]
    assert len(detector.to_bytes()) <= 68 * len(detector.names) + 120


def _damaged(state: bytes) -> list[bytes]:
    """States with another evidence, age or count in the place of a right one."""
    wrong = []
    for field, behind, data in (
        (b"parts", 2, np.float32("nan").tobytes()),
        (b"parts", 2, np.float32("inf").tobytes()),
        (b"parts", 2, np.float32(-1).tobytes()),
        (b"class_part", 2, np.float32("nan").tobytes()),
        (b"age", 0, b"\x21"),
        (b"age", 0, b"\xff"),  # -1
        (b"age", 0, b"\x01"),  # younger than what is fresh
        (b"seen", 2, b"\xff"),
        (b"fresh", 2, b"\x21"),
    ):
        changed = bytearray(state)
        place = state.index(field) + len(field) + behind  # behind MessagePack's length
        changed[place : place + len(data)] = data
        wrong.append(bytes(changed))
    return wrong


def test_restore_says_so_when_any_byte_of_the_frame_is_another() -> None:
    good = DriftDetector(_reference()).to_bytes()
    places = [i for i in range(len(good)) if i < 60 or 0x20 <= good[i] < 0x7F]
    for place in places:
        for byte in (0x00, 0x7F, 0x81, 0xC1, 0xC4, 0xDB, 0xE0, 0xFF):
            detector = DriftDetector(_reference())
            state = good[:place] + bytes([byte]) + good[place + 1 :]
            with contextlib.suppress(DriftStateError):
                detector.restore(state)
    with pytest.raises(DriftStateError):
        detector.restore(b"\x91" * 100_000)


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
    foreign = DriftDetector(other).to_bytes()
    looser = DriftDetector(_reference(), tolerance=0.1).to_bytes()
    for data in (b"", b"\x80", before[:-3], foreign, looser, *_damaged(before)):
        with pytest.raises(DriftStateError, match="the saved drift state"):
            detector.restore(data)
        assert detector.to_bytes() == before
