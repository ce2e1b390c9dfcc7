"""`LiveSession`: the model that answers now, and during a trial the one that answered before.

What is live is one immutable value. `predict` reads it once and works on what it read, so a swap
never waits for an inference, and an inference never sees half a swap. During a trial the new
model answers, the last known good one answers beside it, and the difference is counted; when the
new one fails, the caller gets the old one's answer.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

import numpy.typing as npt

from .errors import ContractError
from .model import Model
from .prediction import Prediction
from .protocol import TrialEvidence
from .telemetry import LatencyHistogram


class _Trial:
    """Running totals of a paired comparison; its lock is held for additions only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples = 0
        self._disagreements = 0
        self._failures = 0
        self._confidence = 0.0
        self._baseline_confidence = 0.0
        self._latency = LatencyHistogram()

    def compare(self, new: Prediction, old: Prediction) -> None:
        """Count n samples that both models answered."""
        differing = sum(a != b for a, b in zip(new.labels, old.labels, strict=True))
        with self._lock:
            self._samples += len(new.labels)
            self._disagreements += differing
            self._confidence += float(new.confidences.sum())
            self._baseline_confidence += float(old.confidences.sum())
            self._latency.add(new.latency_us, len(new.labels))

    def fail(self) -> None:
        """Count a call that the new model could not answer."""
        with self._lock:
            self._failures += 1

    def evidence(self) -> TrialEvidence:
        with self._lock:
            count = max(self._samples, 1)
            return TrialEvidence(
                samples=self._samples,
                disagreements=self._disagreements,
                mean_confidence=self._confidence / count,
                baseline_confidence=self._baseline_confidence / count,
                p95_latency_ms=self._latency.p95_us() / 1000,
                failures=self._failures,
            )


@dataclass(frozen=True)
class _Paired:
    """A trial: the model that was live before, and what the comparison has shown."""

    baseline: Model
    trial: _Trial


@dataclass(frozen=True)
class _Live:
    model: Model
    paired: _Paired | None = None


class LiveSession:
    """Answers samples without a pause while models come and go; safe from any thread."""

    def __init__(self, model: Model) -> None:
        self._live = _Live(model)
        self._swap = threading.Lock()  # orders writers; readers take no lock

    @property
    def current(self) -> Model:
        """The model that answers now."""
        return self._live.model

    @property
    def running(self) -> str:
        """Bundle id of the model that answers now."""
        return self._live.model.bundle_id

    @property
    def baseline(self) -> Model | None:
        """During a trial, the last known good model beside it."""
        paired = self._live.paired
        return paired.baseline if paired else None

    def use(self, model: Model) -> None:
        """Let `model` answer from the next call on, and end any trial."""
        with self._swap:
            self._live = _Live(model)

    def start_trial(self, model: Model) -> None:
        """Let `model` answer, compared with the last known good one.

        A trial that runs already is replaced; its baseline stays, since its model has proven
        nothing yet.
        """
        with self._swap:
            paired = self._live.paired
            baseline = paired.baseline if paired else self._live.model
            self._live = _Live(model, _Paired(baseline, _Trial()))

    def end_trial(self) -> None:
        """Keep the model on trial and stop comparing; does nothing without a trial."""
        with self._swap:
            self._live = _Live(self._live.model)

    def roll_back(self) -> None:
        """Let the last known good model answer again; does nothing without a trial."""
        with self._swap:
            paired = self._live.paired
            if paired is not None:
                self._live = _Live(paired.baseline)

    def evidence(self) -> TrialEvidence | None:
        """What the trial has shown so far; None without a trial."""
        paired = self._live.paired
        return paired.trial.evidence() if paired else None

    def predict(self, raw: npt.ArrayLike) -> Prediction:
        """Answer raw samples as `Model.predict` does; during a trial a failure falls back.

        Raises:
            ContractError: the samples break the contract (of both models, during a trial).
            EngineError: the engine failed (both engines, during a trial).
        """
        live = self._live
        if live.paired is None:
            return live.model.predict(raw)
        return _predict_paired(live.model, live.paired, raw)


def _predict_paired(model: Model, paired: _Paired, raw: npt.ArrayLike) -> Prediction:
    """The new model's answer, or the old one's where the new one has none.

    Whatever one of the two does wrong, the caller's answer comes first: hence the wide nets.
    """
    try:
        new = model.predict(raw)
    except Exception as error:
        return _fall_back(paired, raw, error)
    with contextlib.suppress(Exception):  # no comparison: says nothing about the new model
        paired.trial.compare(new, paired.baseline.predict(raw))
    return new


def _fall_back(paired: _Paired, raw: npt.ArrayLike, error: Exception) -> Prediction:
    """The old model's answer, and one failure of the new, unless the samples suit neither."""
    blameless = False
    try:
        return paired.baseline.predict(raw)
    except ContractError:
        blameless = isinstance(error, ContractError)
        raise
    finally:
        if not blameless:
            paired.trial.fail()
