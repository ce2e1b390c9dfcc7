from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.fleet.blocks import BlockServer, answer, resolve
from edgekiln.runtime.protocol import Block, GetRequest, Topics, decode, encode

DATA = bytes(range(256)) * 40


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "targets" / "bundles").mkdir(parents=True)
    (root / "metadata").mkdir()
    (root / "targets" / "bundles" / "a.ekb").write_bytes(DATA)
    (root / "targets" / "empty").write_bytes(b"")
    (root / "targets" / ".a.ekb.part").write_bytes(b"half")
    (root / "metadata" / "timestamp.json").write_bytes(b"{}")
    (root / "secret.pem").write_bytes(b"key")
    (tmp_path / "outside").write_bytes(b"key")
    (root / "targets" / "link").symlink_to(tmp_path / "outside")
    return root


def ask(path: str, first: int = 0, count: int = 8, block_bytes: int = 1000) -> GetRequest:
    return GetRequest(request_id="q", path=path, first=first, count=count, block_bytes=block_bytes)


def test_windows_together_are_the_file(repository: Path) -> None:
    got = b""
    while len(got) < len(DATA):
        blocks = list(answer(repository, ask("targets/bundles/a.ekb", len(got) // 1000, 3)))
        assert len(blocks) <= 3
        assert all(block.total_bytes == len(DATA) and not block.error for block in blocks)
        got += b"".join(block.data for block in blocks)
    assert got == DATA


def test_window_is_bounded(repository: Path) -> None:
    blocks = list(answer(repository, ask("targets/bundles/a.ekb", 0, 10**9, 1)))
    assert len(blocks) == 64


def test_empty_file_is_one_empty_block(repository: Path) -> None:
    (block,) = answer(repository, ask("targets/empty"))
    assert (block.data, block.total_bytes, block.error) == (b"", 0, "")


@pytest.mark.parametrize(
    "path",
    [
        "secret.pem",
        "targets",
        "targets/../secret.pem",
        "targets/bundles/../../secret.pem",
        "/targets/bundles/a.ekb",
        "targets/.a.ekb.part",
        "targets/link",
        "targets/none",
        "targets/a\0b",
        "",
        "../outside",
        "metadata/" + "x" * 5000,
    ],
)
def test_everything_else_is_not_found(repository: Path, path: str) -> None:
    (block,) = answer(repository, ask(path))
    assert (block.error, block.data) == ("not_found", b"")


@given(st.text(max_size=30))
def test_resolve_never_leaves_the_two_folders(path: str) -> None:
    root = Path(__file__).parent.parent
    assert resolve(root, path) is None


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (ask("targets/bundles/a.ekb", 11), "out_of_range"),
        (ask("targets/bundles/a.ekb", -1), "bad_request"),
        (ask("targets/bundles/a.ekb", 0, 0), "bad_request"),
        (ask("targets/bundles/a.ekb", 0, 1, 0), "bad_request"),
        (ask("targets/bundles/a.ekb", 0, 1, 1 << 30), "bad_request"),
    ],
)
def test_senseless_request_gets_an_error(
    repository: Path, request_: GetRequest, error: str
) -> None:
    (block,) = answer(repository, request_)
    assert block.error == error


class Offered:
    def __init__(self) -> None:
        self.messages: list[tuple[str, Block]] = []

    def offer(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, decode(payload, Block)))

    retain = confirm = offer


def test_blocks_go_to_the_device_that_asked(repository: Path) -> None:
    sent = Offered()
    server = BlockServer(repository, Topics("default"), sent)
    server.receive("a", b"nonsense")
    server.receive("a", encode(ask("metadata/timestamp.json")))
    assert server.step() == 0
    assert server.step() == 1
    ((topic, block),) = sent.messages
    assert topic == "edgekiln/v1/default/d/a/dn/block"
    assert (block.request_id, block.data) == ("q", b"{}")
