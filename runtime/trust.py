"""What may be installed: the TUF client, fed through our own link.

python-tuf's `ngclient` does the whole client workflow (root rotation, rollback, freeze and
mix-and-match checks); this module gives it a fetcher and reads our custom fields from the target
it has verified. Stale or wrong metadata is a `TrustError`: it stops installs, never inference.
"""

from __future__ import annotations

import re
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import msgspec
from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import (  # type: ignore[attr-defined]  # tuf re-exports them plainly
    Metadata,
    TargetFile,
)
from tuf.ngclient import Updater  # type: ignore[attr-defined]

from .errors import AbsentFileError, StaleMetadataError, TransferError, TrustError
from .files import make_folder, sync_tree
from .protocol import BLOCK_BYTES
from .record import DeltaInfo, ReleaseInfo
from .tuf_lookup import FetchBytes, updater_for_one_lookup

CUSTOM_KEY = "edgekiln"
METADATA_URL = "metadata/"
TARGETS_URL = "targets/"
MAX_FACTORY_BYTES = 256 << 20

_HEX_64 = re.compile(r"[0-9a-f]{64}")


class TargetCustom(msgspec.Struct, frozen=True):
    """Our fields of a TUF target, under the key `edgekiln`."""

    bundle_id: str
    merkle_root: str
    leaves_path: str
    security_counter: int
    targets: tuple[str, ...]
    ram_bytes: dict[str, int] = {}
    flash_bytes: dict[str, int] = {}
    block_bytes: int = BLOCK_BYTES
    deltas: tuple[DeltaInfo, ...] = ()


class Trust:
    """The TUF view of a device: `cache` keeps what was verified, `root` is what it came with."""

    def __init__(self, cache: Path, root: bytes) -> None:
        self._cache = cache
        self._root = root

    def find(self, target_path: str, fetch_bytes: FetchBytes) -> ReleaseInfo:
        """Refresh all metadata and read what it says about a target.

        Raises:
            TransferError: the metadata does not come now.
            StaleMetadataError: it has expired; a fresh signature mends that.
            TrustError: it does not verify, is rolled back, or lacks the target.
        """
        try:
            make_folder(self._cache)
            for path in self._cache.glob("tmp*"):  # python-tuf's, where a power cut ended a write
                path.unlink(missing_ok=True)
            target = _find(self._updater(self._cache, fetch_bytes), target_path)
            sync_tree(self._cache)  # what was seen may not be unseen after a power cut
        except OSError as error:
            raise TransferError(f"metadata cannot be kept: {error.strerror}") from error
        return _release(target, target_path)

    def verify_factory(self, folder: Path) -> tuple[ReleaseInfo, bytes]:
        """The release that the device was made with, and its bytes, both verified.

        A device may lie in a box for a year before its first start, so expiry is judged at the
        time the factory's metadata was still fresh; and it may fall back to this release after
        years of newer metadata, so nothing is compared with the cache. Signatures, versions among
        each other and hashes are checked as ever, from the root that the device came with.

        Raises:
            TrustError: the factory's files do not verify.
        """

        def fetch(path: str, max_bytes: int) -> bytes:
            return _read_file(folder, path, max_bytes)

        path = _only_bundle(folder)
        with tempfile.TemporaryDirectory() as cache:
            updater = self._updater(Path(cache), fetch)
            updater._trusted_set.reference_time = _still_fresh(folder)
            target = _find(updater, path)
        try:
            data = fetch(TARGETS_URL + path, MAX_FACTORY_BYTES)
        except TransferError as error:
            raise TrustError(str(error)) from error
        check_file(target.length, target.hashes["sha256"], data)
        return _release(target, path), data

    def _updater(self, cache: Path, fetch_bytes: FetchBytes) -> Updater:
        def fetch(url: str, max_bytes: int) -> bytes:
            return fetch_bytes(unquote(url), max_bytes)

        try:
            return updater_for_one_lookup(cache, self._root, METADATA_URL, fetch)
        except RepositoryError as error:
            raise TrustError(f"trust/root.json cannot be used: {_line(error)}") from error


