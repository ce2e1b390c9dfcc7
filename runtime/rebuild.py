"""A release rebuilt on the device: from a bundle that it holds and a delta that was fetched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from .delta import WORKING_BYTES, apply_delta
from .errors import DeltaError
from .files import sync_folder
from .record import DeltaInfo, ReleaseInfo
from .slots import SUFFIX, file_sha256

MOST_OF_FULL = 0.8  # of a release's bytes, that a delta may have to be worth its work
SERVE_EVERY = 32  # chunks between two calls of `serve`


def choose_delta(release: ReleaseInfo, slots: Path, memory_bytes: int) -> DeltaInfo | None:
    """The smallest signed delta that pays, fits into memory and whose base is in `slots`, unharmed.

    `memory_bytes` 0: not known, not checked.
    """
    for delta in sorted(release.deltas, key=lambda delta: delta.bytes):
        pays = delta.bytes <= MOST_OF_FULL * release.bytes
        fits = not memory_bytes or max(delta.working_bytes, WORKING_BYTES) <= memory_bytes
        if pays and fits and _holds(slots, delta):
            return delta
    return None


def rebuild(
    release: ReleaseInfo,
    delta: DeltaInfo,
    slots: Path,
    fetched: Path,
    out: Path,
    serve: Callable[[], None],
) -> None:
    """Apply the delta in the file `fetched`; afterwards `out` is the signed release, on disk.

    `serve` is called now and then; what it raises ends the work, which can begin again.

    Raises:
        DeltaError: base or delta are damaged, or what came out is not the signed release.
        OSError: a file cannot be read or written.
    """
    if file_sha256(fetched) != delta.sha256:
        raise DeltaError("the delta is not the signed one")
    handle = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(handle, "w+b") as target,
        base_path(slots, delta).open("rb") as base,
        fetched.open("rb") as source,
    ):
        sizes = (delta.base_bytes, release.bytes)
        apply_delta(base, source.read, target, sizes, _Pause(serve))
        target.flush()
        os.fsync(target.fileno())
    if file_sha256(out) != release.sha256:
        raise DeltaError("what the delta gave is not the signed release")
    sync_folder(out.parent)  # the journal is about to build on the file's name


def base_path(slots: Path, delta: DeltaInfo) -> Path:
    """Where the base of a delta is, if it is on this device."""
    return slots / f"{delta.base_id}{SUFFIX}"


def _holds(slots: Path, delta: DeltaInfo) -> bool:
    try:
        path = base_path(slots, delta)
        return path.stat().st_size == delta.base_bytes and file_sha256(path) == delta.base_sha256
    except OSError:
        return False


class _Pause:
    """Between chunks: gives the processor to whoever infers, and now and then serves."""

    def __init__(self, serve: Callable[[], None]) -> None:
        self._serve = serve
        self._chunks = 0

    def __call__(self) -> None:
        time.sleep(0)  # lets go of the interpreter's lock
        self._chunks += 1
        if self._chunks % SERVE_EVERY == 0:
            self._serve()
