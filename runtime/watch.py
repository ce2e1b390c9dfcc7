"""`Watch`: a model that answers, and tells at the end of each window what it has seen."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

import numpy as np
import numpy.typing as npt

from .agent_ports import Clock
from .capture import CaptureTap
from .drift import TOLERANCE
from .errors import ContractError, DriftStateError, EngineError
from .model import Model
from .monitor import Monitor
from .prediction import Prediction
from .protocol import Report
from .session import LiveSession

WINDOW_S = 60.0

PostReport = Callable[[Report, bytes], None]
"""Takes a report, and the state of the drift detectors to go on from after a restart."""


class Watch:
    """Answers samples with whatever is live, and posts a report every `window_s`.

    Its methods may be called from any thread. A window ends with the first call after its time: a
    device that has nothing to answer for long calls `tick` now and then. `post` runs in the thread
    whose call ended the window, after its answer; what it raises reaches that caller.
    """

    def __init__(
        self,
        live: LiveSession | Model,
        post: PostReport,
        window_s: float = WINDOW_S,
        clock: Clock | None = None,
        rng: np.random.Generator | None = None,
        drift: bytes = b"",
        tap: CaptureTap | None = None,
        drift_tolerance: float = TOLERANCE,
    ) -> None:
        """`drift` is a saved state of the detectors; one of another model is ignored.

        `tap` chooses samples that the device's owner wants captured; without one, none is.
        `drift_tolerance` is the share of samples that may move before it is drift.
        """
        self._session = LiveSession(live) if isinstance(live, Model) else live
        self._post = post
        self._window_s = window_s
        self._clock = clock or Clock()
        self._monotonic_s = self._clock.monotonic_s
        self._rng = rng or np.random.default_rng()
        self._drift = drift
        self._tap = tap
        self._drift_tolerance = drift_tolerance
        self._lock = threading.Lock()
        self._monitor: Monitor | None = None
        self._close_at_s = 0.0  # monotonic
        self._ended: deque[tuple[Report, bytes]] = deque()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def predict(self, raw: npt.ArrayLike) -> Prediction:
        """Answer as `Model.predict` does, and count the answer, or why there is none.

        Raises:
            ContractError: the samples break the contract.
            EngineError: the engine failed.
        """
        try:
            prediction = self._session.predict(raw)
        except (ContractError, EngineError) as error:
            self._count_failure(raw, error)
            raise
        array = raw if type(raw) is np.ndarray else np.asarray(raw)
        with self._lock:
            monitor = self._monitor
            if monitor is not None and monitor.bundle_id == prediction.head.bundle_id:
                monitor.observe(array, prediction)
            else:
                self._observe_first(array, prediction)
            if self._monotonic_s() >= self._close_at_s:
                self._end_window()
        if self._ended:
            self._post_ended()
        return prediction

    def tick(self) -> None:
        """End the window if its time is over."""
        with self._lock:
            self._end_if_due()
        self._post_ended()

    def close(self) -> None:
        """End the window now; a call after this one starts the next."""
        with self._lock:
            self._end_window()
        self._post_ended()

    def _observe_first(self, array: npt.NDArray[np.generic], prediction: Prediction) -> None:
        """An answer of another model than that of the window: the new one's, or, in a trial, of
        the one that was live before and answers where the new one fails, which does not count.
        """
        monitor = self._live_monitor()
        if monitor.bundle_id == prediction.bundle_id:
            monitor.observe(array, prediction)

    def _count_failure(self, raw: npt.ArrayLike, error: ContractError | EngineError) -> None:
        with self._lock:
            monitor = self._live_monitor()
            if isinstance(error, ContractError):
                monitor.violation(error.rule)
                self._tap_refused(raw, error.rule, monitor.bundle_id)
            else:
                monitor.engine_error()
            self._end_if_due()
        self._post_ended()

    def _tap_refused(self, raw: npt.ArrayLike, rule: str, bundle_id: str) -> None:
        if self._tap is not None:
            with contextlib.suppress(ValueError, TypeError):  # what is no array cannot be kept
                self._tap.refused(np.asarray(raw), rule, bundle_id)

    def _live_monitor(self) -> Monitor:
        """That of the model that is live; a new model starts a new window."""
        monitor = self._monitor
        if monitor is None or monitor.bundle_id != self._session.running:
            self._end_window()
            monitor = self._monitor = self._new_monitor()
            self._close_at_s = self._monotonic_s() + self._window_s
        return monitor

    def _new_monitor(self) -> Monitor:
        monitor = Monitor(
            self._session.current,
            self._rng,
            self._clock.now_s(),
            self._tap,
            self._drift_tolerance,
        )
        state, self._drift = self._drift, b""
        if state:
            try:
                monitor.drift.restore(state)
            except DriftStateError:
                return monitor
        return monitor

    def _end_if_due(self) -> None:
        if self._monitor is not None and self._monotonic_s() >= self._close_at_s:
            self._end_window()

    def _end_window(self) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        report = monitor.close(self._clock.now_s())
        self._ended.append((report, monitor.drift.to_bytes()))
        self._close_at_s = self._monotonic_s() + self._window_s

    def _post_ended(self) -> None:
        """Without the lock: a post that takes its time holds up nobody else."""
        ended = self._ended
        while ended:
            try:
                report, state = ended.popleft()
            except IndexError:  # another thread was faster
                return
            self._post(report, state)
