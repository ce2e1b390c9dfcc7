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

from .comparison import Comparison, OnDifference, OpenCalls, ignore
from .errors import ContractError
from .model import Model
from .prediction import Prediction
from .protocol import TrialEvidence
from .shadow_run import ShadowRun


@dataclass(frozen=True)
class _Paired:
    """A trial: the model that was live before, and what the comparison has shown."""

    baseline: Model
    trial: Comparison
    calls: OpenCalls


@dataclass(frozen=True)
class _Live:
    model: Model
    paired: _Paired | None = None
    shadow: ShadowRun | None = None


class LiveSession:
    """Answers samples without a pause while models come and go; safe from any thread."""

    def __init__(self, model: Model, on_difference: OnDifference = ignore) -> None:
        """`on_difference` is told of samples that a model on trial answers differently."""
        self._live = _Live(model)
        self._calls = OpenCalls()
        self._on_difference = on_difference
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
        """Let `model` answer from the next call on, and end any shadow or trial."""
        self.end_shadow()
        with self._swap:
            self._live = _Live(model)

    def start_shadow(self, model: Model, rate: float) -> None:
        """Ask `model` a share `rate` of the inputs too; a shadow that is there already ends."""
        self.end_shadow()
        with self._swap:
            self._live = _Live(self._live.model, shadow=ShadowRun(model, rate, self._on_difference))

    def end_shadow(self) -> None:
        """Let the model in the shadow go; does nothing without one."""
        with self._swap:
            shadow = self._live.shadow
            if shadow is not None:
                self._live = _Live(self._live.model)
        if shadow is not None:
            shadow.stop()

    def start_trial(self, model: Model) -> None:
        """Let `model` answer, compared with the last known good one.

        A trial that runs already is replaced; its baseline stays, since its model has proven
        nothing yet. A shadow ends.
        """
        self.end_shadow()
        with self._swap:
            paired = self._live.paired
            baseline = paired.baseline if paired else self._live.model
            compared = Comparison(self._on_difference)
            self._live = _Live(model, _Paired(baseline, compared, self._calls))

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
        """What the trial or the shadow has shown so far; None without either."""
        live = self._live
        if live.paired is not None:
            return live.paired.trial.evidence()
        return live.shadow.evidence() if live.shadow is not None else None

    @property
    def stuck_s(self) -> float:
        """For how long a model on trial has not returned from a call, also after its trial."""
        return self._calls.stuck_s

    def predict(self, raw: npt.ArrayLike) -> Prediction:
        """Answer raw samples as `Model.predict` does; during a trial a failure falls back.

        Raises:
            ContractError: the samples break the contract (of both models, during a trial).
            EngineError: the engine failed (both engines, during a trial).
        """
        live = self._live
        if live.paired is None:
            answer = live.model.predict(raw)
            if live.shadow is not None:
                live.shadow.offer(raw, answer)
            return answer
        return _predict_paired(live.model, live.paired, raw)


def _predict_paired(model: Model, paired: _Paired, raw: npt.ArrayLike) -> Prediction:
    """The new model's answer, or the old one's where the new one has none.

    Whatever one of the two does wrong, the caller's answer comes first: hence the wide nets.
    """
    try:
        with paired.calls.asking():
            new = model.predict(raw)
    except Exception as error:
        return _fall_back(paired, raw, error)
    with contextlib.suppress(Exception):  # no comparison: says nothing about the new model
        paired.trial.compare(raw, new, paired.baseline.predict(raw))
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
