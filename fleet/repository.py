"""The TUF repository: says which bundles exist. Root and targets are signed by offline keys.

Consistent snapshots are on for metadata (`3.targets.json`), target files keep plain names: a
bundle's name already holds its digest. A publication writes every new file first and the
timestamp last, so that a reader always finds a complete older or newer state.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (  # type: ignore[attr-defined]  # tuf re-exports them plainly
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edgekiln.runtime.files import write_atomic
from edgekiln.runtime.merkle import encode_leaves, leaf_hashes, merkle_root
from edgekiln.runtime.protocol import BLOCK_BYTES
from edgekiln.runtime.record import DeltaInfo

from .errors import FleetFolderError, ReleaseError
from .folder import FleetFolder

LIFETIME = {
    "root": timedelta(days=3650),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
CUSTOM_KEY = "edgekiln"

Role = TypeVar("Role", Root, Targets, Snapshot, Timestamp)


class TargetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the signed target says of a bundle, under the custom key `edgekiln`.

    A device reads it before the first byte of the bundle: which targets it holds an artifact
    for, what that artifact needs (bytes, per target), and the root that every block fits to.
    """

    bundle_id: str
    merkle_root: str
    leaves_path: str
    security_counter: int
    targets: tuple[str, ...]
    ram_bytes: Mapping[str, int]
    flash_bytes: Mapping[str, int]
    block_bytes: int = BLOCK_BYTES
    deltas: tuple[DeltaInfo, ...] = ()


def now_utc() -> datetime:
    """The wall clock in whole seconds, as TUF writes it."""
    return datetime.now(UTC).replace(microsecond=0)


def target_path(bundle_id: str) -> str:
    """TUF target path of a bundle, relative to `targets/`."""
    return f"bundles/{bundle_id}.ekb"


def create_repository(folder: FleetFolder, now: datetime | None = None) -> None:
    """Write the first version of all four roles."""
    now = now or now_utc()
    root = Root(expires=now + LIFETIME["root"], consistent_snapshot=True)
    for role in ("root", "targets", "snapshot", "timestamp"):
        root.add_key(_signer(folder, role).public_key, role)
    targets = Targets(expires=now + LIFETIME["targets"])
    (folder.repository / "targets" / "bundles").mkdir(parents=True)
    (folder.repository / "metadata").mkdir()
    _write(folder, "1.root.json", root)
    _write(folder, "1.targets.json", targets)
    _write(folder, "1.snapshot.json", Snapshot(expires=now + LIFETIME["snapshot"]))
    _write(folder, "timestamp.json", Timestamp(expires=now + LIFETIME["timestamp"]))


def add_target(
    folder: FleetFolder,
    data: bytes,
    bundle_id: str,
    security_counter: int,
    ram_bytes: Mapping[str, int],
    flash_bytes: Mapping[str, int],
    deltas: tuple[DeltaInfo, ...] = (),
    without_deltas: Collection[str] = (),
    now: datetime | None = None,
) -> TargetRecord:
    """Publish a bundle: file and leaf list, then targets, snapshot, timestamp.

    `ram_bytes` and `flash_bytes` have one entry per target that the bundle holds an artifact for.
    The files of `deltas` are in the repository already. Bundles `without_deltas`, by their ids,
    lose theirs: every device reads every target, and few still go to those.
    Publishing the same bundle twice writes it again and changes nothing else.
    """
    now = now or now_utc()
    path = target_path(bundle_id)
    leaves = leaf_hashes(data)
    record = TargetRecord(
        bundle_id=bundle_id,
        merkle_root=merkle_root(leaves).hex(),
        leaves_path=f"{path}.leaves",
        security_counter=security_counter,
        targets=tuple(sorted(ram_bytes)),
        ram_bytes=ram_bytes,
        flash_bytes=flash_bytes,
        deltas=deltas,
    )
    write_atomic(folder.repository / "targets" / record.leaves_path, encode_leaves(leaves))
    write_atomic(folder.repository / "targets" / path, data)
    targets = _latest(folder, "targets", Targets)
    entry = TargetFile.from_data(path, data)
    entry.unrecognized_fields["custom"] = {CUSTOM_KEY: msgspec.to_builtins(record)}
    targets.targets[path] = entry
    for other in map(target_path, without_deltas):
        targets.targets[other].custom[CUSTOM_KEY]["deltas"] = []
    targets.version += 1
    targets.expires = now + LIFETIME["targets"]
    _write(folder, f"{targets.version}.targets.json", targets)
    _publish_snapshot(folder, targets.version, now)
    return record


def refresh_online(folder: FleetFolder, now: datetime | None = None) -> bool:
    """Sign snapshot and timestamp again where half their life is over; whether it was needed."""
    now = now or now_utc()
    timestamp = _load(folder, "timestamp.json", Timestamp)
    snapshot = _latest(folder, "snapshot", Snapshot)
    stale = timestamp.expires - now < LIFETIME["timestamp"] / 2
    if snapshot.expires - now < LIFETIME["snapshot"] / 2:
        _publish_snapshot(folder, snapshot.meta["targets.json"].version, now)
    elif stale:
        _publish_timestamp(folder, snapshot.version, now)
    else:
        return False
    return True


