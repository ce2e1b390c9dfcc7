"""`fleet serve` as a process: how it appears, how it ends, and what it leaves behind."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from edgekiln.fleet.client import FleetClient
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.server import _keep_running

START_S = 30.0
END_S = 15.0


class Served:
    """A server child and what it says."""

    def __init__(self, folder: FleetFolder) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgekiln.cli", "fleet", "serve", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.children: list[psutil.Process] = []

    def client(self) -> FleetClient:
        client = FleetClient.wait(self.folder.path, START_S)
        self.children = psutil.Process(self.process.pid).children(recursive=True)
        return client

    def end(self, number: int) -> tuple[int, str, str]:
        """Exit code, stdout and stderr after a signal."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=START_S)
        return self.process.returncode, out, err

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        left = psutil.wait_procs(self.children, END_S)[1]
        assert left == []


@pytest.fixture
def serve(fleet_folder: FleetFolder) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(folder: FleetFolder = fleet_folder) -> Served:
        started.append(Served(folder))
        return started[-1]

    yield start
    for served in started:
        served.close()


def one_line(text: str) -> str:
    """What a user sees of a mistake; fails on a traceback."""
    (line,) = text.strip().splitlines()
    assert line.startswith("edgekiln: ")
    return line


def with_ports(folder: FleetFolder, http: int | None = None, broker: int | None = None) -> None:
    settings = folder.settings
    (folder.path / "fleet.toml").write_text(
        f'tenant = "default"\nhttp_port = {http or settings.http_port}\n'
        f"[broker]\nport = {broker or settings.broker.port}\n"
    )


@pytest.mark.slow
def test_server_announces_itself_and_ends_quietly_on_sigterm(
    serve: Callable[..., Served], fleet_folder: FleetFolder
) -> None:
    served = serve()
    client = served.client()
    assert client.address.pid == served.process.pid
    assert client.health().broker in ("mosquitto", "amqtt")
    assert stat.S_IMODE(fleet_folder.token_file.stat().st_mode) == 0o600
    assert served.children
    code, _, err = served.end(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if not line.startswith("dashboard at http://")] == []
    assert not fleet_folder.server_file.exists()
    assert psutil.wait_procs(served.children, END_S)[1] == []


@pytest.mark.slow
def test_open_event_stream_does_not_hold_the_end_up(serve: Callable[..., Served]) -> None:
    served = serve()
    url = served.client().address.url
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/api/events", timeout=10) as stream:
        assert stream.readline().startswith(b"event: revision")
        started = time.monotonic()
        code, _, err = served.end(signal.SIGTERM)
        assert time.monotonic() - started < 8
    assert code == 0
    assert "Cancel" not in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_ctrl_c_is_130(serve: Callable[..., Served], fleet_folder: FleetFolder) -> None:
    served = serve()
    served.client()
    code, _, err = served.end(signal.SIGINT)
    assert code == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not fleet_folder.server_file.exists()


@pytest.mark.slow
def test_second_server_over_one_folder_is_refused_and_the_first_stays(
    serve: Callable[..., Served],
) -> None:
    client = serve().client()
    code, out, err = serve().ended()
    assert (code, out) == (2, "")
    assert "another server runs over" in one_line(err)
    assert client.health()


@pytest.mark.slow
def test_http_port_that_is_taken_is_one_line(
    serve: Callable[..., Served], fleet_folder: FleetFolder
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with_ports(fleet_folder, http=taken.getsockname()[1])
        code, _, err = serve().ended()
    assert code == 2
    assert "change http_port in" in one_line(err)
    assert not fleet_folder.server_file.exists()


@pytest.mark.slow
def test_broker_port_that_is_taken_is_one_line(
    serve: Callable[..., Served], fleet_folder: FleetFolder
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with_ports(fleet_folder, broker=taken.getsockname()[1])
        code, _, err = serve().ended()
    assert code == 2
    assert "choose another under [broker]" in one_line(err)
    assert not fleet_folder.server_file.exists()


@pytest.mark.slow
def test_broker_that_is_killed_ends_the_server_with_one_line(
    serve: Callable[..., Served], fleet_folder: FleetFolder
) -> None:
    served = serve()
    served.client()
    (broker,) = served.children
    broker.kill()
    code, _, err = served.ended()
    assert code == 2
    told = [line for line in err.splitlines() if not line.startswith("dashboard at")]
    assert "broker went away" in one_line("\n".join(told))
    assert not fleet_folder.server_file.exists()
    assert psutil.wait_procs(served.children, END_S)[1] == []


@pytest.mark.slow
def test_server_that_is_killed_takes_its_broker_along_and_can_start_again(
    serve: Callable[..., Served], fleet_folder: FleetFolder
) -> None:
    served = serve()
    served.client()
    code, _, _ = served.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert psutil.wait_procs(served.children, END_S)[1] == []
    assert fleet_folder.server_file.exists()  # stale, and the next one says so of itself
    again = serve()
    deadline = time.monotonic() + START_S
    while FleetClient.wait(fleet_folder.path, START_S).address.pid != again.process.pid:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert again.end(signal.SIGTERM)[0] == 0


def test_passing_trouble_is_told_once_and_tried_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop, faults, runs = threading.Event(), [], []

    def run(stop: threading.Event) -> None:
        runs.append(1)
        if len(runs) == 3:
            stop.set()
            return
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    _keep_running("ingest", run, stop, faults)
    assert len(runs) == 3
    assert faults == []
    told = capsys.readouterr().err
    assert told == "edgekiln: ingest tries again: database or disk is full\n"


def test_fault_of_ours_ends_the_server_and_names_the_part(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop, faults = threading.Event(), []

    def run(_: threading.Event) -> None:
        raise KeyError("bug")

    _keep_running("engine", run, stop, faults)
    assert stop.is_set()
    assert faults == ["a fault of edgekiln ended engine: KeyError: 'bug'"]
    assert "Traceback" in capsys.readouterr().err
