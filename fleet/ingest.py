"""What devices say: decoded, checked, stored in batches, and acknowledged once stored.

A message that cannot be used is counted and forgotten, and acknowledged where it says which one it
is, so that it does not hold up the next. A message that comes twice is stored once
and acknowledged twice, so that a device's outbox always empties.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable

import msgspec

from edgekiln.runtime.capture import MAX_SAMPLE_BYTES
from edgekiln.runtime.errors import ProtocolError
from edgekiln.runtime.protocol import (
    Ack,
    Birth,
    Capture,
    Event,
    FeatureWindow,
    Report,
    State,
    Topics,
    decode,
    encode,
)
from edgekiln.runtime.telemetry import LATENCY_EDGES_US

from .captures import forget_captures
from .inbound import Inbound
from .link import Publisher
from .store import Store

KINDS: dict[str, type[Birth | State | Report | Event | Capture]] = {
    "birth": Birth,
    "state": State,
    "report": Report,
    "event": Event,
    "capture": Capture,
}
BATCH = 256
QUEUE_MESSAGES = 20_000  # beyond this messages are dropped, and devices send them again
MAX_QUEUED_BYTES = 64 << 20  # the same, of what the messages hold
MAX_BYTES = {"birth": 64 << 10, "state": 64 << 10, "event": 64 << 10}
MAX_OTHER_BYTES = 1 << 20  # what the broker lets through
IDLE_S = 0.25
MALFORMED = "malformed"
BINS = 16
MAX_COUNT = 1 << 40
MAX_BOOT_ID = 64
MAX_LIST = 4096
MAX_TEXT = 1024
MAX_RANK = 8
MAX_TTL_S = 366 * 86400.0
DTYPE_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
}
MAX_SKETCH_BYTES = 16 << 10
MAX_REPORT_SKETCH_BYTES = 1 << 20  # of all features together
FORGET_EVERY_S = 60.0  # between two looks for captures whose time is over


def parse(topics: Topics, topic: str, payload: bytes, retained: bool) -> Inbound | None:
    """One message; None for kinds that are not stored here.

    Raises:
        ProtocolError: it is no message of its kind, or a number in it cannot be true.
    """
    device, kind = topics.parse_up(topic)
    if kind not in KINDS:
        return None
    if len(payload) > MAX_BYTES.get(kind, MAX_OTHER_BYTES):
        raise ProtocolError(f"a {kind} of {len(payload)} bytes is too large")
    message = decode(payload, KINDS[kind])
    if message.seq < 0 or message.seq >= 1 << 62 or len(message.boot_id) > MAX_BOOT_ID:
        raise ProtocolError("boot_id or seq is out of range")
    if isinstance(message, State | Event):
        _check_finite(message)
    if isinstance(message, Report):
        _check_report(message)
    if isinstance(message, Capture):
        _check_capture(message)
    return Inbound(device, message, retained)


class Ingest:
    """Takes messages from the link's thread and stores them in its own.

    `clock` gives Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        topics: Topics,
        publisher: Publisher,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._topics = topics
        self._publisher = publisher
        self._clock = clock
        self._forgot_s = 0.0
        self._waiting: queue.Queue[tuple[str, bytes, bool]] = queue.Queue(QUEUE_MESSAGES)
        self._lock = threading.Lock()
        self._queued_bytes = 0

    @property
    def waiting(self) -> int:
        """Messages that wait to be stored."""
        return self._waiting.qsize()

    def receive(self, topic: str, payload: bytes, retained: bool) -> None:
        """Queue a message; never waits. One too many is not acknowledged, so it comes again."""
        with self._lock:
            if self._queued_bytes + len(payload) > MAX_QUEUED_BYTES:
                return
            self._queued_bytes += len(payload)
        try:
            self._waiting.put_nowait((topic, payload, retained))
        except queue.Full:
            self._taken(payload)

    def _taken(self, payload: bytes) -> None:
        with self._lock:
            self._queued_bytes -= len(payload)

    def run(self, stop: threading.Event) -> None:
        """Store messages until `stop`."""
        while not stop.is_set():
            self.step(IDLE_S)
            now_s = self._clock()
            if abs(now_s - self._forgot_s) >= FORGET_EVERY_S:
                self._forgot_s = now_s
                forget_captures(self._store, now_s)

    def step(self, wait_s: float = 0.0) -> int:
        """Store one batch; returns the number of messages that were new."""
        raw = self._take(wait_s)
        if not raw:
            return 0
        batch: list[Inbound] = []
        malformed = 0
        for topic, payload, retained in raw:
            try:
                inbound = parse(self._topics, topic, payload, retained)
            except ProtocolError:
                malformed += 1
                self._give_up(topic, payload, retained)
                continue
            if inbound is not None:
                batch.append(inbound)
        if malformed:
            self._store.count(MALFORMED, malformed)
        new = self._store.apply(batch, self._clock()) if batch else 0
        for inbound in batch:
            self._acknowledge(inbound)
        return new

    def _take(self, wait_s: float) -> list[tuple[str, bytes, bool]]:
        taken: list[tuple[str, bytes, bool]] = []
        try:
            taken.append(self._waiting.get(wait_s > 0, wait_s or None))
            while len(taken) < BATCH:
                taken.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        for _, payload, _ in taken:
            self._taken(payload)
        return taken

    def _give_up(self, topic: str, payload: bytes, retained: bool) -> None:
        """Acknowledge what cannot be used: the device would send it for ever, and nothing after."""
        try:
            device, _ = self._topics.parse_up(topic)
            known = decode(payload, Ack)
        except ProtocolError:
            return  # it does not even say which message it is
        if not retained:
            ack = Ack(boot_id=known.boot_id[:MAX_BOOT_ID], seq=known.seq)
            self._publisher.confirm(self._topics.down(device, "command"), encode(ack))

    def _acknowledge(self, inbound: Inbound) -> None:
        if inbound.retained:
            return  # from the broker's memory: nobody waits for it
        ack = Ack(boot_id=inbound.message.boot_id, seq=inbound.message.seq)
        self._publisher.confirm(self._topics.down(inbound.device, "command"), encode(ack))


