"""What other threads hand to the agent. Handing over never waits; what does not fit is dropped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from .protocol import Lost, Report
from .rollup import add_lost

MAX_MESSAGES = 1024
MAX_REPORTS = 64

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Down:
    """A message that came down; an empty topic says that the connection is there again."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class WindowEnd:
    """A finished telemetry window, and the drift detectors' state at its end."""

    report: Report
    drift: bytes


class Inbox:
    """Two bounded queues and a bell."""

    def __init__(self) -> None:
        self._down: queue.Queue[Down] = queue.Queue(MAX_MESSAGES)
        self._windows: queue.Queue[WindowEnd] = queue.Queue(MAX_REPORTS)
        self._bell = threading.Event()
        self._lost_windows = 0  # since the last window that fitted
        self._lost = Lost()

    def post(self, message: Down) -> None:
        """From the network thread. The fleet repeats what is dropped here."""
        try:
            self._down.put_nowait(message)
        except queue.Full:
            return
        self._bell.set()

    def post_window(self, window: WindowEnd) -> None:
        """From the inference thread. A window that fits tells of those before it that did not."""
        report = window.report
        told = msgspec.structs.replace(
            report,
            dropped=report.dropped + self._lost_windows,
            lost=add_lost((report.lost, self._lost)),
        )
        try:
            self._windows.put_nowait(WindowEnd(told, window.drift))
        except queue.Full:
            self._lost_windows = told.dropped + report.merged
            self._lost = add_lost((told.lost, Lost(samples=report.samples)))
        else:
            self._lost_windows, self._lost = 0, Lost()

    def ring(self) -> None:
        """End a `wait`."""
        self._bell.set()

    def wait(self, timeout_s: float) -> None:
        """Until something came down, or the time is over."""
        self._bell.wait(timeout_s)
        self._bell.clear()

    def messages(self) -> Iterator[Down]:
        """What has come down so far."""
        return _drain(self._down)

    def windows(self) -> Iterator[WindowEnd]:
        """Windows that have ended so far."""
        return _drain(self._windows)


def _drain(waiting: queue.Queue[Item]) -> Iterator[Item]:
    while True:
        try:
            yield waiting.get_nowait()
        except queue.Empty:
            return
