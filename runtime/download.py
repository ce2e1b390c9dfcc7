"""Releases under download: one part file and one list of block hashes each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .errors import TrustError
from .files import make_folder, sync_folder, write_atomic
from .merkle import HASH_BYTES, decode_leaves
from .record import ReleaseInfo
from .transfer import PartFile, Transfer
from .trust import TARGETS_URL, check_file

DATA_SUFFIX = ".download"
LEAVES_SUFFIX = ".leaves"

Progress = Callable[[int, int], None]  # good blocks on disk, all blocks


class Downloads:
    """Files under way in `folder`; what is good there survives restarts."""

    def __init__(self, folder: Path, transfer: Transfer) -> None:
        self._folder = folder
        self._transfer = transfer

    def fetch(self, release: ReleaseInfo, progress: Progress) -> None:
        """Get what is missing; afterwards the whole verified file is on disk.

        Raises:
            TransferError: blocks do not come now.
            TrustError: the list of hashes or the whole file is not the signed one.
            OSError: the disk is full or cannot be written.
        """
        make_folder(self._folder)
        leaves = self._leaves(release)
        part = self._open(release, leaves)
        try:
            progress(part.have, len(leaves))
            for have in self._transfer.fetch_part(TARGETS_URL + release.target_path, part):
                progress(have, len(leaves))
            check_file(release.bytes, release.sha256, part.read())
            part.sync()
            sync_folder(self._folder)  # the journal is about to build on the file's name
        finally:
            part.close()

    def read(self, release: ReleaseInfo) -> bytes:
        """The whole verified file.

        Raises:
            TrustError: it is not on disk, or not as it was verified.
        """
        try:
            data = self._path(release, DATA_SUFFIX).read_bytes()
        except FileNotFoundError as error:
            raise TrustError("the download is gone") from error
        check_file(release.bytes, release.sha256, data)
        return data

    def blocks_on_disk(self, release: ReleaseInfo | None) -> int:
        """Good blocks of a release that is being fetched."""
        if release is None:
            return 0
        try:
            leaves = self._known_leaves(release)
            if leaves is None:
                return 0
            part = self._open(release, leaves)
        except (TrustError, OSError):
            return 0
        part.close()
        return part.have

    def drop_all(self) -> None:
        """Remove everything under way."""
        for suffix in (DATA_SUFFIX, LEAVES_SUFFIX):
            for path in self._folder.glob(f"*{suffix}"):
                path.unlink(missing_ok=True)

    def _leaves(self, release: ReleaseInfo) -> tuple[bytes, ...]:
        try:
            known = self._known_leaves(release)
        except TrustError:
            known = None
        if known is not None:
            return known
        count = _block_count(release)
        data = self._transfer.fetch_bytes(TARGETS_URL + release.leaves_path, count * HASH_BYTES)
        leaves = decode_leaves(data, bytes.fromhex(release.merkle_root), count)
        write_atomic(self._path(release, LEAVES_SUFFIX), data)
        return leaves

    def _known_leaves(self, release: ReleaseInfo) -> tuple[bytes, ...] | None:
        path = self._path(release, LEAVES_SUFFIX)
        if not path.is_file():
            return None
        root = bytes.fromhex(release.merkle_root)
        return decode_leaves(path.read_bytes(), root, _block_count(release))

    def _open(self, release: ReleaseInfo, leaves: tuple[bytes, ...]) -> PartFile:
        path = self._path(release, DATA_SUFFIX)
        return PartFile(path, release.bytes, leaves, release.block_bytes)

    def _path(self, release: ReleaseInfo, suffix: str) -> Path:
        return self._folder / f"{release.bundle_id}{suffix}"


def _block_count(release: ReleaseInfo) -> int:
    return -(-release.bytes // release.block_bytes)
