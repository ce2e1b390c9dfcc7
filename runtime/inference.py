"""The inference loop: sample, answer, count. It waits for its source's clock and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from .agent_ports import Clock
from .errors import ContractError, DriftStateError, EngineError
from .live import LiveModels
from .monitor import Monitor
from .protocol import Report
from .session import LiveSession
from .source import Samples, SampleSource

NO_MODEL_WAIT_S = 0.2

PostReport = Callable[[Report, bytes], None]


class Inference:
    """Answers the source's samples with whatever is live, a telemetry window every `window_s`.

    `drift` is the saved state of the detectors; one of another model is ignored.
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
    ) -> None:
        self._models = models
        self._source = source
        self._post_report = post_report
        self._window_s = window_s
        self._clock = clock
        self._rng = rng
        self._drift = drift
        self._monitor: Monitor | None = None
        self._close_at_s = 0.0  # monotonic

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
            self._close_window()

    def answer(self, session: LiveSession, raw: Samples) -> None:
        """One sample, and the window's end where it is due."""
        try:
            prediction = session.predict(raw)
        except ContractError as error:
            self._watch(session).violation(error.rule)
        except EngineError:
            self._watch(session).engine_error()
        else:
            monitor = self._watch(session)
            if monitor.bundle_id == prediction.bundle_id:
                monitor.observe(np.asarray(raw, np.float32), prediction)
        if self._monitor is not None and self._clock.monotonic_s() >= self._close_at_s:
            self._close_window()

    def _watch(self, session: LiveSession) -> Monitor:
        """The monitor of the model that is live; a new model starts a new window."""
        if self._monitor is None or self._monitor.bundle_id != session.running:
            self._close_window()
            self._monitor = self._new_monitor(session)
            self._close_at_s = self._clock.monotonic_s() + self._window_s
        return self._monitor

    def _new_monitor(self, session: LiveSession) -> Monitor:
        monitor = Monitor(session.current, self._rng, self._clock.now_s())
        state, self._drift = self._drift, b""
        if state:
            try:
                monitor.drift.restore(state)
            except DriftStateError:
                return monitor
        return monitor

    def _close_window(self) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        self._post_report(monitor.close(self._clock.now_s()), monitor.drift.to_bytes())
        self._close_at_s = self._clock.monotonic_s() + self._window_s
