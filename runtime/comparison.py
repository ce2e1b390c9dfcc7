"""Running totals of two models that answer the same samples; any thread may count."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import numpy.typing as npt

from .prediction import Prediction
from .protocol import TrialEvidence
from .telemetry import LatencyHistogram

OnDifference = Callable[[npt.ArrayLike, Prediction, Prediction], None]
"""Takes samples that two models answered differently, the new one's answers and the old one's."""


def ignore(raw: npt.ArrayLike, new: Prediction, old: Prediction) -> None:
    """For whom counting is enough."""


class OpenCalls:
    """Which threads wait for a model on trial, and since when; outlives the trial."""

    def __init__(self) -> None:
        self._asked: dict[int, float] = {}

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Around each call of a model on trial, so that one that never returns is seen."""
        thread = threading.get_ident()
        self._asked[thread] = time.monotonic()
        try:
            yield
        finally:
            self._asked.pop(thread, None)

    @property
    def stuck_s(self) -> float:
        """For how long the oldest open call has not returned; 0 without one."""
        asked = list(self._asked.values())
        return time.monotonic() - min(asked) if asked else 0.0


class Comparison:
    """The new model beside the old one; its lock is held for additions only."""

    def __init__(self, on_difference: OnDifference = ignore) -> None:
        """`on_difference` is called behind the count, in the thread that compares."""
        self._on_difference = on_difference
        self._lock = threading.Lock()
        self._samples = 0
        self._disagreements = 0
        self._failures = 0
        self._confidence = 0.0
        self._baseline_confidence = 0.0
        self._latency = LatencyHistogram()

    def compare(self, raw: npt.ArrayLike, new: Prediction, old: Prediction) -> None:
        """Count n samples that both models answered."""
        differing = sum(a != b for a, b in zip(new.labels, old.labels, strict=True))
        with self._lock:
            self._samples += len(new.labels)
            self._disagreements += differing
            self._confidence += float(new.confidences.sum())
            self._baseline_confidence += float(old.confidences.sum())
            self._latency.add(new.latency_us, len(new.labels))
        if differing:
            self._on_difference(raw, new, old)

    def fail(self) -> None:
        """Count a call that the new model could not answer."""
        with self._lock:
            self._failures += 1

    def evidence(self) -> TrialEvidence:
        """What the pairs so far have shown."""
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
