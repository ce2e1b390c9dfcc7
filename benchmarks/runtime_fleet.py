"""A 300 kB update to 1,000 simulated devices over one broker and the real block server.

Broker, server and devices share this machine. The second run cuts the connections of 30 % of the
devices at a random place of their download. A block counts as sent twice when the server sends it
to a device that has verified it already, or when a device gets it once more.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import resource
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from edgekiln.fleet.blocks import BlockServer
from edgekiln.fleet.broker import set_passwords, start_broker
from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.fleet.link import FleetLink
from edgekiln.fleet.repository import add_target, target_path
from edgekiln.runtime.protocol import Block, Topics, decode

from .figure import FULL, Figure, Scale
from .fleet_devices import Outcome, Update, run_devices

DEVICES = {True: 1_000, False: 100}  # at full scale, and when quick
UPDATE_BYTES = 300_000
PROCESSES = 2
CUT_SHARE = 0.3
SERVER_START_S = 20.0
SPAWN = multiprocessing.get_context("spawn")

Sends = list[tuple[str, int, float]]  # device, block, monotonic time
Record = tuple[Sends, int]  # of the server: what it sent, and its largest memory in KiB


@dataclass(frozen=True)
class Counting:
    """The link, and a record of every block of the bundle that leaves through it."""

    link: FleetLink
    sends: Sends
    path: str

    def offer(self, topic: str, payload: bytes) -> None:
        """See `Publisher`."""
        block = decode(payload, Block)
        if block.path == self.path and block.data:
            self.sends.append((topic.split("/")[4], block.index, time.monotonic()))
        self.link.offer(topic, payload)

    def room(self, timeout_s: float) -> bool:
        """See `Publisher`."""
        return self.link.room(timeout_s)

    def retain(self, topic: str, payload: bytes) -> None:
        """See `Publisher`."""
        self.link.retain(topic, payload)

    def confirm(self, topic: str, payload: bytes) -> None:
        """See `Publisher`."""
        self.link.confirm(topic, payload)


def run(scale: Scale) -> Iterator[Figure]:
    """Yield the figures of both runs."""
    count = DEVICES[scale == FULL]
    with tempfile.TemporaryDirectory(prefix="edgekiln-fleet-") as name:
        folder = init_fleet(Path(name) / "fleet")
        update = _publish(folder, scale.seed)
        passwords = {f"device-{number}": secrets.token_hex(8) for number in range(count)}
        set_passwords(folder, passwords)
        broker = start_broker(folder)
        try:
            yield from _figures(folder, update, passwords, 0.0, scale.seed)
            yield from _figures(folder, update, passwords, CUT_SHARE, scale.seed)
        finally:
            broker.stop()


def _publish(folder: FleetFolder, seed: int) -> Update:
    data = random.Random(seed).randbytes(UPDATE_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    record = add_target(folder, data, digest, 1, {"host": 0}, {"host": 0})
    return Update(
        path=f"targets/{target_path(digest)}",
        leaves_path=f"targets/{record.leaves_path}",
        length=len(data),
        block_bytes=record.block_bytes,
        merkle_root=record.merkle_root,
        sha256=digest,
    )


def _figures(
    folder: FleetFolder, update: Update, passwords: dict[str, str], cut_share: float, seed: int
) -> Iterator[Figure]:
    started_s = time.monotonic()
    (sends, memory_kib), outcomes = _roll_out(folder, update, passwords, cut_share, seed)
    count = len(passwords)
    what = f"{count} devices, {cut_share:.0%} cut" if cut_share else f"{count} devices"
    finished_s = sorted(time_s for outcome in outcomes for time_s in outcome.finished_s)
    first_s = min(time_s for _, _, time_s in sends)
    down = sum(outcome.bytes_down for outcome in outcomes)
    yield Figure(f"{what}: first block to last device", finished_s[-1] - first_s, "s")
    half_s = finished_s[count // 2] - first_s
    yield Figure(f"{what}: first block to half of the devices", half_s, "s")
    yield Figure(f"{what}: from connecting on", finished_s[-1] - started_s, "s")
    yield Figure(f"{what}: to the devices", down / 1e6, "MB")
    yield Figure(f"{what}: to the devices, of the update", down / count / update.length, "ratio")
    yield Figure(f"{what}: block server's memory", memory_kib / 1024, "MiB")
    up = sum(outcome.bytes_up for outcome in outcomes)
    yield Figure(f"{what}: from each device", up / count, "bytes")
    yield Figure(f"{what}: connections cut", sum(o.cuts for o in outcomes), "", "exact")
    received = sum(outcome.received for outcome in outcomes)
    yield Figure(f"{what}: blocks sent", len(sends), "", "exact")
    yield Figure(f"{what}: blocks lost on the way", len(sends) - received, "", "exact")
    yield Figure(
        f"{what}: verified blocks sent again", _sent_again(sends, outcomes), "", "exact", 0.0
    )
    repeated = sum(outcome.repeated for outcome in outcomes)
    yield Figure(f"{what}: verified blocks received again", repeated, "", "exact", 0.0)
    wrong = sum(outcome.wrong + outcome.damaged for outcome in outcomes)
    missing = count - len(finished_s)
    yield Figure(f"{what}: devices without the update", wrong + missing, "", "exact", 0.0)


def _sent_again(sends: Sends, outcomes: list[Outcome]) -> int:
    verified = {
        (device, index): time_s
        for outcome in outcomes
        for device, index, time_s in outcome.verified
    }
    return sum(time_s > verified[device, index] for device, index, time_s in sends)


def _roll_out(
    folder: FleetFolder, update: Update, passwords: dict[str, str], cut_share: float, seed: int
) -> tuple[Record, list[Outcome]]:
    ours, theirs = SPAWN.Pipe()
    server = SPAWN.Process(target=_serve, args=(folder, update.path, theirs), daemon=True)
    server.start()
    try:
        if not ours.poll(SERVER_START_S):
            raise TimeoutError("the block server did not start")
        ours.recv()
        names = sorted(passwords)
        shares = [
            {name: passwords[name] for name in names[part::PROCESSES]} for part in range(PROCESSES)
        ]
        with tempfile.TemporaryDirectory(prefix="edgekiln-parts-") as parts:
            place = Path(parts)
            port = folder.settings.broker.port
            with ProcessPoolExecutor(PROCESSES, SPAWN) as pool:
                running = [
                    pool.submit(run_devices, share, port, update, place, cut_share, seed + part)
                    for part, share in enumerate(shares)
                ]
                outcomes = [future.result() for future in running]
        ours.send("end")
        record: Record = ours.recv()
    finally:
        server.join(SERVER_START_S)
        server.kill()
    return record, outcomes


def _serve(folder: FleetFolder, path: str, pipe: Connection) -> None:
    """The block server in a process of its own; sends its record when told to end."""
    topics, stop, up = Topics(folder.tenant), threading.Event(), threading.Event()
    servers: list[BlockServer] = []

    def arrived(topic: str, payload: bytes, _retained: bool) -> None:
        device, kind = topics.parse_up(topic)
        if kind == "get":
            servers[0].receive(device, payload)

    link = FleetLink(folder, arrived, up.set)
    counting = Counting(link, [], path)
    servers.append(BlockServer(folder.repository, topics, counting))
    link.start()
    up.wait(SERVER_START_S)
    thread = threading.Thread(target=servers[0].run, args=(stop,))
    thread.start()
    pipe.send("up")
    pipe.recv()
    stop.set()
    thread.join()
    link.stop()
    pipe.send((counting.sends, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
