"""A device's process: the inference loop, the update agent's thread, and MQTT's own.

The inference loop runs in the calling thread and shares nothing with the others but the live
session, which it reads without a lock, and queues that never block it.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .agent import Agent
from .agent_checks import Device
from .agent_ports import Clock, Desk
from .agent_steps import Tools
from .capture import CaptureTap
from .capture_desk import CaptureDesk, load_hook
from .comparison import ignore
from .config import DeviceConfig
from .courier import Courier
from .download import Downloads
from .errors import AgentError, DeviceConfigError, ProtocolError
from .files import remove_parts, write_atomic
from .inference import Inference, OnAnswer, unheard
from .journal import Journal
from .link import Link, LinkConfig
from .live import LiveModels
from .outbox import IN_MEMORY, Outbox
from .protocol import Birth, Block, Topics, decode, encode
from .recovery import Recovery
from .renewal import start_renewal
from .reporter import Reporter
from .slots import SlotStore
from .source import SampleSource
from .system import SystemProbe
from .transfer import Transfer
from .trust import Trust

WINDOW_S = 60.0
DRIFT_EVERY_S = 60.0  # between two writes of the drift state: flash wears
AGENT_STOP_S = 10.0


def run_device(
    config: DeviceConfig,
    source: SampleSource,
    stop: threading.Event,
    window_s: float = WINDOW_S,
    on_ready: Callable[[str], None] = lambda running: None,
    clock: Clock | None = None,
    hold: Callable[[], str] = lambda: "",
    on_answer: OnAnswer = unheard,
) -> None:
    """Run a device until `stop` is set.

    `on_ready` is called once, with the id of the bundle that is live (empty where none can be
    loaded), before the first sample is answered. The fleet need not be there. `hold` may say why
    the device must not begin to test a new model now (a low battery, a moving arm); empty: it may.
    It is asked by the agent's thread. `on_answer` takes every sample with its answer.

    Raises:
        DeviceConfigError: another process runs this device.
        JournalError: the journal cannot be read.
        SourceError: the source gives no more samples.
    """
    clock = clock or Clock()
    with _only_one(config), contextlib.ExitStack() as closing:
        process = _Process(config, clock, hold)
        closing.callback(process.outbox.close)
        process.agent.start()
        process.link.start()
        closing.callback(process.link.stop)
        thread = threading.Thread(target=process.agent.run, name="edgekiln-agent", daemon=True)
        thread.start()
        closing.callback(process.models.end_shadow)
        closing.callback(process.drift.flush)
        closing.callback(process.agent.finish)
        closing.callback(thread.join, AGENT_STOP_S)
        closing.callback(process.agent.stop)
        inference = Inference(
            process.models,
            source,
            process.agent.post_report,
            window_s,
            clock,
            np.random.default_rng(secrets.randbits(64)),
            _read(config.drift),
            process.tap,
            on_answer,
            config.drift_tolerance,
        )
        start_renewal(link_config(config), stop, clock.now_s)
        on_ready(process.models.running)
        inference.run(stop)


class _Process:
    """Puts the parts together; each knows only what it is handed here."""

    def __init__(self, config: DeviceConfig, clock: Clock, hold: Callable[[], str]) -> None:
        self._config = config
        self._topics = Topics(config.tenant)
        self._boot_id = secrets.token_hex(8)
        self.drift = _DriftFile(config.drift, clock)
        rng = random.Random(secrets.randbits(64))
        self.outbox, warning = open_outbox(config.outbox)
        reporter = Reporter(self.outbox, self._boot_id, SystemProbe(config.folder))
        captures = _capture_desk(config, self.outbox, reporter, clock)
        self.tap = _capture_tap(config, captures, clock)
        on_difference = self.tap.differed if self.tap else ignore
        self.models = LiveModels(config.target, config.engine, config.inference, on_difference)
        self.link = Link(link_config(config), self._birth, self._receive, self._up, rng)
        self._transfer = Transfer(
            lambda request: self.link.publish("get", encode(request)),
            lambda: secrets.token_hex(6),
            clock.monotonic_s,
        )
        trust = Trust(config.tuf, config.root)
        slots = SlotStore(config.slots)
        tools = Tools(
            device=_device(config),
            trust=trust,
            slots=slots,
            transfer=self._transfer,
            downloads=Downloads(config.slots, self._transfer, config.ram_bytes),
            models=self.models,
            reporter=reporter,
            clock=clock,
            hold=hold,
        )
        desk = Desk(
            topics=self._topics,
            rollout_key=config.rollout_key,
            courier=Courier(self.outbox, self.link.publish, clock.monotonic_s),
            announce=self.link.announce,
            keep_drift=self.drift.keep,
            keep_captures=captures.keep if captures else lambda: None,
            restart=_restart,
            warning=warning,
        )
        recovery = Recovery(trust, slots, self.models, config.factory)
        self.agent = Agent(tools, Journal(config.journal), recovery, desk, rng)

    def _birth(self, online: bool) -> Birth:
        config = self._config
        return Birth(
            device=config.device,
            boot_id=self._boot_id,
            online=online,
            device_class=config.target,
            cohorts=config.cohorts,
            runtime=f"edgekiln {_version()}",
            ram_bytes=config.ram_bytes,
            flash_bytes=config.flash_bytes,
            running=self.models.running,
            security_counter=self.agent.record.floor if online else 0,
        )

    def _receive(self, topic: str, payload: bytes) -> None:
        """In paho's thread: blocks go to the transfer that waits, all else to the agent."""
        if topic != self._topics.down(self._config.device, "block"):
            self.agent.post(topic, payload)
            return
        try:
            self._transfer.receive(decode(payload, Block))
        except ProtocolError:
            return  # asked for again when it does not come

    def _up(self) -> None:
        self._transfer.reconnected()
        self.agent.post_up()


