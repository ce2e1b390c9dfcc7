"""Blocks over HTTP from servers that are honest, simple, slow, broken or hostile."""

from __future__ import annotations

import contextlib
import http.server
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekiln.runtime import mirror as mirror_module
from edgekiln.runtime.errors import AbsentFileError, MirrorError, TransferError
from edgekiln.runtime.http_client import HttpClient
from edgekiln.runtime.merkle import leaf_hashes
from edgekiln.runtime.mirror import Mirror, fetch_part
from edgekiln.runtime.protocol import Block, GetRequest
from edgekiln.runtime.transfer import PartFile, Transfer

SIZE = 4096
DATA = random.Random(9).randbytes(SIZE * 20 + 77)
LEAVES = leaf_hashes(DATA, SIZE)
PATH = "targets/bundles/a b.ekb"

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server:
    """A web server whose answer to each request a test writes; `asked` is what it heard."""

    def __init__(self) -> None:
        self.answer: Answer = ranged
        self.asked: list[tuple[str, str]] = []
        self.stop = threading.Event()
        self.connections = 0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                owner.connections += 1
                super().setup()

            def do_GET(self) -> None:
                owner.asked.append((self.path, self.headers.get("Range", "")))
                with contextlib.suppress(OSError):
                    owner.answer(self)

            def log_message(self, *_: object) -> None:
                return

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                return

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.stop.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def reply(handler: Any, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    headers.setdefault("Content_Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def asked_range(handler: Any) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"])
    assert found is not None
    return int(found[1]), int(found[2])


def ranged(handler: Any) -> None:
    first, last = asked_range(handler)
    told = f"bytes {first}-{last}/{len(DATA)}"
    reply(handler, 206, DATA[first : last + 1], Content_Range=told)


def whole(handler: Any) -> None:
    reply(handler, 200, DATA)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "REST_S", 0.01)
    monkeypatch.setattr(mirror_module, "POLL_S", 0.01)


@pytest.fixture
def part(tmp_path: Path) -> Iterator[PartFile]:
    made = PartFile(tmp_path / "part", len(DATA), LEAVES, SIZE)
    yield made
    made.close()


def put(part: PartFile, *indices: int) -> None:
    for index in indices:
        assert part.write(index, DATA[index * SIZE : (index + 1) * SIZE])


def fetch(server: Server, part: PartFile, **options: Any) -> list[int]:
    return list(Mirror(f"{server.url}/", lambda: None, **options).fetch_part(PATH, part))


def test_whole_bundle_comes_in_one_request(server: Server, part: PartFile) -> None:
    assert fetch(server, part) == list(range(1, 22))
    assert part.read() == DATA
    assert server.asked == [("/targets/bundles/a%20b.ekb", f"bytes=0-{len(DATA) - 1}")]


def test_only_missing_blocks_are_asked_for_over_one_connection(
    server: Server, part: PartFile
) -> None:
    put(part, 0, 1, 5, 20)
    fetch(server, part)
    assert part.read() == DATA
    spans = [(2, 4), (6, 19)]
    assert [asked for _, asked in server.asked] == [
        f"bytes={first * SIZE}-{(last + 1) * SIZE - 1}" for first, last in spans
    ]
    assert server.connections == 1


def test_server_without_ranges_is_read_once_for_what_is_missing(
    server: Server, part: PartFile
) -> None:
    server.answer = whole
    put(part, 0, 7)
    assert fetch(server, part)[-1] == 21
    assert part.read() == DATA
    assert len(server.asked) == 1


def test_server_that_cuts_connections_is_asked_for_the_rest(server: Server, part: PartFile) -> None:
    def cutting(handler: Any) -> None:
        first, last = asked_range(handler)
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        handler.send_header("Content-Length", str(last + 1 - first))
        handler.end_headers()
        handler.wfile.write(DATA[first : min(last + 1, first + 3 * SIZE + 100)])
        handler.close_connection = True

    server.answer = cutting
    fetch(server, part)
    assert part.read() == DATA
    firsts = [int(asked.split("=")[1].split("-")[0]) for _, asked in server.asked]
    assert firsts == [number * 3 * SIZE for number in range(7)]