def current_counter(folder: FleetFolder) -> int:
    """The highest security counter of any published bundle; 1 where there is none."""
    entries = _latest(folder, "targets", Targets).targets.values()
    counters = [int(entry.custom[CUSTOM_KEY]["security_counter"]) for entry in entries]
    return max(counters, default=1)


def target_record(folder: FleetFolder, bundle_id: str) -> TargetRecord:
    """What the signed targets say of a bundle. Raises ReleaseError where they do not name it."""
    entry = _latest(folder, "targets", Targets).targets.get(target_path(bundle_id))
    if entry is None:
        raise ReleaseError(f"the repository has no target '{target_path(bundle_id)}'")
    return msgspec.convert(entry.custom[CUSTOM_KEY], TargetRecord)


def release_keys(folder: FleetFolder) -> tuple[bytes, ...]:
    """Raw Ed25519 public keys that the newest root trusts with releases."""
    names = [file.name for file in (folder.repository / "metadata").glob("*.root.json")]
    newest = max(names, key=lambda name: int(name.partition(".")[0]))
    root = _load(folder, newest, Root)
    keys = (root.keys[keyid] for keyid in root.roles["targets"].keyids)
    return tuple(bytes.fromhex(key.keyval["public"]) for key in keys)


def copy_factory(folder: FleetFolder, path: str, out: Path) -> None:
    """Copy what a new device needs to verify one target offline: metadata, bundle, leaves.

    Raises:
        ReleaseError: the repository has no such target.
    """
    for name in factory_files(folder, path):
        place = out / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder.repository / name, place)


def factory_files(folder: FleetFolder, path: str) -> tuple[str, ...]:
    """Those files, as paths in the repository.

    Raises:
        ReleaseError: the repository has no such target.
    """
    snapshot_version = _load(folder, "timestamp.json", Timestamp).snapshot_meta.version
    targets = _latest(folder, "targets", Targets)
    entry = targets.targets.get(path)
    if entry is None:
        raise ReleaseError(f"the repository has no target '{path}'")
    roots = [file.name for file in (folder.repository / "metadata").glob("*.root.json")]
    chain = (f"{targets.version}.targets.json", f"{snapshot_version}.snapshot.json")
    leaves = str(entry.custom[CUSTOM_KEY]["leaves_path"])
    names = [f"metadata/{name}" for name in (*roots, *chain, "timestamp.json")]
    return (*names, f"targets/{path}", f"targets/{leaves}")


def _publish_snapshot(folder: FleetFolder, targets_version: int, now: datetime) -> None:
    snapshot = _latest(folder, "snapshot", Snapshot)
    snapshot.version += 1
    snapshot.expires = now + LIFETIME["snapshot"]
    snapshot.meta["targets.json"] = MetaFile(targets_version)
    _write(folder, f"{snapshot.version}.snapshot.json", snapshot)
    _publish_timestamp(folder, snapshot.version, now)


def _publish_timestamp(folder: FleetFolder, snapshot_version: int, now: datetime) -> None:
    timestamp = _load(folder, "timestamp.json", Timestamp)
    timestamp.version += 1
    timestamp.expires = now + LIFETIME["timestamp"]
    timestamp.snapshot_meta = MetaFile(snapshot_version)
    _write(folder, "timestamp.json", timestamp)


def _latest(folder: FleetFolder, role: str, kind: type[Role]) -> Role:
    """The version that the timestamp leads to: a torn publication's files are not looked at."""
    version = _load(folder, "timestamp.json", Timestamp).snapshot_meta.version
    if role == "targets":
        snapshot = _load(folder, f"{version}.snapshot.json", Snapshot)
        version = snapshot.meta["targets.json"].version
    return _load(folder, f"{version}.{role}.json", kind)


def _load(folder: FleetFolder, name: str, kind: type[Role]) -> Role:
    path = folder.repository / "metadata" / name
    try:
        signed: Any = Metadata.from_file(str(path)).signed
    except (RepositoryError, StorageError, OSError) as error:
        raise FleetFolderError(f"{path} cannot be read; restore it from a backup") from error
    if not isinstance(signed, kind):
        raise FleetFolderError(f"{path} holds the role '{signed.type}'")
    return signed


def _write(folder: FleetFolder, name: str, signed: Role) -> None:
    metadata = Metadata(signed)
    metadata.sign(_signer(folder, signed.type))
    data = metadata.to_bytes(JSONSerializer(compact=True))
    write_atomic(folder.repository / "metadata" / name, data)


def _signer(folder: FleetFolder, role: str) -> CryptoSigner:
    return CryptoSigner(folder.private_key(role))
