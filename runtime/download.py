"""Releases under download: whole, or as a delta to a bundle that the device holds.

Each file has a part file and a list of block hashes. A delta is tried first where one pays; what
goes wrong with it leads to the whole file, and a whole file that was begun is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import AbsentFileError, DeltaError, TrustError
from .files import make_folder, sync_folder, write_atomic
from .merkle import HASH_BYTES, decode_leaves
from .mirror import fetch_part
from .rebuild import choose_delta, rebuild
from .record import DeltaInfo, ReleaseInfo
from .transfer import PartFile, Transfer
from .trust import TARGETS_URL, check_file

DATA_SUFFIX = ".download"
LEAVES_SUFFIX = ".leaves"

Progress = Callable[[int, int], None]  # good blocks on disk, all blocks


@dataclass(frozen=True, slots=True)
class _File:
    """A signed file of the repository and its name on this disk."""

    name: str
    path: str
    leaves_path: str
    bytes: int
    sha256: str
    merkle_root: str
    block_bytes: int
    mirrors: tuple[str, ...]

    @property
    def blocks(self) -> int:
        return -(-self.bytes // self.block_bytes)


class Downloads:
    """Files under way in `folder`, which also holds the bundles that deltas are to.

    What is good there survives restarts. `memory_bytes` is what a rebuild may take; 0: not known.
    """

    def __init__(self, folder: Path, transfer: Transfer, memory_bytes: int = 0) -> None:
        self._folder = folder
        self._transfer = transfer
        self._memory_bytes = memory_bytes

    def fetch(self, release: ReleaseInfo, progress: Progress) -> None:
        """Get what is missing; afterwards the whole verified file is on disk.

        Raises:
            TransferError: blocks do not come now.
            TrustError: the list of hashes or the whole file is not the signed one.
            OSError: the disk is full or cannot be written.
        """
        make_folder(self._folder)
        whole = _whole(release)
        begun = self._path(whole, LEAVES_SUFFIX).is_file()
        delta = None if begun else choose_delta(release, self._folder, self._memory_bytes)
        if delta is None or not self._rebuilt(release, delta, progress):
            self._get(whole, progress)
        sync_folder(self._folder)  # the journal is about to build on the file's name

    def read(self, release: ReleaseInfo) -> bytes:
        """The whole verified file.

        Raises:
            TrustError: it is not on disk, or not as it was verified.
        """
        try:
            data = self._path(_whole(release), DATA_SUFFIX).read_bytes()
        except FileNotFoundError as error:
            raise TrustError("the download is gone") from error
        check_file(release.bytes, release.sha256, data)
        return data

    def blocks_on_disk(self, release: ReleaseInfo | None) -> int:
        """Good blocks of a release that is being fetched, or of its delta."""
        return 0 if release is None else max(map(self._good_blocks, _files(release)))

    def drop_all(self) -> None:
        """Remove everything under way."""
        for suffix in (DATA_SUFFIX, LEAVES_SUFFIX):
            for path in self._folder.glob(f"*{suffix}"):
                path.unlink(missing_ok=True)

    def _rebuilt(self, release: ReleaseInfo, delta: DeltaInfo, progress: Progress) -> bool:
        """Fetch a delta and apply it; whether that gave the signed release."""
        file, whole = _delta(release, delta), _whole(release)
        try:
            self._get(file, progress)
            rebuild(
                release,
                delta,
                self._folder,
                self._path(file, DATA_SUFFIX),
                self._path(whole, DATA_SUFFIX),
                self._transfer.on_wait,
            )
        except (DeltaError, TrustError, AbsentFileError):
            return False
        return True

    def _get(self, file: _File, progress: Progress) -> None:
        leaves = self._leaves(file)
        part = self._open(file, leaves)
        try:
            progress(part.have, len(leaves))
            path = TARGETS_URL + file.path
            for have in fetch_part(self._transfer, file.mirrors, path, part):
                progress(have, len(leaves))
            check_file(file.bytes, file.sha256, part.read())
            part.sync()
        finally:
            part.close()

    def _good_blocks(self, file: _File) -> int:
        try:
            leaves = self._known_leaves(file)
            if leaves is None:
                return 0
            part = self._open(file, leaves)
        except (TrustError, OSError):
            return 0
        part.close()
        return part.have

    def _leaves(self, file: _File) -> tuple[bytes, ...]:
        try:
            known = self._known_leaves(file)
        except TrustError:
            known = None
        if known is not None:
            return known
        limit = file.blocks * HASH_BYTES
        data = self._transfer.fetch_bytes(TARGETS_URL + file.leaves_path, limit)
        leaves = decode_leaves(data, bytes.fromhex(file.merkle_root), file.blocks)
        write_atomic(self._path(file, LEAVES_SUFFIX), data)
        return leaves

    def _known_leaves(self, file: _File) -> tuple[bytes, ...] | None:
        path = self._path(file, LEAVES_SUFFIX)
        if not path.is_file():
            return None
        return decode_leaves(path.read_bytes(), bytes.fromhex(file.merkle_root), file.blocks)

    def _open(self, file: _File, leaves: tuple[bytes, ...]) -> PartFile:
        return PartFile(self._path(file, DATA_SUFFIX), file.bytes, leaves, file.block_bytes)

    def _path(self, file: _File, suffix: str) -> Path:
        return self._folder / f"{file.name}{suffix}"


def _files(release: ReleaseInfo) -> Iterator[_File]:
    yield _whole(release)
    for delta in release.deltas:
        yield _delta(release, delta)


def _whole(release: ReleaseInfo) -> _File:
    return _File(
        name=release.bundle_id,
        path=release.target_path,
        leaves_path=release.leaves_path,
        bytes=release.bytes,
        sha256=release.sha256,
        merkle_root=release.merkle_root,
        block_bytes=release.block_bytes,
        mirrors=release.mirrors,
    )


def _delta(release: ReleaseInfo, delta: DeltaInfo) -> _File:
    return _File(
        name=f"{release.bundle_id}.from-{delta.base_id}",
        path=delta.path,
        leaves_path=delta.leaves_path,
        bytes=delta.bytes,
        sha256=delta.sha256,
        merkle_root=delta.merkle_root,
        block_bytes=release.block_bytes,
        mirrors=release.mirrors,
    )