def check_file(length: int, sha256: str, data: bytes) -> None:
    """Compare a whole file with what the signed target says of it.

    Raises:
        TrustError: length or hash differ.
    """
    target = TargetFile(length, {"sha256": sha256}, "bundle")
    try:
        target.verify_length_and_hashes(data)
    except RepositoryError as error:
        raise TrustError(f"the bundle is not the signed one: {_line(error)}") from error


def _find(updater: Updater, target_path: str) -> TargetFile:
    try:
        target = updater.get_targetinfo(target_path)
    except DownloadError as error:
        raise TransferError(f"metadata cannot be fetched: {_line(error)}") from error
    except ExpiredMetadataError as error:
        raise StaleMetadataError(f"metadata is stale: {_line(error)}") from error
    except RepositoryError as error:
        raise TrustError(f"metadata is not trusted: {_line(error)}") from error
    except OSError as error:
        raise TransferError(f"metadata cannot be kept: {error.strerror}") from error
    if target is None:
        raise TrustError(f"the signed metadata knows no target '{target_path}'")
    if "sha256" not in target.hashes:
        raise TrustError(f"target '{target_path}' is signed without a sha256")
    return target


def _release(target: TargetFile, target_path: str) -> ReleaseInfo:
    try:
        custom = msgspec.convert((target.custom or {}).get(CUSTOM_KEY), TargetCustom)
    except msgspec.ValidationError as error:
        raise TrustError(f"target '{target_path}' is no Edgekiln release: {error}") from error
    if custom.block_bytes < 1 or not _HEX_64.fullmatch(custom.merkle_root):
        raise TrustError(f"target '{target_path}' is signed without a usable Merkle root")
    if not _HEX_64.fullmatch(custom.bundle_id):
        raise TrustError(f"target '{target_path}' is signed without a usable bundle id")
    return ReleaseInfo(
        target_path=target_path,
        bundle_id=custom.bundle_id,
        bytes=target.length,
        sha256=target.hashes["sha256"],
        merkle_root=custom.merkle_root,
        leaves_path=custom.leaves_path,
        block_bytes=custom.block_bytes,
        security_counter=custom.security_counter,
        targets=custom.targets,
        ram_bytes=custom.ram_bytes,
        flash_bytes=custom.flash_bytes,
        deltas=tuple(delta for delta in custom.deltas if _usable(delta)),
    )


def _usable(delta: DeltaInfo) -> bool:
    """Whether a delta's digests are some and its sizes possible; the release stands without it."""
    digests = (delta.base_id, delta.base_sha256, delta.sha256, delta.merkle_root)
    sizes = (delta.base_bytes, delta.bytes)
    return all(map(_HEX_64.fullmatch, digests)) and min(sizes) > 0 and delta.working_bytes >= 0


def _read_file(folder: Path, path: str, max_bytes: int) -> bytes:
    file = folder / path
    if not file.is_file():
        raise AbsentFileError(f"'{path}' is not there")
    if file.stat().st_size > max_bytes:
        raise TransferError(f"'{path}' is larger than {max_bytes} bytes")
    return file.read_bytes()


def _only_bundle(folder: Path) -> str:
    targets = folder / TARGETS_URL
    found = sorted(path.relative_to(targets).as_posix() for path in targets.rglob("*.ekb"))
    if len(found) != 1:
        raise TrustError(f"factory/targets holds {len(found)} bundles instead of one")
    return found[0]


def _still_fresh(folder: Path) -> datetime:
    """A moment before the first expiry in the factory's metadata; its signatures come later."""
    try:
        files = sorted((folder / METADATA_URL).glob("*.json"))
        expiries = [Metadata.from_bytes(path.read_bytes()).signed.expires for path in files]
    except (RepositoryError, OSError) as error:
        raise TrustError(f"factory/metadata cannot be read: {_line(error)}") from error
    if not expiries:
        raise TrustError("factory/metadata is empty: enrol the device again")
    return min(expiries) - timedelta(seconds=1)


def _line(error: BaseException) -> str:
    """An error in one line, with what our own link said where python-tuf wrapped it."""
    cause = error.__cause__
    text = str(cause) if isinstance(cause, TransferError) else str(error)
    return " ".join(text.split()) or type(error).__name__