def _restart(why: str) -> None:
    """End the process at once: a thread of it never will. The service manager starts it again."""
    print(f"restarting: {why}", file=sys.stderr, flush=True)
    os._exit(1)


def open_outbox(path: Path) -> tuple[Outbox, str]:
    """The durable outbox, or where the disk takes nothing one that ends with the process.

    A model must run and its reports go out also from a disk that is full or read-only; the text
    then says what was wrong.
    """
    try:
        return Outbox(path), ""
    except (AgentError, OSError, sqlite3.Error) as error:
        return Outbox(IN_MEMORY), f"messages end with this process: {error}"


class _DriftFile:
    """Writes the drift state now and then, and at the end."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._next_s = 0.0
        self._unwritten = b""
        with contextlib.suppress(OSError):
            remove_parts(path)

    def keep(self, state: bytes) -> None:
        """Take the newest state."""
        self._unwritten = state
        if self._clock.monotonic_s() >= self._next_s:
            self.flush()

    def flush(self) -> None:
        """Write it; a disk that is full costs the detectors their memory and no more."""
        self._next_s = self._clock.monotonic_s() + DRIFT_EVERY_S
        if self._unwritten:
            with contextlib.suppress(OSError):
                write_atomic(self._path, self._unwritten)
            self._unwritten = b""


@contextlib.contextmanager
def _only_one(config: DeviceConfig) -> Iterator[None]:
    """Hold the folder: two processes would write one journal. Released when a process dies."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    handle = os.open(config.folder, os.O_RDONLY)  # needs no byte on a disk that has none left
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DeviceConfigError(
                f"device '{config.device}' already runs from {config.folder}; stop it first"
            ) from error
        yield
    finally:
        os.close(handle)


def _capture_desk(
    config: DeviceConfig, outbox: Outbox, reporter: Reporter, clock: Clock
) -> CaptureDesk | None:
    if config.capture is None:
        return None
    redact = load_hook(config.capture.redact)
    return CaptureDesk(config.capture, redact, outbox, reporter, clock.now_s)


def _capture_tap(config: DeviceConfig, desk: CaptureDesk | None, clock: Clock) -> CaptureTap | None:
    if config.capture is None or desk is None:
        return None
    rng = np.random.default_rng(secrets.randbits(64))
    return CaptureTap(config.capture, desk.post, clock.monotonic_s, rng)


def _device(config: DeviceConfig) -> Device:
    return Device(
        device_id=config.device,
        target=config.target,
        cohorts=config.cohorts,
        ram_bytes=config.ram_bytes,
        flash_bytes=config.flash_bytes,
    )


def link_config(config: DeviceConfig) -> LinkConfig:
    """How the device reaches its broker."""
    return LinkConfig(
        host=config.broker.host,
        port=config.broker.port,
        username=config.broker.username,
        password=config.password,
        device=config.device,
        tenant=config.tenant,
        cohorts=config.cohorts,
        tls=config.tls,
    )


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("edgekiln")
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