WRONG = {
    "another_range": lambda h: reply(
        h, 206, DATA[SIZE:], Content_Range=f"bytes {SIZE}-{len(DATA) - 1}/{len(DATA)}"
    ),
    "another_length": lambda h: reply(
        h, 206, DATA, Content_Range=f"bytes 0-{len(DATA) - 1}/{len(DATA) + 1}"
    ),
    "no_range_told": lambda h: reply(h, 206, DATA),
    "several_ranges": lambda h: reply(
        h, 206, b"--x\r\n", Content_Type="multipart/byteranges; boundary=x"
    ),
    "longer_range": lambda h: reply(h, 206, DATA, Content_Range="bytes 0-99999999/99999999"),
    "huge_numbers": lambda h: reply(h, 206, DATA, Content_Range=f"bytes 0-{'9' * 4000}/*"),
    "another_file": lambda h: reply(h, 200, DATA[:-1]),
    "other_bytes": lambda h: reply(h, 200, DATA[::-1]),
    "compressed": lambda h: reply(h, 200, DATA, Content_Encoding="gzip"),
    "not_there": lambda h: reply(h, 404),
    "forbidden": lambda h: reply(h, 403),
    "no_such_range": lambda h: reply(h, 416, Content_Range=f"bytes */{len(DATA)}"),
    "empty_success": lambda h: reply(h, 204),
    "page": lambda h: reply(h, 200, b"<html>log in</html>"),
    "redirect_to_nowhere": lambda h: reply(h, 302, Location="ftp://example/x"),
    "redirect_without_end": lambda h: reply(h, 302, Location="/again"),
    "come_back_tomorrow": lambda h: reply(h, 503, Retry_After="86400"),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
def test_server_that_does_not_serve_the_file_is_left_at_once(
    server: Server, part: PartFile, answer: Answer
) -> None:
    server.answer = answer
    with pytest.raises(MirrorError) as caught:
        fetch(server, part)
    assert "\n" not in str(caught.value)
    assert len(server.asked) <= 4
    assert part.have == 0


FAILING = {
    "fault": lambda h: reply(h, 500),
    "busy": lambda h: reply(h, 503, Retry_After="0"),
    "busy_by_date": lambda h: reply(h, 503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "too_many": lambda h: reply(h, 429, Retry_After="nonsense"),
    "nothing": lambda h: h.connection.close(),
    "no_http": lambda h: h.wfile.write(b"SSH-2.0-OpenSSH\r\n"),
    "endless_head": lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200),
    "half": lambda h: (
        h.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA)),
        h.connection.close(),
    ),
}


@pytest.mark.parametrize("answer", FAILING.values(), ids=FAILING.keys())
def test_server_that_fails_is_left_and_asked_again_only_where_it_spoke(
    server: Server, part: PartFile, answer: Answer
) -> None:
    def failing(handler: Any) -> None:
        handler.close_connection = True
        answer(handler)

    server.answer = failing
    with pytest.raises(MirrorError) as caught:
        fetch(server, part)
    assert len(server.asked) == (3 if caught.value.status else 1)


def test_server_that_comes_back_in_time_is_used(server: Server, part: PartFile) -> None:
    def later(handler: Any) -> None:
        if len(server.asked) < 3:
            reply(handler, 503, Retry_After="0")
        else:
            ranged(handler)

    server.answer = later
    fetch(server, part)
    assert part.read() == DATA


def test_redirect_is_followed(server: Server, part: PartFile) -> None:
    def moved(handler: Any) -> None:
        if handler.path.startswith("/targets"):
            reply(handler, 307, Location=f"{server.url}/elsewhere?x=1#y")
        else:
            assert handler.path == "/elsewhere?x=1"
            ranged(handler)

    server.answer = moved
    fetch(server, part)
    assert part.read() == DATA


