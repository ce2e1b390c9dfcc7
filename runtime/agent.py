"""The update agent: hears the fleet, keeps the journal, takes one step at a time.

Everything here runs in one thread, except `post` and `post_report`, which hand over from the
network and the inference thread and never wait. Every change of state goes through `_apply`:
journal first, then the world hears of it, then the next step acts on it.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import threading
from dataclasses import replace

import msgspec

from . import record as moves
from .agent_checks import next_offer, to_revert, why_stuck, why_superseded
from .agent_ports import Desk
from .agent_steps import STEPS, Next, Tools, give_up
from .documents import Documents
from .errors import AgentError, ProtocolError, RuntimeRoomError, TransferError, TrustError
from .inbox import Down, Inbox, WindowEnd
from .journal import Journal
from .protocol import MAX_DOCUMENT_BYTES, Ack, DeviceState, Event, Report, decode
from .record import HEALTHY_S, AgentRecord
from .recovery import Recovery
from .state_machine import MAX_STEPS

BACKOFF_S = (1.0, 30.0)  # first and longest wait after something that may pass
PROGRESS_S = 1.0  # between two states that only report blocks
POLL_S = 0.1
PASSING = (RuntimeRoomError, OSError, sqlite3.Error)  # what a later try may mend

_LOG = logging.getLogger(__name__)


class Agent:
    """Drives the state machine of one device."""

    def __init__(
        self, tools: Tools, journal: Journal, recovery: Recovery, desk: Desk, rng: random.Random
    ) -> None:
        self.record = journal.record or AgentRecord()
        self._tools = replace(tools, save=self._save, progress=self._show_progress)
        self._tools.transfer.on_wait = self._pause
        self._journal = journal
        self._recovery = recovery
        self._desk = desk
        self._rng = rng
        self._documents = Documents(desk.topics, tools.device.cohorts, desk.rollout_key)
        self._inbox = Inbox()
        self._stopping = threading.Event()
        self._untold: tuple[Event, ...] = self.record.pending
        damaged = "the journal was damaged and put aside" if journal.damaged else ""
        self._warnings = tuple(filter(None, (damaged, desk.warning)))
        self._error = ""
        self._backoff_s = 0.0
        self._retry_at_s = 0.0
        self._progress_at_s = 0.0
        self._running = ""
        self._recovered = False
        self._began_s = tools.clock.monotonic_s()

    # From other threads -----------------------------------------------------------------------

    def post(self, topic: str, payload: bytes) -> None:
        """Take a message that came down; the fleet sends no larger ones."""
        if topic and len(payload) <= MAX_DOCUMENT_BYTES:
            self._inbox.post(Down(topic, payload))

    def post_up(self) -> None:
        """The connection is there again."""
        self._inbox.post(Down("", b""))

    def post_report(self, report: Report, drift: bytes) -> None:
        """Take a finished telemetry window, and the detectors' state at its end."""
        self._inbox.post_window(WindowEnd(report, drift))

    def stop(self) -> None:
        """Ask `run` to return; a transfer under way ends at its next block."""
        self._stopping.set()
        self._inbox.ring()

    # The agent's own thread -------------------------------------------------------------------

    def start(self) -> None:
        """Bring a model up, whatever the disk says; `run` tries again what could not be written."""
        try:
            with contextlib.suppress(AgentError):  # a disk that takes nothing counts no starts
                self._count_start()
            self._recover()
        except PASSING as error:
            self._postpone(error)
        except Exception as error:
            self._outlive(error)

    def _recover(self) -> None:
        """Make a model live and take up what a power cut stopped."""
        for told in self._warnings:
            self._untold += (self._event("restart", reason=told),)
        self._warnings = ()
        self._restore()
        if self._journal.newer:
            self._save(self.record)  # is refused: a model runs, and no update is taken up
        if self.record.busy:
            have = self._tools.downloads.blocks_on_disk(self.record.release)
            self._save(moves.resumed(self.record, have))
            if self.record.steps > MAX_STEPS:
                reason = f"gave up after {self.record.steps} transitions and restarts"
                self._apply(give_up(self._tools, self.record, reason))
        self._tidy()
        self._recovered = True
        self._tell_events()
        self._tell_state()

    def _count_start(self) -> None:
        """Leave a committed release under which the process keeps dying; before it is loaded."""
        record = self.record
        if record.state != DeviceState.COMMITTED or not record.soaking or not record.document:
            return
        if record.starts_left > 0:
            self._save(moves.started(record))
            return
        reason = f"the process died {moves.SOAK_STARTS} times soon after it had begun"
        self._save(moves.reverted(record, record.document, reason))

    def run(self) -> None:
        """Step until `stop`."""
        while not self._stopping.is_set():
            if not self.tick():
                self._inbox.wait(POLL_S)

    def finish(self) -> None:
        """Keep the last windows. Called once, when the inference thread has ended."""
        with contextlib.suppress(*PASSING):
            if self.record.soaking:
                self._save(moves.stopped(self.record))
            self._hear()
            self._desk.courier.pump()

    def tick(self) -> bool:
        """Hear, tell, take one step; whether there may be another at once."""
        try:
            self.serve()
            if not self._recovered:
                if self._tools.clock.monotonic_s() < self._retry_at_s:
                    return False
                self._recover()
            self._note_versions()
            hung = "" if self.record.busy else why_stuck(self._tools.models.stuck_s)
            if hung:
                self._desk.restart(hung)
            return self._step()
        except PASSING as error:
            self._postpone(error)
        except Exception as error:
            self._outlive(error)
        return False

    def serve(self) -> None:
        """Everything but the state machine: also runs while a step waits for blocks.

        Raises:
            TransferError: what the waiting step does is not wanted any more.
        """
        self._hear()
        self._tell_events()
        self._desk.courier.pump()
        if self._stopping.is_set():
            raise TransferError("the device stops")

    # Steps ------------------------------------------------------------------------------------

    def _step(self) -> bool:
        record = self.record
        if record.state == DeviceState.ROLLBACK:
            self._roll_back()
            return True
        reason = why_superseded(self._documents.latest, record) if record.busy else ""
        if reason:
            self._apply(Next(moves.superseded(record, reason)))
            self._restore()
            return True
        if self._tools.clock.monotonic_s() < self._retry_at_s:
            return False
        done = STEPS[record.state](self._tools, record) if record.busy else self._rest(record)
        self._backoff_s = 0.0
        self._error = ""
        self._apply(done)
        if self._tools.models.running != self._running:
            self._tell_state()
        return done is not None

    def _rest(self, record: AgentRecord) -> Next | None:
        document = record.document
        if record.soaking and document and self._awake_s() >= min(document.soak_s, HEALTHY_S):
            return Next(moves.soaked(record))
        documents = self._documents.latest
        aborted = to_revert(documents, record)
        if aborted is not None and record.state != DeviceState.BROKEN:
            return Next(moves.reverted(record, aborted, "the rollout was aborted"))
        device = self._tools.device.device_id
        document = next_offer(documents, record, device, self._tools.clock.now_s())
        return Next(moves.offered(record, document)) if document else None

    def _awake_s(self) -> float:
        return self._tools.clock.monotonic_s() - self._began_s

    def _roll_back(self) -> None:
        found = self._recovery.restore(self.record)
        if found.state == DeviceState.BROKEN:
            self._apply(Next(found, (self._event("broken", reason=found.reason),)))
            return
        reason = self.record.reason
        done = moves.rolled_back(msgspec.structs.replace(found, reason=reason))
        self._apply(Next(done, (self._event("rolled_back", reason=reason),)))

    def _restore(self) -> None:
        """Make sure that a model is live, and write down which one it had to be."""
        found = self._recovery.restore(self.record)
        if found is self.record:
            return
        first = self.record.last_known_good is None and not found.reason
        kind = "broken" if found.state == DeviceState.BROKEN else "restart"
        self._apply(Next(found, () if first else (self._event(kind, reason=found.reason),)))

    def _apply(self, done: Next | None) -> None:
        """Make a record the truth, then tell of it, then let go of what it let go of."""
        if done is None:
            return
        before, told = self.record.state, self._untold
        self._untold += done.events
        try:
            self._save(done.record)
        except AgentError:
            self._untold = told
            raise
        if before != self.record.state:
            self._let_go(before)
        self._tell_events()
        self._tell_state()
        if not self.record.busy:
            self._tidy()

    def _let_go(self, before: DeviceState) -> None:
        """End the comparison of the state that was left."""
        if before not in (DeviceState.SHADOW, DeviceState.TRIAL):
            return
        self._tools.trial.since_s = None
        if before == DeviceState.SHADOW:
            self._tools.models.end_shadow()
        elif self.record.state == DeviceState.COMMITTED:
            self._tools.models.end_trial()

    def _save(self, record: AgentRecord) -> None:
        written = msgspec.structs.replace(record, pending=self._untold)
        self._journal.append(written)
        self.record = written

    def _tidy(self) -> None:
        record = self.record
        good = (record.last_known_good, record.previous_good)
        with contextlib.suppress(OSError):  # what stays is removed another time
            self._tools.slots.collect((*good, record.written, record.trial))
            if not record.busy:
                self._tools.downloads.drop_all()

    def _pause(self) -> None:
        """`serve` while a step waits for blocks; ends the wait when its rollout is superseded."""
        self.serve()
        if why_superseded(self._documents.latest, self.record):
            raise TransferError("the rollout in hand is superseded")

    # Talk -------------------------------------------------------------------------------------

    def _hear(self) -> None:
        for message in self._inbox.messages():
            self._take(message.topic, message.payload)
        tools = self._tools
        for window in self._inbox.windows():
            tools.reporter.send_report(window.report, tools.models.rss_bytes)
            self._desk.keep_drift(window.drift)
        self._desk.keep_captures()

    def _take(self, topic: str, payload: bytes) -> None:
        if not topic:
            self._desk.courier.reconnected()
            self._retry_at_s = self._backoff_s = 0.0
        elif topic == self._desk.topics.down(self._tools.device.device_id, "command"):
            self._take_ack(payload)
        elif self._documents.are_on(topic):
            self._take_document(topic, payload)

    def _take_ack(self, payload: bytes) -> None:
        try:
            ack = decode(payload, Ack)
        except ProtocolError:
            return
        self._desk.courier.acknowledged(ack.boot_id, ack.seq)

    def _take_document(self, topic: str, payload: bytes) -> None:
        if not payload:
            return  # a cleared retained message: nobody signed that
        try:
            self._documents.take(topic, payload, self.record)
        except TrustError as error:
            if self._documents.is_new_stranger(payload):
                now_s = self._tools.clock.now_s()
                told = self._tools.reporter.event("rejected", "", "", now_s, reason=str(error))
                self._tools.reporter.send_event(told)
            return
        if self._recovered:
            self._retry_at_s = 0.0

    def _note_versions(self) -> None:
        """Write down which documents were seen; heard on a full disk, one is noted later."""
        for document in self._documents.latest:
            if document.version > self.record.version_of(document.rollout_id):
                self._save(moves.seen(self.record, document))

    def _tell_events(self) -> None:
        while self._untold:
            self._tools.reporter.send_event(self._untold[0])
            self._untold = self._untold[1:]

    def _tell_state(self, blocks: tuple[int, int] = (0, 0)) -> None:
        running = self._tools.models.running
        self._tools.reporter.send_state(
            self.record, running, self._tools.clock.now_s(), self._error, blocks
        )
        if running != self._running:
            self._running = running
            self._desk.announce()

    def _show_progress(self, have: int, total: int) -> None:
        """Report blocks on disk, now and then."""
        now = self._tools.clock.monotonic_s()
        if now - self._progress_at_s >= PROGRESS_S:
            self._progress_at_s = now
            self._tell_state((have, total))

    def _event(self, kind: str, reason: str) -> Event:
        record = self.record
        bundle_id = record.document.release if record.document else ""
        return self._tools.reporter.event(
            kind, record.rollout_id, bundle_id, self._tools.clock.now_s(), reason=reason
        )

    def _outlive(self, error: Exception) -> None:
        """Go on after what nobody foresaw: no update would ever mend a device without this thread.

        It counts as a restart, so that a rollout which always ends here is given up.
        """
        fault = AgentError(" ".join(f"a fault: {type(error).__name__}: {error}".split()))
        if str(fault) != self._error:
            _LOG.error("the update agent goes on after a fault", exc_info=error)
        self._postpone(fault)
        if not (self._recovered and self.record.busy):
            return
        with contextlib.suppress(*PASSING):
            self._save(moves.resumed(self.record, self.record.progress))
            if self.record.steps > MAX_STEPS:
                self._apply(give_up(self._tools, self.record, f"gave up after {self._error}"))

    def _postpone(self, error: Exception) -> None:
        """Wait longer each time, and say why once."""
        first, longest = BACKOFF_S
        self._backoff_s = min(max(first, self._backoff_s * 2), longest)
        jitter = self._rng.uniform(0.5, 1.0)
        self._retry_at_s = self._tools.clock.monotonic_s() + self._backoff_s * jitter
        text = " ".join(str(error).split())
        if text == self._error or self._stopping.is_set():
            return
        self._error = text
        try:
            self._tell_state()
        except PASSING:
            return
