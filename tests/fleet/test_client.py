"""The command line's client against servers that answer well, badly, or not at all."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from edgekiln.fleet.client import FleetClient, ServerAddress
from edgekiln.fleet.errors import ApiError
from edgekiln.fleet.model import Wave
from edgekiln.fleet.requests import StartRollout


class Script:
    """What the server answers next, and what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"[]"
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []


@contextmanager
def serving(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.asked.append((self.command, self.path, dict(self.headers), body))
            self.send_response(script.status)
            self.send_header("Content-Length", str(len(script.body)))
            self.end_headers()
            self.wfile.write(script.body)

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def announce(folder: Path, url: str) -> None:
    address = ServerAddress(pid=1, url=url, broker_host="127.0.0.1", broker_port=1883)
    (folder / "server.json").write_bytes(msgspec.json.encode(address))
    (folder / "operator.token").write_text("secret\n")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def client(script: Script, tmp_path: Path) -> Iterator[FleetClient]:
    with serving(script) as url:
        announce(tmp_path, url)
        yield FleetClient(tmp_path)


def refused(url: str, folder: Path) -> str:
    announce(folder, url)
    with pytest.raises(ApiError) as caught:
        FleetClient(folder).devices()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reading_carries_no_token_and_changing_does(client: FleetClient, script: Script) -> None:
    assert client.devices() == ()
    assert "Authorization" not in script.asked[0][2]
    script.status, script.body = 409, b'{"detail": "busy"}'
    request = StartRollout(release="prod", cohort="all", waves=(Wave(permille=1000),))
    with pytest.raises(ApiError, match=r"^busy$"):
        client.start_rollout(request)
    method, path, headers, body = script.asked[1]
    assert (method, path) == ("POST", "/api/rollouts")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["waves"] == [{"permille": 1000, "devices": None}]


def test_token_does_not_go_to_a_proxy_of_the_environment(
    client: FleetClient, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Script()
    with serving(other) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert client.devices() == ()
    assert other.asked == []
    assert len(script.asked) == 1


@pytest.mark.parametrize("name", ["../devices", "a b", "a?b#c", "ä", "a\r\nX-Evil: 1", ""])
def test_odd_rollout_name_stays_one_part_of_the_path(
    client: FleetClient, script: Script, name: str
) -> None:
    script.status, script.body = 404, b'{"detail": "no such rollout"}'
    with pytest.raises(ApiError, match="no such rollout"):
        client.rollout(name)
    path = script.asked[0][1]
    assert path.startswith("/api/rollouts/")
    assert path.count("/") == 3
    assert "X-Evil" not in script.asked[0][2]


def test_refusal_without_a_reason_gives_its_status(client: FleetClient, script: Script) -> None:
    script.status, script.body = 500, b"<html>"
    with pytest.raises(ApiError, match="the server answered 500"):
        client.health()


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"device": 1}', b"[1]"])
def test_answer_that_is_no_answer_is_one_line(
    client: FleetClient, script: Script, body: bytes
) -> None:
    script.body = body
    with pytest.raises(ApiError, match="the server's answer cannot be read") as caught:
        client.devices()
    assert "\n" not in str(caught.value)


def test_no_server_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match=f"edgekiln fleet serve {tmp_path}"):
        FleetClient(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": 1}', b"\xff"])
def test_torn_address_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "server.json").write_bytes(content)
    with pytest.raises(ApiError, match=r"server\.json cannot be read"):
        FleetClient(tmp_path)


def test_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "fleet").touch()
    with pytest.raises(ApiError, match="cannot be read"):
        FleetClient(tmp_path / "fleet")


def test_server_that_died_is_named(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert "is 'edgekiln fleet serve' still running?" in refused(url, tmp_path)


def test_something_that_does_not_speak_http_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def mumble() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=mumble)
        thread.start()
        text = refused(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
        thread.join()
    assert "does not answer" in text


def test_address_that_is_no_url_is_one_line(tmp_path: Path) -> None:
    assert "does not answer" in refused("nonsense", tmp_path)


def test_wait_gives_up_at_its_deadline(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="no server runs"):
        FleetClient.wait(tmp_path, timeout_s=0.0)