@pytest.mark.parametrize("head_too", [False, True])
def test_server_that_drips_is_left_when_no_block_comes_in_time(
    server: Server, part: PartFile, head_too: bool
) -> None:
    def dripping(handler: Any) -> None:
        if not head_too:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA))
        while not server.stop.wait(0.005):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    server.answer = dripping
    started = time.monotonic()
    with pytest.raises(MirrorError, match="too slow"):
        fetch(server, part, block_timeout_s=0.05)
    assert time.monotonic() - started < 5.0
    names = [thread.name for thread in threading.enumerate()]
    deadline = time.monotonic() + 5.0
    while "edgekiln-mirror" in names and time.monotonic() < deadline:
        names = [thread.name for thread in threading.enumerate()]
    assert "edgekiln-mirror" not in names


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:1", "ftp://127.0.0.1", "nonsense", "http://", "http://[::1", "http://x y/"],
)
def test_address_that_leads_nowhere_is_an_error_of_one_line(part: PartFile, address: str) -> None:
    with pytest.raises(MirrorError) as caught:
        list(Mirror(address, lambda: None).fetch_part(PATH, part))
    assert "\n" not in str(caught.value)


def test_agent_can_end_the_transfer_while_the_server_is_slow(
    server: Server, part: PartFile
) -> None:
    server.answer = lambda handler: server.stop.wait(30) or None

    def superseded() -> None:
        raise TransferError("superseded")

    with pytest.raises(TransferError, match="superseded"):
        list(Mirror(server.url, superseded).fetch_part(PATH, part))


def test_nothing_is_asked_for_when_the_end_came_during_the_look_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, look_up = HttpClient(), socket.getaddrinfo

    def slow(*of: Any, **how: Any) -> Any:
        client.abort()
        return look_up(*of, **how)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(MirrorError, match="took too long"):
        client.get(f"{server.url}/bundle")
    assert server.asked == []


def test_wrong_block_from_a_mirror_is_not_written(server: Server, part: PartFile) -> None:
    spoiled = bytearray(DATA)
    spoiled[3 * SIZE + 1] ^= 1
    server.answer = lambda handler: reply(handler, 200, bytes(spoiled))
    with pytest.raises(MirrorError, match="block 3 is not the signed one"):
        fetch(server, part)
    assert part.have == 3


# Over to the message link -------------------------------------------------------------------------


class Wire:
    """Answers over the message link, and counts."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.transfer = Transfer(self._ask, lambda: str(len(self.asked)) + "q")

    def _ask(self, request: GetRequest) -> bool:
        base = Block(
            request_id=request.request_id, path=request.path, index=0, total_bytes=0, data=b""
        )
        if request.count == 0:
            self.transfer.receive(base)
        for index in range(request.first, request.first + request.count):
            self.asked.append(index)
            data = DATA[index * SIZE : (index + 1) * SIZE]
            self.transfer.receive(
                Block(
                    request_id=request.request_id,
                    path=request.path,
                    index=index,
                    total_bytes=len(DATA),
                    data=data,
                )
            )
        return True


def test_mirror_is_used_and_the_link_is_not(server: Server, part: PartFile) -> None:
    wire = Wire()
    list(fetch_part(wire.transfer, (server.url,), PATH, part))
    assert part.read() == DATA
    assert wire.asked == []


def test_link_brings_what_mirrors_do_not_and_no_more(server: Server, part: PartFile) -> None:
    spoiled = DATA[: 6 * SIZE] + b"x" * (len(DATA) - 6 * SIZE)
    server.answer = lambda handler: reply(handler, 200, spoiled)
    wire = Wire()
    mirrors = ("http://127.0.0.1:1", server.url)
    assert list(fetch_part(wire.transfer, mirrors, PATH, part)) == list(range(1, 22))
    assert part.read() == DATA
    assert sorted(wire.asked) == list(range(6, 21))


def test_number_of_mirrors_is_bounded(server: Server, part: PartFile) -> None:
    server.answer = lambda handler: reply(handler, 404)
    wire = Wire()
    list(fetch_part(wire.transfer, (server.url,) * 50, PATH, part))
    assert len(server.asked) == 8
    assert part.read() == DATA


# TLS ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of localhost, signed by itself."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure(server: Server, certificate: Path) -> str:
    """The server's address over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    return f"https://localhost:{server.http.server_port}"


