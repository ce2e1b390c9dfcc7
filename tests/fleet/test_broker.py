"""Both brokers, with real clients: what a device may not do does not happen."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgekiln.fleet.broker import (
    Broker,
    mosquitto_path,
    remove_passwords,
    server_password_file,
    set_passwords,
    start_amqtt,
    start_broker,
)
from edgekiln.fleet.errors import BrokerError
from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.fleet.passwords import parse_password_file
from edgekiln.runtime.protocol import Topics

TOPICS = Topics("default")
DEADLINE_S = 10.0


class Client:
    """A blocking client: connects, publishes, collects what arrives."""

    def __init__(self, broker: Broker, user: str, password: str, will: str | None = None) -> None:
        self.arrived: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.codes: queue.Queue[bool] = queue.Queue()
        self.subscribed: queue.Queue[list[int]] = queue.Queue()
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=user, clean_session=True)
        self.paho.username_pw_set(user, password)
        if will is not None:
            self.paho.will_set(will, b"forged", qos=1)
        self.paho.on_connect = self._connected
        self.paho.on_message = lambda *args: self.arrived.put((args[2].topic, args[2].payload))
        self.paho.on_subscribe = lambda *args: self.subscribed.put([c.value for c in args[3]])
        self.paho.connect("127.0.0.1", broker.port)
        self.paho.loop_start()

    def _connected(
        self,
        _client: mqtt.Client,
        _data: object,
        _flags: mqtt.ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.codes.put(not code.is_failure)

    def accepted(self) -> bool:
        return self.codes.get(timeout=DEADLINE_S)

    def subscribe(self, topic: str) -> None:
        self.paho.subscribe(topic, qos=1)
        self.subscribed.get(timeout=DEADLINE_S)

    def publish(self, topic: str, data: bytes, retain: bool = False) -> None:
        self.paho.publish(topic, data, qos=1, retain=retain).wait_for_publish(DEADLINE_S)

    def next(self) -> tuple[str, bytes]:
        return self.arrived.get(timeout=DEADLINE_S)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture(scope="module", params=["mosquitto", "amqtt"])
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    require_tool: Callable[[str], str],
) -> Iterator[tuple[FleetFolder, Broker]]:
    """One broker of a kind for all tests: what one retains, it takes back."""
    folder = init_fleet(tmp_path_factory.mktemp("broker") / "fleet")
    set_passwords(folder, {"a": "pass-a", "b": "pass-b"})
    if request.param == "mosquitto":
        broker = start_broker(folder, require_tool("mosquitto"))
    else:
        broker = start_amqtt(folder)
    assert broker.kind == request.param
    yield folder, broker
    broker.stop()
    assert not broker.alive()


@contextmanager
def connected(broker: Broker, user: str, password: str) -> Iterator[Client]:
    client = Client(broker, user, password)
    try:
        assert client.accepted()
        yield client
    finally:
        client.close()


@contextmanager
def server(folder: FleetFolder, broker: Broker) -> Iterator[Client]:
    password = server_password_file(folder).read_text().strip()
    with connected(broker, "fleet", password) as client:
        yield client


def test_device_and_server_talk(fleet: tuple[FleetFolder, Broker]) -> None:
    folder, broker = fleet
    with server(folder, broker) as ours, connected(broker, "a", "pass-a") as device:
        ours.subscribe(TOPICS.all_up)
        device.subscribe(TOPICS.down("a", "+"))
        device.subscribe(TOPICS.cohort("all", "rollout"))
        device.publish(TOPICS.up("a", "state"), b"hello")
        assert ours.next() == (TOPICS.up("a", "state"), b"hello")
        ours.publish(TOPICS.down("a", "command"), b"ack")
        assert device.next() == (TOPICS.down("a", "command"), b"ack")
        ours.publish(TOPICS.cohort("all", "rollout"), b"document", retain=True)
        assert device.next() == (TOPICS.cohort("all", "rollout"), b"document")
        ours.publish(TOPICS.cohort("all", "rollout"), b"", retain=True)


def test_retained_document_reaches_who_comes_later(fleet: tuple[FleetFolder, Broker]) -> None:
    folder, broker = fleet
    with server(folder, broker) as ours:
        ours.publish(TOPICS.cohort("all", "rollout"), b"document", retain=True)
    with connected(broker, "a", "pass-a") as device:
        device.subscribe(TOPICS.cohort("all", "rollout"))
        assert device.next() == (TOPICS.cohort("all", "rollout"), b"document")
    with server(folder, broker) as ours:
        ours.publish(TOPICS.cohort("all", "rollout"), b"", retain=True)


def test_device_cannot_publish_as_another_or_to_the_fleet(
    fleet: tuple[FleetFolder, Broker],
) -> None:
    folder, broker = fleet
    with server(folder, broker) as ours, connected(broker, "a", "pass-a") as device:
        ours.subscribe("edgekiln/v1/default/#")
        for topic in (
            TOPICS.up("b", "state"),
            TOPICS.down("b", "command"),
            TOPICS.down("a", "command"),
            TOPICS.cohort("all", "rollout"),
        ):
            device.publish(topic, b"forged")
        device.publish(TOPICS.up("a", "state"), b"true")  # the last one sent is the first to come
        assert ours.next() == (TOPICS.up("a", "state"), b"true")
        assert ours.arrived.empty()


def test_device_cannot_read_what_is_for_another(fleet: tuple[FleetFolder, Broker]) -> None:
    folder, broker = fleet
    with server(folder, broker) as ours, connected(broker, "a", "pass-a") as device:
        for topic in (TOPICS.down("b", "#"), TOPICS.down("+", "#"), "#", TOPICS.all_up):
            device.subscribe(topic)
        device.subscribe(TOPICS.down("a", "#"))
        ours.publish(TOPICS.down("b", "command"), b"secret")
        with connected(broker, "b", "pass-b") as other:
            other.publish(TOPICS.up("b", "state"), b"secret")
        ours.publish(TOPICS.down("a", "command"), b"mine")
        assert device.next() == (TOPICS.down("a", "command"), b"mine")
        assert all(data == b"mine" for _topic, data in list(device.arrived.queue))


def test_last_will_cannot_speak_for_another(fleet: tuple[FleetFolder, Broker]) -> None:
    folder, broker = fleet
    with server(folder, broker) as ours:
        ours.subscribe("edgekiln/v1/default/#")
        forger = Client(broker, "a", "pass-a", will=TOPICS.up("b", "birth"))
        forger.codes.get(timeout=DEADLINE_S)
        sock = forger.paho.socket()
        if sock is not None:  # where it was let in at all: drop without a word
            forger.paho.loop_stop()
            sock.close()
        forger.close()
        with connected(broker, "b", "pass-b") as device:
            device.publish(TOPICS.up("b", "state"), b"true")
        assert ours.next() == (TOPICS.up("b", "state"), b"true")


@pytest.mark.parametrize(("user", "password"), [("a", "pass-b"), ("c", "pass-a"), ("", "")])
def test_login_is_refused_when_user_or_password_is_wrong(
    fleet: tuple[FleetFolder, Broker], user: str, password: str
) -> None:
    client = Client(fleet[1], user, password)
    assert not client.accepted()
    client.close()


def test_new_credentials_work_without_a_restart(fleet: tuple[FleetFolder, Broker]) -> None:
    folder, broker = fleet
    set_passwords(folder, {"new": "pass-new"})
    deadline = time.monotonic() + DEADLINE_S
    while True:
        client = Client(broker, "new", "pass-new")
        accepted = client.accepted()
        client.close()
        if accepted:
            break
        assert time.monotonic() < deadline
    with connected(broker, "a", "pass-a"):
        assert broker.alive()


def test_start_names_port_and_file_when_the_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        folder = init_fleet(tmp_path / "fleet", broker_port=taken.getsockname()[1])
        with pytest.raises(BrokerError, match=rf"{folder.settings.broker.port}.*fleet\.toml"):
            start_broker(folder)


def test_start_says_why_when_the_broker_does_not_come_up(tmp_path: Path) -> None:
    folder = init_fleet(tmp_path / "fleet")
    with pytest.raises(BrokerError, match="did not start"):
        start_broker(folder, "/bin/false")


def test_mosquitto_is_found_outside_of_path(
    require_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = require_tool("mosquitto")
    monkeypatch.setenv("PATH", "/nowhere")
    assert mosquitto_path() == expected


PARENT = """
import sys, time
from pathlib import Path
from edgekiln.fleet.broker import start_amqtt, start_broker
from edgekiln.fleet.folder import open_fleet
start = {"mosquitto": start_broker, "amqtt": start_amqtt}[sys.argv[2]]
print(start(open_fleet(Path(sys.argv[1]))).process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_broker_dies_when_its_parent_is_killed(
    tmp_path: Path, kind: str, require_tool: Callable[[str], str]
) -> None:
    if kind == "mosquitto":
        require_tool("mosquitto")
    folder = init_fleet(tmp_path / "fleet")
    command = (sys.executable, "-c", textwrap.dedent(PARENT), str(folder.path), kind)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=DEADLINE_S)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_no_login_is_lost_when_server_and_commands_change_them_at_once(
    copied_fleet: FleetFolder,
) -> None:
    names, begin = [f"cam-{number}" for number in range(8)], threading.Barrier(8)

    def give(name: str) -> None:
        begin.wait()
        set_passwords(copied_fleet, {name: name})
        remove_passwords(copied_fleet, ("nobody",))

    threads = [threading.Thread(target=give, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    users = parse_password_file((copied_fleet.broker / "passwords").read_text())
    assert set(names) <= users.keys()
