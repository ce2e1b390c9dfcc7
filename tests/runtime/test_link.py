"""The connection to a broker that refuses, and to one that goes away."""

from __future__ import annotations

import logging
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekiln.runtime.link import Link, LinkConfig
from edgekiln.runtime.protocol import Birth

DEADLINE_S = 20.0


def birth(online: bool) -> Birth:
    return Birth(device="d1", boot_id="b", online=online)


@pytest.fixture
def closed_broker(require_tool: Callable[[str], str], tmp_path: Path) -> Iterator[int]:
    """A mosquitto that lets nobody in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\n")
    process = subprocess.Popen(
        [require_tool("mosquitto"), "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield port
    process.terminate()
    process.wait(DEADLINE_S)


def make(port: int) -> Link:
    config = LinkConfig("127.0.0.1", port, "d1", "wrong", "d1", "default", ("all",))
    return Link(config, birth, lambda *_: None, lambda: None, random.Random(0))


@pytest.mark.slow
def test_link_says_once_that_the_broker_refuses(
    closed_broker: int, caplog: pytest.LogCaptureFixture
) -> None:
    link = make(closed_broker)
    deadline = time.monotonic() + DEADLINE_S
    with caplog.at_level(logging.WARNING, "edgekiln.runtime.link"):
        link.start()
        while "refuses" not in caplog.text:
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)
    assert "refuses device 'd1'" in caplog.text
    assert not link.connected
    link.stop()


def test_link_sends_nothing_and_stops_at_once_when_nobody_is_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        link = make(taken.getsockname()[1])
        link.start()
        assert not link.publish("state", b"x")
        link.announce()
        started = time.monotonic()
        link.stop()
        assert time.monotonic() - started < 5.0
