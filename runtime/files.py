"""Files that are whole or not there: atomic writes, and zip archives with one spelling."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace the file at `path` by `data`: a reader sees the old bytes or the new, never a part.

    Writes a temporary file in the same folder, syncs it, renames it over `path` and syncs the
    folder, so that the new bytes also survive a power cut once this returns.

    Raises:
        OSError: the folder is missing or cannot be written; its `filename` is `path`, and nothing
            is left behind.
    """
    try:
        _write_and_rename(path, data, mode)
    except OSError as error:
        error.filename = str(path)  # the temporary name helps nobody
        raise
    sync_folder(path.parent)


def _write_and_rename(path: Path, data: bytes, mode: int) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def remove_parts(path: Path) -> None:
    """Remove what writes of `path` that a power cut ended have left behind.

    Raises:
        OSError: they cannot be removed.
    """
    for part in path.parent.glob(f".{path.name}.*.part"):
        part.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Make everything below `folder` durable, which others wrote without syncing it.

    Raises:
        OSError: a file cannot be synced.
    """
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Make a folder whose name survives a power cut; does nothing where it is.

    Raises:
        OSError: it cannot be made.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable; does nothing where folders cannot sync."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stored_zip(members: Mapping[str, bytes]) -> bytes:
    """A zip of `members` that depends on nothing but them.

    Uncompressed, sorted by name, fixed time, mode and system, no extra fields: the same members
    give the same bytes on every machine.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix everywhere
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()