def _check_finite(message: msgspec.Struct) -> None:
    """State and events are stored as JSON, which has no word for what is no number."""
    for value in msgspec.structs.astuple(message):
        if isinstance(value, float) and not math.isfinite(value):
            raise ProtocolError("a number is infinite or none at all")
        if isinstance(value, msgspec.Struct):
            _check_finite(value)


def _check_report(report: Report) -> None:
    windows = (report.confidence, *report.features)
    numbers = (
        *report.latency_us,
        *report.classes,
        report.samples,
        report.violations,
        report.engine_errors,
        report.merged,
        report.dropped,
    )
    if len(report.latency_us) != len(LATENCY_EDGES_US) + 1:
        raise ProtocolError("a report's latency histogram has another shape")
    if len(windows) > MAX_LIST or len(numbers) > MAX_LIST:
        raise ProtocolError("a report is too long")
    if not all(0 <= number < MAX_COUNT for number in numbers):
        raise ProtocolError("a count in a report is out of range")
    if not (math.isfinite(report.start_s) and math.isfinite(report.end_s)):
        raise ProtocolError("a report's time is no number")
    sketches = (report.latency_sketch, *(window.sketch for window in windows))
    if max(map(len, sketches)) > MAX_SKETCH_BYTES:
        raise ProtocolError("a sketch in a report is too large")
    if sum(map(len, sketches)) > MAX_REPORT_SKETCH_BYTES:
        raise ProtocolError("the sketches of a report are too large")
    _check_finite(report.system)
    for tally in (report.broken_rules, report.lost):
        if not all(0 <= number < MAX_COUNT for number in msgspec.structs.astuple(tally)):
            raise ProtocolError("a count in a report is out of range")
    for window in windows:
        _check_window(window, BINS)
    _check_window(report.class_drift, len(report.classes))  # its bins are the classes


def _check_window(window: FeatureWindow, bins: int) -> None:
    if len(window.bins) != bins or not all(0 <= count < MAX_COUNT for count in window.bins):
        raise ProtocolError(f"window '{window.name[:64]}' does not hold {bins} counts")
    if not math.isfinite(window.evidence):
        raise ProtocolError(f"window '{window.name[:64]}' has no finite evidence")


def _check_capture(capture: Capture) -> None:
    _check_finite(capture)
    if capture.dtype not in DTYPE_BYTES or not 0 < len(capture.sample) <= MAX_SAMPLE_BYTES:
        raise ProtocolError("a capture holds no sample of numbers, or too large a one")
    if len(capture.shape) > MAX_RANK or min(capture.shape, default=1) < 1:
        raise ProtocolError("a capture's shape is none")
    if math.prod(capture.shape) * DTYPE_BYTES[capture.dtype] != len(capture.sample):
        raise ProtocolError("a capture's sample is not of its shape")
    if not 0 < capture.ttl_s <= MAX_TTL_S:
        raise ProtocolError("a capture has no time to live")
    texts = (capture.bundle_id, capture.redacted_by, capture.label, capture.other_label)
    if max(map(len, (*texts, capture.detail))) > MAX_TEXT:
        raise ProtocolError("a text in a capture is too long")
