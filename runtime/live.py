"""`LiveModels`: the inference session as the update agent drives it."""

from __future__ import annotations

import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

from .agent_checks import SelfTest
from .bundle import open_bundle
from .comparison import OnDifference, ignore
from .contract import FloatArray
from .errors import AgentError, EngineError, RuntimeRoomError
from .model import Model
from .monitor import Monitor
from .options import DEFAULT_OPTIONS, EngineOptions
from .protocol import TrialEvidence
from .session import LiveSession

_STATM = Path("/proc/self/statm")
SELF_TEST_BUDGET_S = 0.3
LIMIT_S = 120.0  # for loading a new model or for its self-test

Result = TypeVar("Result")


class LiveModels:
    """Opens bundles for one target and makes them live; `agent_ports.Models` says what each does.

    `engine` is one that `Model.open` knows, or empty for the best of each bundle.
    `session` is None until the first model is live; `on_difference` as in `LiveSession`.
    """

    def __init__(
        self,
        target: str,
        engine: str = "",
        options: EngineOptions = DEFAULT_OPTIONS,
        on_difference: OnDifference = ignore,
    ) -> None:
        self._target = target
        self._engine = engine
        self._options = options
        self._on_difference = on_difference
        self.session: LiveSession | None = None
        self._hung_since_s: float | None = None  # monotonic

    @property
    def running(self) -> str:
        """Bundle id of the live session; empty where there is none."""
        return self.session.running if self.session else ""

    @property
    def rss_bytes(self) -> int:
        """Resident memory of this process; its peak where the system tells no more."""
        try:
            return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else peak * 1024

    @property
    def stuck_s(self) -> float:
        """For how long a new model has not come back: from its test, or from an answer."""
        if self._hung_since_s is not None:
            return time.monotonic() - self._hung_since_s
        return self.session.stuck_s if self.session else 0.0

    def use(self, path: Path) -> None:
        """Make a bundle live; the model that a trial was compared with needs no loading."""
        session = self.session
        if session and session.baseline and session.baseline.bundle_id == path.stem:
            session.roll_back()
            return
        model = self._open(path)
        if session is None:
            self.session = LiveSession(model, self._on_difference)
        else:
            session.use(model)

    def self_test(self, path: Path) -> SelfTest:
        """Golden vectors, the latency of one sample at a time, and that it can be watched.

        Raises:
            EngineError: the model failed, or has not come back after `LIMIT_S`.
        """
        return self._bounded(lambda: self._self_test(path), "the self-test")

    def _self_test(self, path: Path) -> SelfTest:
        from edgekiln.targets.measure import measure_callable

        model = self._open(path)
        sample = open_bundle(path).golden().inputs[:1]
        try:
            golden = model.run_golden()
            _watch(model, sample)
            timed = measure_callable(lambda: model.predict(sample), budget_s=SELF_TEST_BUDGET_S)
        except RuntimeRoomError:
            raise
        # Whatever a release does wrong here, it must end in its rejection.
        except Exception as error:
            raise EngineError(f"the model failed its golden vectors: {error}") from error
        return SelfTest(
            bundle_id=model.bundle_id,
            golden_max_lsb=golden.max_lsb,
            golden_allowed_lsb=model.artifact.golden_max_lsb,
            mismatching_labels=golden.mismatching_labels,
            p95_ms=timed.p95_us / 1000,
            rss_bytes=self.rss_bytes,
        )

    def start_shadow(self, path: Path, rate: float) -> None:
        """Ask a bundle a share of the live model's inputs too.

        Raises:
            AgentError: no model is live that it could be compared with.
        """
        if self.session is None:
            raise AgentError("no model is live that the new one could be compared with")
        model = self._bounded(lambda: self._open(path), "loading")
        self.session.start_shadow(model, rate)

    def end_shadow(self) -> None:
        """Let the model in the shadow go."""
        if self.session:
            self.session.end_shadow()

    def start_trial(self, path: Path) -> None:
        """Make a bundle live beside the one that was."""
        model = self._bounded(lambda: self._open(path), "loading")
        if self.session is None:  # nothing to compare with: a device that had no model at all
            self.session = LiveSession(model, self._on_difference)
        self.session.start_trial(model)

    def evidence(self) -> TrialEvidence:
        """What the shadow or the trial has shown so far.

        Raises:
            AgentError: none runs.
        """
        found = self.session.evidence() if self.session else None
        if found is None:
            raise AgentError("no model is compared in the live session")
        return found

    def end_trial(self) -> None:
        """Keep the model on trial and stop comparing."""
        if self.session:
            self.session.end_trial()

    def _bounded(self, call: Callable[[], Result], what: str) -> Result:
        """What `call` returns or raises, in a thread that is given up when it hangs."""
        started_s = time.monotonic()
        done: queue.SimpleQueue[tuple[Result | None, Exception | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                done.put((call(), None))
            except Exception as error:
                done.put((None, error))

        threading.Thread(target=run, name="edgekiln-new-model", daemon=True).start()
        try:
            result, error = done.get(timeout=LIMIT_S)
        except queue.Empty:
            self._hung_since_s = started_s
            raise EngineError(f"{what} did not end in {LIMIT_S:.0f} s") from None
        if error is not None:
            raise error
        return cast(Result, result)

    def _open(self, path: Path) -> Model:
        try:
            return Model.open(path, self._target, self._engine, self._options)
        except RuntimeRoomError:
            raise
        # Engines are foreign code: what they raise on a hostile artifact is not documented.
        except Exception as error:
            raise EngineError(f"{path.name} cannot be opened: {error}") from error


def _watch(model: Model, sample: FloatArray) -> None:
    """Count one answer as the inference loop will: a reference that does not suit ends here."""
    monitor = Monitor(model, np.random.default_rng(), 0.0)
    monitor.observe(sample, model.predict(sample))
    monitor.close(0.0)
