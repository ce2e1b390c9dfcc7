"""Builds the messages that a device says of itself, and puts them into the outbox."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from .holding import HeldReports
from .outbox import Outbox
from .protocol import Capture, Event, Report, State, SystemFigures, TrialEvidence, encode
from .record import AgentRecord, Slot
from .relief import CAPTURE


class Reporter:
    """Numbers every message of this boot; used by the agent's thread only."""

    def __init__(
        self,
        outbox: Outbox,
        boot_id: str,
        probe: Callable[[], SystemFigures] = SystemFigures,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`probe` tells the system's figures; `rng` as in `Outbox`."""
        self.boot_id = boot_id
        self._outbox = outbox
        self._probe = probe
        self._held = HeldReports(outbox.put_report, rng or np.random.default_rng())
        self._seq = 0

    def event(
        self,
        kind: str,
        rollout_id: str,
        bundle_id: str,
        at_s: float,
        passed: bool = False,
        reason: str = "",
        trial: TrialEvidence | None = None,
    ) -> Event:
        """A numbered event; not sent yet."""
        return Event(
            boot_id=self.boot_id,
            seq=self._next(),
            at_s=at_s,
            kind=kind,
            rollout_id=rollout_id,
            bundle_id=bundle_id,
            passed=passed,
            reason=reason,
            trial=trial,
        )

    def send_event(self, event: Event) -> None:
        """Put an event into the outbox; a second time changes nothing."""
        self._outbox.put("event", event.boot_id, event.seq, encode(event))

    def send_state(
        self,
        record: AgentRecord,
        running: str,
        at_s: float,
        error: str = "",
        blocks: tuple[int, int] = (0, 0),
    ) -> None:
        """Put the reported twin into the outbox; `blocks` are those on disk and all of them."""
        state = State(
            boot_id=self.boot_id,
            seq=self._next(),
            at_s=at_s,
            state=record.state,
            rollout_id=record.rollout_id,
            running=running,
            last_known_good=_name(record.last_known_good),
            trial=_name(record.trial),
            written=_name(record.written),
            blocks_have=blocks[0],
            blocks_total=blocks[1],
            error=error or record.reason,
        )
        self._outbox.put("state", state.boot_id, state.seq, encode(state))

    def send_report(self, report: Report, rss_bytes: int) -> None:
        """Put a telemetry window into the outbox, numbered and with the system's figures.

        One that the disk does not take is held back and goes with a later one; what the outbox
        raises is raised here too.
        """
        numbered = msgspec.structs.replace(
            report,
            boot_id=self.boot_id,
            seq=self._next(),
            rss_bytes=rss_bytes,
            system=self._probe(),
        )
        self._held.add(numbered)

    def send_capture(self, capture: Capture) -> None:
        """Put a captured sample into the outbox, numbered; it expires at the end of its time."""
        numbered = msgspec.structs.replace(capture, boot_id=self.boot_id, seq=self._next())
        expires_s = capture.at_s + capture.ttl_s
        self._outbox.put(CAPTURE, self.boot_id, numbered.seq, encode(numbered), expires_s)

    def _next(self) -> int:
        self._seq += 1
        return self._seq


def _name(slot: Slot | None) -> str:
    return slot.bundle_id if slot else ""
