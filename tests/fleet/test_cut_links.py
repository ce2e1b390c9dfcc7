"""Real brokers, the device's real link and transfer, and connections that are cut."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekiln.fleet.blocks import BlockServer
from edgekiln.fleet.broker import start_amqtt, start_broker
from edgekiln.fleet.enrol import enrol_device
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.link import FleetLink
from edgekiln.fleet.registry import register_release
from edgekiln.runtime import link as link_module
from edgekiln.runtime.config import DeviceConfig, load_device
from edgekiln.runtime.errors import TransferError
from edgekiln.runtime.link import Link, LinkConfig
from edgekiln.runtime.merkle import leaf_hashes
from edgekiln.runtime.protocol import Birth, Block, Topics, decode, encode
from edgekiln.runtime.transfer import PartFile, Transfer

TOPICS = Topics("default")
DATA = random.Random(4).randbytes(2_000_000)
CUTS = 4
DEADLINE_S = 20.0


class Served:
    """Broker and block server; `sends` is what left for the device."""

    def __init__(self, folder: FleetFolder) -> None:
        self.sends: list[int] = []
        self._up, self._stop = threading.Event(), threading.Event()
        self.link = FleetLink(folder, self._arrived, self._up.set)
        self._blocks = BlockServer(folder.repository, TOPICS, self)
        self._thread = threading.Thread(target=self._blocks.run, args=(self._stop,))
        self.link.start()
        assert self._up.wait(DEADLINE_S)
        self._thread.start()

    def _arrived(self, topic: str, payload: bytes, _retained: bool) -> None:
        device, kind = TOPICS.parse_up(topic)
        if kind == "get":
            self._blocks.receive(device, payload)

    def offer(self, topic: str, payload: bytes) -> None:
        block = decode(payload, Block)
        if block.data:
            self.sends.append(block.index)
        self.link.offer(topic, payload)

    def room(self, timeout_s: float) -> bool:
        return self.link.room(timeout_s)

    def retain(self, topic: str, payload: bytes) -> None:
        self.link.retain(topic, payload)

    confirm = retain

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.link.stop()


@pytest.fixture(params=["mosquitto", "amqtt"])
def served(
    request: pytest.FixtureRequest,
    fleet_folder: FleetFolder,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> Iterator[tuple[Served, DeviceConfig]]:
    release = register_release(fleet_folder, make_bundle())
    home = enrol_device(fleet_folder, "cam-1", "host", ("all",), tmp_path / "cam-1", release)
    (fleet_folder.repository / "targets" / "big").write_bytes(DATA)
    if request.param == "mosquitto":
        broker = start_broker(fleet_folder, require_tool("mosquitto"))
    else:
        broker = start_amqtt(fleet_folder)
    server = Served(fleet_folder)
    yield server, load_device(home)
    server.close()
    broker.stop()


@pytest.mark.slow
def test_no_verified_block_comes_twice_when_the_socket_is_cut(
    served: tuple[Served, DeviceConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "BACKOFF_FIRST_S", (1, 1))
    server, config = served
    ids, up = itertools.count(), threading.Event()
    transfer = Transfer(lambda ask: link.publish("get", encode(ask)), lambda: f"q{next(ids)}")

    def connected() -> None:
        transfer.reconnected()
        up.set()

    place = LinkConfig(
        config.broker.host, config.broker.port, config.broker.username, config.password,
        config.device, config.tenant, config.cohorts,
    )  # fmt: skip
    link = Link(
        place,
        lambda online: Birth(device="cam-1", boot_id="b", online=online),
        lambda topic, payload: (
            transfer.receive(decode(payload, Block)) if topic.endswith("/block") else None
        ),
        connected,
        random.Random(0),
    )
    link.start()
    part = PartFile(tmp_path / "part", len(DATA), leaf_hashes(DATA))
    verified_sends: dict[int, int] = {}  # block -> sends so far when it was verified
    cut_at = {len(part.leaves) * (cut + 1) // (CUTS + 1) for cut in range(CUTS)}
    while part.missing:
        assert up.wait(DEADLINE_S)
        with contextlib.suppress(TransferError):  # offline: begun anew, as the agent does
            before = set(part.missing)
            for have in transfer.fetch_part("targets/big", part):
                verified_sends |= dict.fromkeys(before - part.missing, len(server.sends))
                before = set(part.missing)
                if have in cut_at:
                    cut_at.discard(have)
                    link._client.socket().shutdown(socket.SHUT_RDWR)
    assert part.read() == DATA
    part.close()
    link.stop()
    again = [
        index
        for place, index in enumerate(server.sends)
        if place > verified_sends.get(index, len(server.sends))
    ]
    assert not cut_at
    assert again == []
    assert (transfer.tally.good, transfer.tally.repeated) == (len(part.leaves), 0)
