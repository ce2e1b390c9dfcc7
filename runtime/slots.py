"""Bundle files on the device, each under its own id and never changed once written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from .files import write_atomic
from .record import Slot

SUFFIX = ".ekb"
_CHUNK_BYTES = 1 << 20


class SlotStore:
    """The folder `slots/`: one file a bundle, written atomically."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, slot: Slot) -> Path:
        """Where the slot's bundle is."""
        return self._folder / f"{slot.bundle_id}{SUFFIX}"

    def write(self, slot: Slot, data: bytes) -> None:
        """Put a verified bundle in place; a file of that name is replaced in one rename.

        Raises:
            OSError: the disk is full or cannot be written; no half file stays.
        """
        write_atomic(self.path(slot), data)

    def holds(self, slot: Slot) -> bool:
        """Whether the slot's file is there and still has the verified hash."""
        try:
            return file_sha256(self.path(slot)) == slot.sha256
        except OSError:
            return False

    def collect(self, keep: Iterable[Slot | None]) -> None:
        """Remove every bundle that no record names, and what a power cut left half written."""
        names = {self.path(slot).name for slot in keep if slot is not None}
        for path in (*self._folder.glob(f"*{SUFFIX}"), *self._folder.glob(".*.part")):
            if path.name not in names:
                path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
