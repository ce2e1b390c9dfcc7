"""Payload capture, the keeping half: redaction, quota, time to live, and into the outbox."""

from __future__ import annotations

import importlib
import queue
from collections.abc import Callable

from .capture import DAY_S, NO_REDACTION, Candidate, CaptureTable, Samples, is_sample
from .errors import DeviceConfigError
from .outbox import Outbox
from .protocol import Capture, Lost
from .reporter import Reporter

MAX_WAITING = 16  # candidates between the two threads
EXPIRE_EVERY_S = 60.0

Redact = Callable[[Samples, str], Samples | None]
"""Takes a copy of a sample and the reason; gives what may leave the device, or None for nothing."""


def load_hook(name: str) -> Redact:
    """The function that `module:function` names; for `none`, one that changes nothing.

    Raises:
        DeviceConfigError: there is no such module or function, or the module fails to load.
    """
    if name == NO_REDACTION:
        return lambda sample, reason: sample
    module, _, function = name.partition(":")
    try:
        hook = getattr(importlib.import_module(module), function)
    # The module is the device owner's own; whatever it raises, nothing may be captured then.
    except Exception as error:
        raise DeviceConfigError(f"[capture] redact = '{name}' cannot be loaded: {error}") from error
    if not callable(hook):
        raise DeviceConfigError(f"[capture] redact = '{name}' is no function")
    return hook  # type: ignore[no-any-return]


class CaptureDesk:
    """Takes candidates from the inference thread and keeps in the agent's what may be kept.

    A hook that fails, or gives what is no array of numbers, keeps the sample from being kept. What
    was chosen and is not kept is counted in the next report.
    """

    def __init__(
        self,
        table: CaptureTable,
        redact: Redact,
        outbox: Outbox,
        reporter: Reporter,
        now_s: Callable[[], float],
    ) -> None:
        self._table = table
        self._redact = redact
        self._outbox = outbox
        self._reporter = reporter
        self._now_s = now_s
        self._waiting: queue.Queue[Candidate] = queue.Queue(MAX_WAITING)
        self._refused = 0  # because too many waited; written by the inference thread only
        self._told = 0  # of those
        self._expired_s = 0.0
        self._not_kept = 0  # and not yet counted in the outbox

    def post(self, candidate: Candidate) -> None:
        """From the inference thread; never waits."""
        try:
            self._waiting.put_nowait(candidate)
        except queue.Full:
            self._refused += 1

    def keep(self) -> None:
        """Redact and keep what has been posted, and drop what has lived its time.

        Raises:
            sqlite3.Error: the outbox cannot be written.
        """
        now_s = self._now_s()
        if abs(now_s - self._expired_s) >= EXPIRE_EVERY_S:
            self._expired_s = now_s
            self._outbox.expire(now_s)
        while True:
            try:
                candidate = self._waiting.get_nowait()
            except queue.Empty:
                break
            self._not_kept += 1
            self._not_kept -= self._keep(candidate, now_s)
        refused = self._refused
        if lost := self._not_kept + refused - self._told:
            self._outbox.count_lost(Lost(captures=lost))
            self._not_kept, self._told = 0, refused

    def _keep(self, candidate: Candidate, now_s: float) -> bool:
        """Whether it is in the outbox now."""
        sample = self._redacted(candidate)
        if sample is None or not self._quota_left(now_s):
            return False
        table = self._table
        capture = Capture(
            boot_id=self._reporter.boot_id,
            seq=0,
            at_s=now_s,
            bundle_id=candidate.bundle_id,
            reason=candidate.reason,
            dtype=sample.dtype.name,
            shape=sample.shape,
            sample=sample.astype(sample.dtype.newbyteorder("<")).tobytes(),
            ttl_s=table.ttl_days * DAY_S,
            redacted_by="" if table.redact == NO_REDACTION else table.redact,
            label=candidate.label,
            confidence=candidate.confidence,
            other_label=candidate.other_label,
            detail=candidate.detail,
        )
        self._reporter.send_capture(capture)
        self._outbox.trim_captures(table.max_bytes)
        return True

    def _redacted(self, candidate: Candidate) -> Samples | None:
        try:
            sample = self._redact(candidate.sample, candidate.reason.value)
        # Somebody else's function: whatever it raises, the sample stays here.
        except Exception:
            return None
        return sample if is_sample(sample) else None

    def _quota_left(self, now_s: float) -> bool:
        """Take one of the day's captures; the count outlives restarts."""
        day = int(now_s // DAY_S)
        if self._outbox.counter("capture_day") != day:
            self._outbox.set_counter("capture_day", day)
            self._outbox.set_counter("captures_today", 0)
        today = self._outbox.counter("captures_today")
        if today >= self._table.max_per_day:
            return False
        self._outbox.set_counter("captures_today", today + 1)
        return True
