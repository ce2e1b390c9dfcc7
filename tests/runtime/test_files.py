"""Atomic writes, and zips with one spelling."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.files import stored_zip, write_atomic


def test_write_atomic_replaces_the_file_and_sets_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    write_atomic(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_write_atomic_leaves_the_old_file_alone_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_write_atomic_raises_when_the_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "no" / "file", b"data")


@given(st.dictionaries(st.text("abc/.", min_size=1, max_size=8), st.binary(max_size=64)))
def test_stored_zip_is_read_back_by_the_standard_library(members: dict[str, bytes]) -> None:
    packed = stored_zip(members)
    assert packed == stored_zip(dict(reversed(members.items())))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert [info.filename for info in archive.infolist()] == sorted(members)
        assert {name: archive.read(name) for name in members} == members


def test_stored_zip_has_the_same_bytes_on_every_python() -> None:
    packed = stored_zip({"b": b"two", "a/c.txt": b"one"})
    digest = hashlib.sha256(packed).hexdigest()
    assert digest == "13ed6dc233d52deb6bd8372b6e40cc3ba3f6c77f5d0216c6db71b280d88103ff"
