"""Ingest, blocks and documents over real brokers, with a client that behaves like a device."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgekiln.fleet.blocks import BlockServer
from edgekiln.fleet.broker import Broker, start_amqtt, start_broker
from edgekiln.fleet.enrol import enrol_device
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.ingest import Ingest
from edgekiln.fleet.link import FleetLink
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.store import Store, open_store
from edgekiln.runtime.config import DeviceConfig, load_device
from edgekiln.runtime.protocol import (
    Ack,
    Birth,
    Block,
    DeviceState,
    GetRequest,
    State,
    Topics,
    decode,
    encode,
)

TOPICS = Topics("default")
DEADLINE_S = 10.0


class Server:
    """The server's wire side: link, ingest and blocks in their threads."""

    def __init__(self, folder: FleetFolder, broker: Broker) -> None:
        self.store: Store = open_store(folder.database)
        self.up = threading.Event()
        self._stop = threading.Event()
        self.link = FleetLink(folder, self._arrived, self.up.set)
        self._ingest = Ingest(self.store, TOPICS, self.link)
        self._blocks = BlockServer(folder.repository, TOPICS, self.link)
        self._threads = [
            threading.Thread(target=run, args=(self._stop,))
            for run in (self._ingest.run, self._blocks.run)
        ]
        for thread in self._threads:
            thread.start()
        self.link.start()
        assert self.up.wait(DEADLINE_S)
        assert broker.alive()

    def _arrived(self, topic: str, payload: bytes, retained: bool) -> None:
        device, kind = TOPICS.parse_up(topic)
        if kind == "get":
            self._blocks.receive(device, payload)
        else:
            self._ingest.receive(topic, payload, retained)

    def close(self) -> None:
        self.link.stop()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.store.close()


@pytest.fixture(params=["mosquitto", "amqtt"])
def running(
    request: pytest.FixtureRequest,
    fleet_folder: FleetFolder,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> Iterator[tuple[Server, DeviceConfig]]:
    release = register_release(fleet_folder, make_bundle())
    home = enrol_device(fleet_folder, "cam-1", "host", ("all",), tmp_path / "cam-1", release)
    if request.param == "mosquitto":
        broker = start_broker(fleet_folder, require_tool("mosquitto"))
    else:
        broker = start_amqtt(fleet_folder)
    server = Server(fleet_folder, broker)
    yield server, load_device(home)
    server.close()
    broker.stop()


class Device:
    def __init__(self, config: DeviceConfig) -> None:
        self.arrived: queue.Queue[tuple[str, bytes]] = queue.Queue()
        ready = threading.Event()
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=config.device)
        self.paho.username_pw_set(config.broker.username, config.password)
        self.paho.on_message = lambda *args: self.arrived.put((args[2].topic, args[2].payload))
        self.paho.on_connect = lambda *args: args[0].subscribe(
            [(TOPICS.down(config.device, "+"), 1), (TOPICS.cohort("all", "rollout"), 1)]
        )
        self.paho.on_subscribe = lambda *args: ready.set()
        self.paho.connect(config.broker.host, config.broker.port)
        self.paho.loop_start()
        assert ready.wait(DEADLINE_S)

    def say(self, kind: str, payload: bytes) -> None:
        self.paho.publish(TOPICS.up("cam-1", kind), payload, qos=1)

    def next(self) -> tuple[str, bytes]:
        topic, payload = self.arrived.get(timeout=DEADLINE_S)
        return topic.rsplit("/", 1)[-1], payload

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


def test_device_reports_downloads_and_gets_its_document(
    running: tuple[Server, DeviceConfig],
) -> None:
    server, config = running
    device = Device(config)
    device.say("birth", encode(Birth(device="cam-1", boot_id="b", online=True)))
    assert decode(device.next()[1], Ack).seq == 0
    state = State(boot_id="b", seq=7, at_s=0.0, state=DeviceState.IDLE, running="r")
    device.say("state", encode(state))
    kind, payload = device.next()
    assert (kind, decode(payload, Ack)) == ("command", Ack(boot_id="b", seq=7))
    assert server.store.device("cam-1").running == "r"  # acknowledged means stored

    ask = GetRequest(request_id="q", path="metadata/timestamp.json", first=0, count=4)
    device.say("get", encode(ask))
    kind, payload = device.next()
    block = decode(payload, Block)
    assert (kind, block.error, block.total_bytes) == ("block", "", len(block.data))

    server.link.retain(TOPICS.cohort("all", "rollout"), b"document")
    assert device.next() == ("rollout", b"document")
    device.close()
