"""Target files: substituted, cut short, endless; and the program itself, over HTTP."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekiln.runtime import tuf_cli


def served(repository: Any, path: str, data: bytes) -> str:
    """Publish a target; the name of its file on the wire."""
    before = set(repository.files)
    repository.add(path, data)
    repository.publish_all()
    (name,) = (name for name in set(repository.files) - before if name.startswith("targets/"))
    return str(name)


@pytest.mark.parametrize("path", ["file", "a/b/c.bin", "with space", "per%cent"])
def test_target_arrives_under_one_name(repository: Any, client: Any, path: str) -> None:
    served(repository, path, b"data")
    assert client.download(path)
    assert client.content() == [b"data"]


@pytest.mark.parametrize(
    "change",
    [lambda data: data[::-1], lambda data: data[:-1], lambda data: data + b"x", lambda data: b""],
    ids=["other_bytes", "shorter", "longer", "empty"],
)
def test_target_that_is_not_the_signed_one_is_refused(
    repository: Any, client: Any, change: Any
) -> None:
    name = served(repository, "file", b"signed data")
    repository.files[name] = change(b"signed data")
    assert not client.download("file")
    assert client.content() == []


def test_endless_target_ends_at_its_signed_length(repository: Any, client: Any) -> None:
    name = served(repository, "file", b"12345678")
    repository.files[name] = b"1" * 10_000_000
    assert not client.download("file")
    assert "larger than 8 bytes" in str(client.error)


def test_target_on_disk_is_not_fetched_again(repository: Any, client: Any) -> None:
    name = served(repository, "file", b"data")
    assert client.download("file")
    assert client.download("file")
    assert name not in repository.asked


def test_substituted_target_does_not_replace_the_one_on_disk(repository: Any, client: Any) -> None:
    name = served(repository, "file", b"data")
    other = served(repository, "other", b"more")
    assert client.download("file")
    repository.files[name] = repository.files[other] = b"evil"
    client.download("file")
    assert not client.download("other")
    assert client.content() == [b"data"]


def test_new_version_replaces_the_old_one_in_its_place(repository: Any, client: Any) -> None:
    for data in (b"first", b"second", b"third"):
        served(repository, "file", data)
        assert client.download("file")
        assert client.content() == [data]


def test_target_that_was_changed_on_disk_is_fetched_again(repository: Any, client: Any) -> None:
    served(repository, "file", b"data")
    assert client.download("file")
    (client.targets / "file").write_bytes(b"evil")
    assert client.download("file")
    assert client.content() == [b"data"]


# The program -------------------------------------------------------------------------------------


@pytest.fixture
def address(repository: Any) -> Iterator[str]:
    """The repository behind a real HTTP server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = repository.files.get(self.path.lstrip("/"))
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def arguments(address: str, folder: Path) -> list[str]:
    return ["--metadata-dir", str(folder / "md"), "--metadata-url", f"{address}/metadata"]


def test_program_follows_the_protocol_of_the_public_suite(
    repository: Any, address: str, tmp_path: Path
) -> None:
    served(repository, "a/file", b"data")
    (tmp_path / "root.json").write_bytes(repository.trusted_root)
    base = arguments(address, tmp_path)
    init = ["--metadata-dir", str(tmp_path / "md"), "init", str(tmp_path / "root.json")]
    assert tuf_cli.main(init) == 0
    assert (tmp_path / "md" / "root.json").read_bytes() == repository.trusted_root
    assert tuf_cli.main([*base, "refresh"]) == 0
    assert {"root.json", "timestamp.json", "snapshot.json", "targets.json"} == {
        path.name for path in (tmp_path / "md").glob("*.json")
    }
    targets = ["--target-base-url", f"{address}/targets", "--target-dir", str(tmp_path / "out")]
    assert tuf_cli.main([*base, *targets, "--target-name", "a/file", "download"]) == 0
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [b"data"]
    assert tuf_cli.main([*base, *targets, "--target-name", "none", "download"]) == 1
    repository.files["metadata/timestamp.json"] = b"{}"
    assert tuf_cli.main([*base, "refresh"]) == 1


def test_program_says_in_one_line_what_is_wrong(
    repository: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root.json").write_bytes(repository.trusted_root)
    tuf_cli.init(tmp_path / "md", tmp_path / "root.json")
    assert tuf_cli.main([*arguments("http://127.0.0.1:1", tmp_path), "refresh"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("edgekiln: ")
    assert told.count("\n") == 1


@pytest.mark.slow
def test_program_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekiln.runtime.tuf_cli", "--metadata-dir", "x", "refresh"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert "--metadata-url" in done.stderr
