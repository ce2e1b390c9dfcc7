"""TLS end to end: a real broker, real certificates, a token, a renewal, a revocation."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekiln.fleet.blocks import BlockServer
from edgekiln.fleet.broker import mosquitto_path, start_broker
from edgekiln.fleet.desk import KINDS, Desk
from edgekiln.fleet.enrol import make_place
from edgekiln.fleet.folder import FleetFolder, free_port, open_fleet
from edgekiln.fleet.link import FleetLink
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.revocation import revoke
from edgekiln.fleet.store import Store, open_store
from edgekiln.fleet.tokens import make_token
from edgekiln.runtime.config import load_device
from edgekiln.runtime.device import link_config
from edgekiln.runtime.enrol import EnrolToken, enrol
from edgekiln.runtime.enrol_link import EnrolLink, renew_identity
from edgekiln.runtime.errors import EnrolError
from edgekiln.runtime.link import Link
from edgekiln.runtime.protocol import Birth, Topics
from edgekiln.runtime.renewal import renew_if_due

MakeBundle = Callable[..., Path]
pytestmark = pytest.mark.slow


class Up:
    """Whether a device is connected, as its link tells it."""

    def __init__(self, config: object) -> None:
        self.up = threading.Event()
        self.link = Link(
            config,  # type: ignore[arg-type]
            lambda online: Birth(device="cam-1", boot_id="b", online=online),
            lambda topic, payload: None,
            self.up.set,
            random.Random(0),
        )


@pytest.fixture
def fleet(
    fleet_folder: FleetFolder, require_tool: Callable[[str], str], make_bundle: MakeBundle
) -> Iterator[tuple[FleetFolder, Store]]:
    """A broker on this machine under its public name, and the server's threads that matter."""
    if mosquitto_path() is None:
        require_tool("mosquitto")
    file = fleet_folder.path / "fleet.toml"
    ports = f"tls_port = {free_port()}\nenrol_port = {free_port()}\n"
    file.write_text(f'{file.read_text()}public_host = "localhost"\n{ports}')
    folder = open_fleet(fleet_folder.path)
    register_release(folder, make_bundle())
    broker, store, stop = start_broker(folder), open_store(folder.database), threading.Event()
    routes: dict[str, Callable[[str, str, bytes], None]] = {}

    def arrived(topic: str, payload: bytes, _: bool) -> None:
        device, _, kind = topic.split("/")[-3:]
        if kind in routes:
            routes[kind](device, kind, payload)

    link = FleetLink(folder, arrived, lambda: None)
    desk, blocks = (
        Desk(folder, store, link),
        BlockServer(folder.repository, Topics(folder.tenant), link),
    )
    routes.update(dict.fromkeys(KINDS, desk.receive))
    routes["get"] = lambda device, _, payload: blocks.receive(device, payload)
    threads = [threading.Thread(target=part.run, args=(stop,)) for part in (desk, blocks)]
    for thread in threads:
        thread.start()
    link.start()
    try:
        yield folder, store
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        link.stop()
        broker.stop()
        store.close()


def refused_in_time(token: EnrolToken) -> bool:
    """Whether the broker refuses the token soon: it reads its files again by and by."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with EnrolLink.of_token(token):
                continue
        except EnrolError as error:
            return "refuses" in str(error)
    return False


def test_device_enrols_renews_and_is_locked_out_when_it_is_revoked(
    fleet: tuple[FleetFolder, Store], tmp_path: Path
) -> None:
    folder, store = fleet
    (release,) = store.releases()
    place = make_place(folder, "cam-1", "host", ("all",), release)
    token = make_token(folder, store, place, 3600.0, 1_900_000_000.0)
    out = tmp_path / "cam-1"
    with EnrolLink.of_token(token) as counter:
        enrol(token, out, counter, lambda _: None)
    config = load_device(out)
    assert config.tls is not None
    assert config.tls.identity is not None
    assert refused_in_time(token)  # the login of a token ends with the enrolment

    before = config.tls.identity.read_bytes()
    renew_identity(link_config(config), config.tls.identity)
    assert config.tls.identity.read_bytes() != before

    renewed, now_s = config.tls.identity.read_bytes(), time.time()
    assert not renew_if_due(link_config(config), now_s)
    assert config.tls.identity.read_bytes() == renewed
    assert renew_if_due(link_config(config), now_s + 300 * 86400.0)
    assert config.tls.identity.read_bytes() != renewed

    device = Up(link_config(config))
    device.link.start()
    try:
        assert device.up.wait(10)
        revoke(folder, store, "cam-1", "stolen", 1_900_000_100.0)
        with pytest.raises(EnrolError):
            renew_identity(link_config(config), config.tls.identity)
        again = Up(link_config(config))
        again.link.start()
        assert not again.up.wait(3)
        again.link.stop()
        assert not device.link.connected
    finally:
        device.link.stop()
