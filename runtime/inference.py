"""The inference loop: sample, answer, count. It waits for its source's clock and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from .agent_ports import Clock
from .capture import CaptureTap
from .drift import TOLERANCE
from .errors import ContractError, EngineError
from .live import LiveModels
from .prediction import Prediction
from .session import LiveSession
from .source import Samples, SampleSource
from .watch import PostReport, Watch

NO_MODEL_WAIT_S = 0.2

OnAnswer = Callable[[Samples, Prediction], None]
"""Takes a sample and its answer, in the thread that infers: the next sample waits for it."""


def unheard(raw: Samples, answer: Prediction) -> None:
    """For who wants telemetry alone."""


class Inference:
    """Answers the source's samples with whatever is live, a telemetry window every `window_s`.

    `drift` is the detectors' saved state; one of another model is ignored. `tap` and
    `drift_tolerance` as in `Watch`. What `on_answer` raises ends the loop.
    """

    def __init__(
        self,
        models: LiveModels,
        source: SampleSource,
        post_report: PostReport,
        window_s: float,
        clock: Clock,
        rng: np.random.Generator,
        drift: bytes = b"",
        tap: CaptureTap | None = None,
        on_answer: OnAnswer = unheard,
        drift_tolerance: float = TOLERANCE,
    ) -> None:
        self._models = models
        self._source = source
        self._post_report = post_report
        self._window_s = window_s
        self._clock = clock
        self._rng = rng
        self._drift = drift
        self._tap = tap
        self._on_answer = on_answer
        self._drift_tolerance = drift_tolerance
        self._watch: Watch | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; the open window is handed over at the end.

        Raises:
            SourceError: the source gives no more samples.
        """
        due_s = self._clock.monotonic_s()
        try:
            while not stop.is_set():
                session = self._models.session
                if session is None:
                    stop.wait(NO_MODEL_WAIT_S)
                    continue
                self.answer(session, self._source.next())
                now_s = self._clock.monotonic_s()
                # Behind schedule, go on from now: a pause is no reason for a burst.
                due_s = max(due_s + self._source.period_s, now_s)
                stop.wait(due_s - now_s)
        finally:
            if self._watch is not None:
                self._watch.close()

    def answer(self, session: LiveSession, raw: Samples) -> None:
        """One sample, and the window's end where it is due; one without an answer is counted."""
        if self._watch is None:
            self._watch = Watch(
                session,
                self._post_report,
                self._window_s,
                self._clock,
                self._rng,
                self._drift,
                self._tap,
                self._drift_tolerance,
            )
        try:
            answer = self._watch.predict(raw)
        except (ContractError, EngineError):
            return  # the watch has counted it
        self._on_answer(raw, answer)
