"""Every change of files that this process makes below a folder, in order, seen below Python.

The process must have been started with `crash_shim.c` preloaded: `run_watched` does so. Single
threaded: what two threads do at once is recorded as it happens to come.
"""

from __future__ import annotations

import ctypes
import enum
import hashlib
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("crash_shim.c")
VARIABLE = "EDGEKILN_CRASH_SHIM"
FOREVER = 1 << 60
MEMORY = Path("/dev/shm")
_HEAD = struct.Struct("=BiqII")


class Kind(enum.IntEnum):
    """Kinds of records, as in `crash_shim.c`."""

    OPEN = 1
    CLOSE = 2
    WRITE = 3
    TRUNCATE = 4
    RENAME = 5
    UNLINK = 6
    MKDIR = 7
    SYMLINK = 8
    FSYNC = 9
    RMDIR = 10
    MARK = 11


@dataclass(frozen=True, slots=True)
class Change:
    """One record: `first` is a path or a mark, `second` data or the other path."""

    kind: Kind
    handle: int
    offset: int  # of a write; the size of a truncation; 1 new + 2 emptied of an opening
    first: bytes
    second: bytes


def run_watched(module: str, arguments: Sequence[str], timeout_s: float) -> str:
    """Run `python -m module` with the shim preloaded; its stdout.

    Raises:
        subprocess.CalledProcessError: it failed; its stderr went to ours.
    """
    shim = build_shim()
    environment = {**os.environ, "LD_PRELOAD": str(shim), VARIABLE: str(shim)}
    if MEMORY.is_dir():
        environment["TMPDIR"] = str(MEMORY)  # thousands of small folders
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        cwd=SOURCE.parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_s,
        check=True,
    )
    return done.stdout


def build_shim() -> Path:
    """The compiled shim, in the system's folder for temporary files; built once per source."""
    source = SOURCE.read_bytes()
    name = f"edgekiln-crash-{os.getuid()}-{hashlib.sha256(source).hexdigest()[:16]}.so"
    path = Path(tempfile.gettempdir()) / name
    if not path.exists():
        part = path.with_name(f"{name}.{os.getpid()}")
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(part), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        part.replace(path)
    return path


class Watch:
    """The preloaded shim of this process.

    Raises:
        RuntimeError: the process was not started by `run_watched`.
    """

    def __init__(self) -> None:
        shim = os.environ.get(VARIABLE)
        if not shim:
            raise RuntimeError("this needs the shim preloaded: start it by `run_watched`")
        self._shim = ctypes.CDLL(shim)
        self._shim.crash_size.restype = ctypes.c_size_t
        self._shim.crash_data.restype = ctypes.c_void_p
        self._shim.crash_changes.restype = ctypes.c_long
        self._shim.crash_fail.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_int)
        self._shim.crash_mark.argtypes = (ctypes.c_char_p, ctypes.c_size_t)

    @contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        """Record what happens below `folder`; an earlier recording is dropped."""
        self._shim.crash_watch(os.fsencode(folder.resolve()))
        try:
            yield
        finally:
            self._shim.crash_unwatch()

    def mark(self, data: bytes) -> None:
        """Put something of one's own between the records."""
        self._shim.crash_mark(data, len(data))

    def fail(self, first: int, number: int, last: int = FOREVER) -> None:
        """Let changes `first` to `last` (counted from 1) fail with an errno."""
        self._shim.crash_fail(first, last, number)

    def mend(self) -> None:
        """Let nothing fail any more."""
        self._shim.crash_fail(0, 0, 0)

    @property
    def changes(self) -> int:
        """Changes that were tried so far."""
        return int(self._shim.crash_changes())

    def recording(self) -> tuple[Change, ...]:
        """What was recorded."""
        size = self._shim.crash_size()
        data = ctypes.string_at(self._shim.crash_data(), size) if size else b""
        return tuple(_decode(data))


def _decode(data: bytes) -> Iterator[Change]:
    at = 0
    while at < len(data):
        kind, handle, offset, first, second = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield Change(
            Kind(kind),
            handle,
            offset,
            data[at : at + first],
            data[at + first : at + first + second],
        )
        at += first + second