def trusting(certificate: Path) -> Callable[[], HttpClient]:
    return lambda: HttpClient(ssl.create_default_context(cafile=str(certificate)))


def test_certificate_that_is_trusted_is_taken(
    secure: str, certificate: Path, part: PartFile
) -> None:
    list(Mirror(secure, lambda: None, trusting(certificate)).fetch_part(PATH, part))
    assert part.read() == DATA


def test_certificate_of_a_stranger_is_refused(secure: str, part: PartFile) -> None:
    with pytest.raises(MirrorError, match=r"(?i)certificate"):
        list(Mirror(secure, lambda: None).fetch_part(PATH, part))


def test_certificate_of_another_name_is_refused(
    secure: str, certificate: Path, part: PartFile
) -> None:
    address = secure.replace("localhost", "127.0.0.1")
    with pytest.raises(MirrorError, match=r"(?i)certificate"):
        list(Mirror(address, lambda: None, trusting(certificate)).fetch_part(PATH, part))


def test_redirect_from_https_to_http_is_refused(
    server: Server, secure: str, certificate: Path, part: PartFile
) -> None:
    server.answer = lambda handler: reply(handler, 302, Location="http://127.0.0.1:1/x")
    with pytest.raises(MirrorError, match="from https to http"):
        list(Mirror(secure, lambda: None, trusting(certificate)).fetch_part(PATH, part))


# Small files --------------------------------------------------------------------------------------


def test_small_file_comes_whole_or_not_at_all(server: Server) -> None:
    client = HttpClient()
    server.answer = whole
    assert client.fetch_bytes(server.url, len(DATA)) == DATA
    with pytest.raises(MirrorError, match="larger"):
        client.fetch_bytes(server.url, len(DATA) - 1)
    server.answer = WRONG["not_there"]
    with pytest.raises(AbsentFileError):
        client.fetch_bytes(server.url, 100)

    def half(handler: Any) -> None:
        handler.close_connection = True
        FAILING["half"](handler)

    server.answer = half
    with pytest.raises(MirrorError):
        client.fetch_bytes(server.url, len(DATA))
    client.close()


def test_small_file_that_drips_ends_at_its_time(server: Server) -> None:
    def dripping(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        while not server.stop.wait(0.005):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    server.answer = dripping
    client = HttpClient()
    with pytest.raises(MirrorError):
        client.fetch_bytes(server.url, 1 << 20, total_s=0.1)
    client.close()


def test_kept_connection_that_the_server_closed_is_opened_again(server: Server) -> None:
    client = HttpClient()

    def once(handler: Any) -> None:
        whole(handler)
        handler.close_connection = True

    server.answer = once
    for _ in range(3):
        assert client.fetch_bytes(server.url, len(DATA)) == DATA
    client.close()


def test_rollout_that_names_a_mirror_is_fetched_from_there(world: Any, server: Server) -> None:
    world.boot()
    release = world.repository.add(b'{"name": "good", "filler": "' + b"x" * 900 + b'"}')
    data = world.repository.files[f"targets/bundles/{release}.ekb"]
    server.answer = lambda handler: reply(handler, 200, data)
    world.tell(world.document(release, mirrors=(server.url,)))
    world.settle()
    assert world.models.running == release
    assert [path for path, _ in server.asked] == [f"/targets/bundles/{release}.ekb"]
    assert not [ask for ask in world.asked if ask.path.endswith(".ekb")]
