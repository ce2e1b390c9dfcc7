"""The paired test may be looked at after every pair, and the shadow costs no answer."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.model import Prediction
from edgekiln.runtime.protocol import ShadowLimits
from edgekiln.runtime.session import LiveSession
from edgekiln.runtime.shadow import (
    GRID,
    Verdict,
    judge,
    log_evidence_above,
    log_evidence_below,
)

LIMITS = ShadowLimits(max_disagreement=0.1, samples=600, alpha=0.05)
WAIT_S = 20.0


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([0.05, 0.1, 0.4]))
def test_evidence_is_the_wealth_of_bets_placed_pair_by_pair(
    pairs: list[bool], limit: float
) -> None:
    for evidence, shares in (
        (log_evidence_above, [limit + (1 - limit) * (k + 0.5) / GRID for k in range(GRID)]),
        (log_evidence_below, [limit * k / GRID for k in range(GRID)]),
    ):
        wealth = np.ones(GRID)
        for differs in pairs:
            share = np.array(shares)
            wealth *= share / limit if differs else (1 - share) / (1 - limit)
        found = evidence(len(pairs), sum(pairs), limit)
        assert math.exp(found) == pytest.approx(wealth.mean(), rel=1e-9)


def first_verdicts(share: float, streams: int, seed: int) -> list[Verdict]:
    """What is concluded by looking after every pair of many streams."""
    verdicts: dict[tuple[int, int], Verdict] = {}

    def look(samples: int, disagreements: int) -> Verdict:
        key = (samples, disagreements)
        if key not in verdicts:
            verdicts[key] = judge(samples, disagreements, LIMITS, 0.0)
        return verdicts[key]

    rng = np.random.default_rng(seed)
    found = []
    for counts in np.cumsum(rng.random((streams, LIMITS.samples)) < share, axis=1):
        looks = (look(n + 1, int(count)) for n, count in enumerate(counts))
        found.append(next(verdict for verdict in looks if verdict is not Verdict.OPEN))
    return found


@pytest.mark.parametrize(
    ("share", "wanted", "at_least"),
    [(0.0, Verdict.PASS, 1.0), (0.04, Verdict.PASS, 0.95), (0.25, Verdict.FAIL, 0.99)],
)
def test_clear_models_get_their_verdict_before_the_samples_end(
    share: float, wanted: Verdict, at_least: float
) -> None:
    found = first_verdicts(share, 150, seed=2)
    assert found.count(wanted) >= at_least * len(found)


def test_wrong_verdicts_keep_below_alpha_when_looked_at_after_every_pair() -> None:
    found = first_verdicts(LIMITS.max_disagreement, 400, seed=1)
    # Three standard deviations of a share of 0.05 in 400 streams above it.
    most = LIMITS.alpha + 3 * math.sqrt(LIMITS.alpha * (1 - LIMITS.alpha) / len(found))
    assert found.count(Verdict.FAIL) <= most * len(found)
    assert found.count(Verdict.PASS) <= most * len(found)


def test_verdict_is_inconclusive_when_samples_or_time_end() -> None:
    assert judge(599, 60, LIMITS, 0.0) is Verdict.OPEN
    assert judge(600, 60, LIMITS, 0.0) is Verdict.INCONCLUSIVE
    assert judge(3, 0, LIMITS, LIMITS.timeout_s) is Verdict.INCONCLUSIVE
    assert judge(0, 0, LIMITS, 0.0) is Verdict.OPEN


class Answers:
    """A model that answers one label; `gate` may hold it back, `error` fails it."""

    def __init__(self, bundle_id: str, label: str, error: Exception | None = None) -> None:
        self.bundle_id, self.label, self.error = bundle_id, label, error
        self.calls = 0
        self.asked = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, raw: object) -> Prediction:
        self.calls += 1
        self.asked.release()
        assert self.gate.wait(WAIT_S)
        if self.error:
            raise self.error
        count = len(np.asarray(raw))
        half = np.full((count, 1), 0.5, np.float32)
        return Prediction(
            np.zeros(count, np.int64), (self.label,) * count, half[:, 0], half, self.bundle_id, 9.0
        )


RAW = np.zeros((1, 3), np.float32)


def shadowed(new: Answers, rate: float = 1.0) -> LiveSession:
    session = LiveSession(Answers("old", "a"))  # type: ignore[arg-type]
    session.start_shadow(new, rate)  # type: ignore[arg-type]
    return session


def test_shadow_is_compared_and_never_answers() -> None:
    new = Answers("new", "b")
    session = shadowed(new)
    for count in range(20):
        assert session.predict(RAW).labels == ("a",)
        assert new.asked.acquire(timeout=WAIT_S), count
    session.end_shadow()
    assert session.running == "old"
    assert session.evidence() is None


def test_shadow_counts_pairs_differences_and_failures() -> None:
    for new, expected in (
        (Answers("new", "b"), (5, 5, 0)),
        (Answers("new", "a"), (5, 0, 0)),
        (Answers("new", "a", ValueError("boom")), (0, 0, 5)),
    ):
        session = shadowed(new)
        shadow = session._live.shadow
        assert shadow is not None
        for _ in range(5):
            session.predict(RAW)
            assert new.asked.acquire(timeout=WAIT_S)
        session.end_shadow()
        found = shadow.evidence()
        assert (found.samples, found.disagreements, found.failures) == expected


def test_live_answers_do_not_wait_when_the_shadow_hangs() -> None:
    new = Answers("new", "b")
    new.gate.clear()
    session = shadowed(new)
    for _ in range(200):  # more than fit in its queue
        assert session.predict(RAW).bundle_id == "old"
    assert new.calls <= 1
    new.gate.set()
    session.end_shadow()


def test_shadow_is_asked_its_share_of_the_inputs() -> None:
    new = Answers("new", "a")
    session = shadowed(new, rate=0.2)
    for _ in range(2000):
        session.predict(RAW)
        shadow = session._live.shadow
        assert shadow is not None
        while not shadow._waiting.empty():
            new.asked.acquire(timeout=0.01)
    session.end_shadow()
    assert 300 < new.calls < 500


def test_trial_and_use_end_the_shadow() -> None:
    for name in ("use", "start_trial"):
        session = shadowed(Answers("new", "b"))
        shadow = session._live.shadow
        assert shadow is not None
        getattr(session, name)(Answers("third", "c"))
        assert session.running == "third"
        assert not shadow._thread.is_alive()
