"""`serve`: one process over one fleet folder: broker, ingest, blocks, engine, HTTP.

Threads: paho's network thread hands messages to the ingest and block threads; the engine ticks in
its own; uvicorn answers in the main thread, which also started the broker (see `broker.py` for
why). Everything ends when any of them does: a supervisor starts the whole again.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import msgspec
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from edgekiln.runtime.errors import RuntimeRoomError
from edgekiln.runtime.files import write_atomic
from edgekiln.runtime.protocol import Topics

from .api import Services, build_app
from .blocks import BlockServer
from .broker import Broker, start_broker
from .client import ServerAddress
from .desk import KINDS as IDENTITY_KINDS
from .desk import Desk
from .engine import Engine
from .errors import BrokerError, FleetError, FleetFolderError
from .folder import ENROL_PREFIX, LOOPBACK, FleetFolder
from .ingest import Ingest
from .link import FleetLink
from .pacing import TokenBucket
from .refusals import one_line
from .snapshot import Snapshots
from .store import Store, open_store

TICK_S = 0.25
THREAD_END_S = 5.0
BURST_S = 1.0  # of blocks after a rest
TOKEN_KINDS = frozenset({"enrol", "enrolled", "get"})  # what a one-time token may say


@dataclass(frozen=True, slots=True)
class _Parts:
    """The working parts, and the event that ends them."""

    folder: FleetFolder
    store: Store
    engine: Engine
    broker: Broker
    stop: threading.Event
    faults: list[str]  # why a part ended by itself


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: ours end the threads too."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(folder: FleetFolder, on_ready: Callable[[ServerAddress], None]) -> None:
    """Serve until SIGTERM (returns) or Ctrl-C (KeyboardInterrupt).

    Raises:
        FleetFolderError: another server runs over this folder.
        BrokerError: the broker's port is taken, or the broker went away.
        FleetError: the HTTP port is taken, or a part ended by a fault of ours.
    """
    stop = threading.Event()
    received = _on_signals(stop)
    with ExitStack() as stack:
        stack.enter_context(_alone(folder))
        listener = stack.enter_context(_listen(folder))
        broker = start_broker(folder)
        stack.callback(broker.stop)
        store = open_store(folder.database)
        stack.callback(store.close)
        parts = _start(folder, store, broker, stop, stack)
        server = _Server(
            uvicorn.Config(
                build_app(_services(parts)),
                log_level="warning",
                timeout_graceful_shutdown=2,
                lifespan="on",
            )
        )
        watcher = threading.Thread(target=_watch, args=(parts, server), daemon=True)
        watcher.start()
        address = _announce(folder, stack)
        on_ready(address)
        server.run(sockets=[listener])
        stop.set()
        watcher.join(THREAD_END_S)
        if signal.SIGINT in received:
            raise KeyboardInterrupt
        if parts.faults:
            raise FleetError(parts.faults[0])
        if not received and not broker.alive():
            raise BrokerError(
                f"the {broker.kind} broker went away; see {folder.broker} for its log, "
                "then start the server again"
            )


def _start(
    folder: FleetFolder,
    store: Store,
    broker: Broker,
    stop: threading.Event,
    stack: ExitStack,
) -> _Parts:
    topics = Topics(folder.tenant)
    routes: dict[str, Callable[[str, str, bytes, bool], None]] = {}

    def arrived(topic: str, payload: bytes, retained: bool) -> None:
        device, kind = topic.split("/")[-3], topic.rsplit("/", 1)[-1]
        if device.startswith(ENROL_PREFIX) and kind not in TOKEN_KINDS:
            return  # a token is no device
        routes.get(kind, routes["*"])(device, topic, payload, retained)

    faults: list[str] = []

    def connected() -> None:
        try:
            engine.publish_all()
        except Exception as error:  # in paho's thread, which would end without a word
            faults.append(f"nothing could be published: {one_line(error)}; start the server again")
            stop.set()

    link = FleetLink(folder, arrived, connected)
    engine = Engine(folder, store, link)
    ingest = Ingest(store, topics, link)
    blocks = BlockServer(folder.repository, topics, link, _bucket(folder))
    routes["get"] = lambda device, _topic, payload, _retained: blocks.receive(device, payload)
    desk = Desk(folder, store, link)
    for asked in IDENTITY_KINDS:
        routes[asked] = lambda device, topic, payload, _retained: desk.receive(
            device, topic.rsplit("/", 1)[-1], payload
        )
    routes["*"] = lambda _device, topic, payload, retained: ingest.receive(topic, payload, retained)
    link.start()
    stack.callback(link.stop)
    for name, run in (
        ("ingest", ingest.run),
        ("blocks", blocks.run),
        ("desk", desk.run),
        ("engine", _ticks(engine)),
    ):
        thread = threading.Thread(
            target=_keep_running, args=(name, run, stop, faults), name=name, daemon=True
        )
        thread.start()
        stack.callback(thread.join, THREAD_END_S)
    stack.callback(stop.set)
    return _Parts(folder, store, engine, broker, stop, faults)


def _bucket(folder: FleetFolder) -> TokenBucket | None:
    """What keeps downloads from filling a thin uplink; None where nothing is set."""
    rate = folder.settings.broker.block_bytes_per_s
    return TokenBucket(rate, rate * BURST_S, time.monotonic()) if rate > 0 else None


def _ticks(engine: Engine) -> Callable[[threading.Event], None]:
    def run(stop: threading.Event) -> None:
        while not stop.wait(TICK_S):
            engine.tick(time.time())

    return run


def _keep_running(
    name: str,
    run: Callable[[threading.Event], None],
    stop: threading.Event,
    faults: list[str],
) -> None:
    """Run a part until `stop`: a trouble that may pass is said once, a fault of ours ends it all.

    What was being done is lost, and comes again: nothing is acknowledged before it is stored.
    """
    told = ""
    while not stop.is_set():
        try:
            run(stop)
        except (FleetError, RuntimeRoomError, OSError, SQLAlchemyError) as error:
            if one_line(error) != told:
                told = one_line(error)
                print(f"edgekiln: {name} tries again: {told}", file=sys.stderr, flush=True)
            stop.wait(TICK_S)
        except Exception as error:
            traceback.print_exc()
            faults.append(f"a fault of edgekiln ended {name}: {type(error).__name__}: {error}")
            stop.set()


def _services(parts: _Parts) -> Services:
    return Services(
        store=parts.store,
        snapshots=Snapshots(parts.store, parts.folder.tenant),
        engine=parts.engine,
        tenant=parts.folder.tenant,
        broker_kind=parts.broker.kind,
        broker_port=parts.broker.port,
        token=parts.folder.token_file.read_text(encoding="utf-8").strip(),
        repository=parts.folder.repository,
        stopping=parts.stop.is_set,
    )


def _watch(parts: _Parts, server: uvicorn.Server) -> None:
    """End the HTTP side when a signal came or the broker went away."""
    while not parts.stop.wait(TICK_S):
        if not parts.broker.alive():
            parts.stop.set()
    server.should_exit = True


def _on_signals(stop: threading.Event) -> list[int]:
    """Let SIGINT and SIGTERM end the server; the list fills with what came."""
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        received.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return received


@contextmanager
def _listen(folder: FleetFolder) -> Iterator[socket.socket]:
    port = folder.settings.http_port
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen()  # now: another server could bind it too, and fail only later
        except OSError as error:
            raise FleetError(
                f"the HTTP port {port} cannot be used ({error.strerror}); change http_port in "
                f"{folder.path / 'fleet.toml'}"
            ) from error
        yield listener


@contextmanager
def _alone(folder: FleetFolder) -> Iterator[None]:
    """One server per folder: a lock that the kernel drops with the process."""
    import fcntl

    with (folder.path / ".serving").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FleetFolderError(f"another server runs over {folder.path}") from error
        yield


def _announce(folder: FleetFolder, stack: ExitStack) -> ServerAddress:
    settings = folder.settings
    address = ServerAddress(
        pid=os.getpid(),
        url=f"http://{LOOPBACK}:{settings.http_port}",
        broker_host=LOOPBACK,
        broker_port=settings.broker.port,
    )
    write_atomic(folder.server_file, msgspec.json.encode(address))
    stack.callback(folder.server_file.unlink, missing_ok=True)
    return address
