"""Files and ranges of them over HTTP, as RFC 9110 has it and as our own client asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.datastructures import State
from litestar.testing import TestClient

from edgekiln.fleet.downloads import Span, asked_span, download
from edgekiln.runtime.merkle import leaf_hashes
from edgekiln.runtime.mirror import Mirror
from edgekiln.runtime.transfer import PartFile

DATA = bytes(range(256)) * 1000
FILE = "/repository/targets/bundles/a.ekb"


@pytest.fixture
def application(tmp_path: Path) -> Litestar:
    root = tmp_path / "repository"
    (root / "targets" / "bundles").mkdir(parents=True)
    (root / "metadata").mkdir()
    (root / "targets" / "bundles" / "a.ekb").write_bytes(DATA)
    (root / "targets" / "empty").write_bytes(b"")
    (root / "metadata" / "timestamp.json").write_bytes(b"{}")
    (root / "secret.pem").write_bytes(b"key")
    services = SimpleNamespace(repository=root)
    return Litestar([download], state=State({"services": services}), openapi_config=None)


@pytest.fixture
def client(application: Litestar) -> Iterator[TestClient[Litestar]]:
    with TestClient(application) as made:
        yield made


def test_whole_file_comes_with_its_length(client: TestClient[Litestar]) -> None:
    answer = client.get(FILE)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-299", 100, 299),
        ("bytes=255900-", 255900, 255999),
        ("bytes=255900-999999999", 255900, 255999),
        ("bytes=-10", 255990, 255999),
        ("bytes=-999999999", 0, 255999),
    ],
)
def test_range_comes_with_its_place(
    client: TestClient[Litestar], asked: str, first: int, last: int
) -> None:
    answer = client.get(FILE, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, DATA[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.headers["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize("asked", ["bytes=256000-", "bytes=256000-256001", "bytes=-0"])
def test_range_that_the_file_does_not_have_is_said(
    client: TestClient[Litestar], asked: str
) -> None:
    answer = client.get(FILE, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "asked", ["bytes=5-3", "bytes=-", "bytes=0-1,5-6", "lines=0-5", "nonsense", "bytes=a-b", ""]
)
def test_range_that_is_none_gets_the_whole_file(client: TestClient[Litestar], asked: str) -> None:
    assert client.get(FILE, headers={"Range": asked}).content == DATA


def test_range_of_a_version_that_we_do_not_name_gets_the_whole_file(
    client: TestClient[Litestar],
) -> None:
    answer = client.get(FILE, headers={"Range": "bytes=0-9", "If-Range": '"etag"'})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_empty_file_is_served(client: TestClient[Litestar]) -> None:
    answer = client.get("/repository/targets/empty")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "secret.pem",
        "targets",
        "targets/none",
        "targets/%2e%2e/secret.pem",
        "targets/..%2fsecret.pem",
        "%2fetc/passwd",
        "targets/a%00b",
        "",
    ],
)
def test_other_files_are_not_there(client: TestClient[Litestar], path: str) -> None:
    assert client.get(f"/repository/{path}").status_code == 404


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=20) | st.from_regex(r"bytes=\d{0,3}-\d{0,3}"), st.integers(0, 300))
def test_span_is_always_within_the_file(header: str, total: int) -> None:
    span = asked_span(header, total)
    if span is not None and span != Span(0, -1):
        assert 0 <= span.first <= span.last < total


def test_device_fetches_a_bundle_from_the_server(application: Litestar, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        part = PartFile(tmp_path / "part", len(DATA), leaf_hashes(DATA, 4096), 4096)
        assert part.write(3, DATA[3 * 4096 : 4 * 4096])
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/repository"
        counts = list(Mirror(address, lambda: None).fetch_part("targets/bundles/a.ekb", part))
        assert (counts[0], counts[-1]) == (2, len(part.leaves))
        assert part.read() == DATA
        part.close()
        server.should_exit = True
        thread.join()
