"""The live session: swaps without a pause, trials that never cost an answer."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edgekiln.runtime.errors import ContractError, EngineError
from edgekiln.runtime.prediction import Prediction
from edgekiln.runtime.session import LiveSession


class FakeModel:
    """Answers one label; raises `error` on call numbers in `fails`."""

    def __init__(
        self,
        bundle_id: str,
        label: str = "a",
        confidence: float = 0.8,
        latency_us: float = 100.0,
        error: Exception | None = None,
        fails: range = range(10**9),
    ) -> None:
        self.bundle_id = bundle_id
        self.label, self.confidence, self.latency_us = label, confidence, latency_us
        self.error, self.fails, self.calls = error, fails, 0

    def predict(self, raw: object) -> Prediction:
        call, self.calls = self.calls, self.calls + 1
        if self.error is not None and call in self.fails:
            raise self.error
        count = len(np.asarray(raw))
        return Prediction(
            np.zeros(count, np.int64),
            (self.label,) * count,
            np.full(count, self.confidence, np.float32),
            np.full((count, 1), self.confidence, np.float32),
            self.bundle_id,
            self.latency_us,
        )


def _session(model: FakeModel) -> LiveSession:
    return LiveSession(model)  # type: ignore[arg-type]


def _trial(new: FakeModel, old: FakeModel) -> LiveSession:
    session = _session(old)
    session.start_trial(new)  # type: ignore[arg-type]
    return session


RAW = np.zeros((1, 3), np.float32)


def test_predict_answers_with_the_current_model_and_no_trial_by_default() -> None:
    session = _session(FakeModel("old"))
    assert session.predict(RAW).bundle_id == "old"
    assert session.evidence() is None
    assert session.baseline is None


def test_use_changes_the_model_and_ends_the_trial() -> None:
    session = _trial(FakeModel("new"), FakeModel("old"))
    session.use(FakeModel("third"))  # type: ignore[arg-type]
    assert session.predict(RAW).bundle_id == "third"
    assert session.running == "third"
    assert session.evidence() is None


def test_trial_serves_the_new_model_and_counts_paired_differences() -> None:
    old = FakeModel("old", "a", confidence=0.5)
    session = _trial(FakeModel("new", "b", confidence=0.75, latency_us=3000.0), old)
    assert session.predict(np.zeros((4, 3))).labels == ("b",) * 4
    old.label = "b"
    assert session.predict(np.zeros((6, 3))).bundle_id == "new"
    evidence = session.evidence()
    assert evidence is not None
    assert (evidence.samples, evidence.disagreements, evidence.failures) == (10, 4, 0)
    assert evidence.mean_confidence == pytest.approx(0.75)
    assert evidence.baseline_confidence == pytest.approx(0.5)
    assert evidence.p95_latency_ms == pytest.approx(3.0, rel=0.8)
    assert session.running == "new"


def test_end_trial_keeps_the_new_model_and_roll_back_the_old() -> None:
    kept = _trial(FakeModel("new"), FakeModel("old"))
    kept.end_trial()
    assert (kept.running, kept.evidence(), kept.baseline) == ("new", None, None)
    back = _trial(FakeModel("new"), FakeModel("old"))
    back.roll_back()
    assert (back.running, back.evidence()) == ("old", None)
    back.roll_back()
    assert back.running == "old"


def test_start_trial_keeps_the_baseline_when_a_trial_already_runs() -> None:
    session = _trial(FakeModel("new"), FakeModel("old"))
    session.predict(RAW)
    session.start_trial(FakeModel("newer"))  # type: ignore[arg-type]
    assert session.running == "newer"
    assert session.baseline is not None
    assert session.baseline.bundle_id == "old"
    assert session.evidence().samples == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "error", [EngineError("gone"), ContractError("no"), RuntimeError("bug"), MemoryError()]
)
def test_trial_falls_back_and_counts_when_the_new_model_fails(error: Exception) -> None:
    session = _trial(FakeModel("new", error=error), FakeModel("old"))
    assert session.predict(RAW).bundle_id == "old"
    evidence = session.evidence()
    assert evidence is not None
    assert (evidence.samples, evidence.failures) == (0, 1)


def test_trial_answers_with_the_new_model_when_the_old_one_fails() -> None:
    session = _trial(FakeModel("new"), FakeModel("old", error=RuntimeError("bug")))
    assert session.predict(RAW).bundle_id == "new"
    evidence = session.evidence()
    assert evidence is not None
    assert (evidence.samples, evidence.failures) == (0, 0)


def test_trial_blames_nobody_when_the_samples_suit_neither_model() -> None:
    refuse = ContractError("input holds a value that is not finite")
    session = _trial(FakeModel("new", error=refuse), FakeModel("old", error=refuse))
    with pytest.raises(ContractError):
        session.predict(RAW)
    assert session.evidence().failures == 0  # type: ignore[union-attr]


def test_trial_raises_and_counts_when_both_engines_fail() -> None:
    error = EngineError("gone")
    session = _trial(FakeModel("new", error=error), FakeModel("old", error=error))
    with pytest.raises(EngineError):
        session.predict(RAW)
    assert session.evidence().failures == 1  # type: ignore[union-attr]


def test_failure_reaches_the_caller_when_there_is_no_trial() -> None:
    with pytest.raises(EngineError):
        _session(FakeModel("old", error=EngineError("gone"))).predict(RAW)


def test_swap_does_not_wait_when_an_inference_runs() -> None:
    started, release = threading.Event(), threading.Event()

    class Slow(FakeModel):
        def predict(self, raw: object) -> Prediction:
            started.set()
            assert release.wait(10)
            return super().predict(raw)

    session = _session(Slow("old"))
    answers: list[Prediction] = []
    caller = threading.Thread(target=lambda: answers.append(session.predict(RAW)))
    caller.start()
    assert started.wait(10)
    session.start_trial(FakeModel("new"))  # type: ignore[arg-type]
    assert session.running == "new"  # while the old model is still at work
    release.set()
    caller.join(10)
    assert answers[0].bundle_id == "old"


def test_every_call_is_answered_when_models_are_swapped_under_load() -> None:
    """Every answer comes whole from one model, and none is lost to a failing trial."""
    session = _session(FakeModel("m0", "m0"))
    stop, lost, mixed = threading.Event(), [], []

    def call() -> None:
        while not stop.is_set():
            try:
                answer = session.predict(RAW)
            except Exception as error:
                lost.append(error)
                return
            if answer.labels != (answer.bundle_id,):
                mixed.append(answer)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for number in range(1, 400):
        error = RuntimeError("bug") if number % 3 == 0 else None
        name = f"m{number}"
        session.start_trial(FakeModel(name, name, error=error))  # type: ignore[arg-type]
        (session.end_trial if error is None else session.roll_back)()
    stop.set()
    for caller in callers:
        caller.join(10)
    assert (lost, mixed) == ([], [])


def test_model_on_trial_is_seen_to_hang_until_it_answers() -> None:
    entered, release = threading.Event(), threading.Event()

    class Hanging(FakeModel):
        def predict(self, raw: object) -> Prediction:
            entered.set()
            release.wait(20.0)
            return super().predict(raw)

    session = _trial(Hanging("new"), FakeModel("old"))
    assert session.stuck_s == 0.0
    asking = threading.Thread(target=session.predict, args=(RAW,))
    asking.start()
    assert entered.wait(20.0)
    assert session.stuck_s > 0.0
    session.roll_back()
    assert session.stuck_s > 0.0  # its thread still waits
    release.set()
    asking.join(20.0)
    assert session.stuck_s == 0.0
