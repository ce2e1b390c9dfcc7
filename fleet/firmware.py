"""`seal_release`: the signed update of a microcontroller, from a release and nothing else.

Counter, targets and digest are those of the signed TUF target, the key is the one that signs it: a
device with a full TUF client and one with sixteen kilobytes of RAM are told the same.
"""

from __future__ import annotations

from pathlib import Path

from edgekiln.runtime.envelope import Addressee, seal

from .errors import ReleaseError
from .folder import FleetFolder
from .model import Release
from .repository import target_path, target_record


def bundle_path(folder: FleetFolder, release: Release) -> Path:
    """The bundle file of a release in the repository."""
    return folder.repository / "targets" / target_path(release.bundle_id)


def seal_release(
    folder: FleetFolder,
    release: Release,
    target: str,
    image: bytes,
    structure: bytes,
    block_bytes: int,
) -> bytes:
    """The update that brings `image` to devices of `target` in this fleet.

    Raises:
        ReleaseError: evidence stopped the release, or it is not for this target.
        FleetFolderError: the offline targets key is not here.
    """
    if release.quarantined:
        raise ReleaseError(f"release {release.bundle_id[:12]} was stopped: {release.quarantined}")
    record = target_record(folder, release.bundle_id)
    if target not in record.targets:
        known = ", ".join(record.targets)
        raise ReleaseError(f"release {release.bundle_id[:12]} is not for '{target}', but: {known}")
    return seal(
        image,
        Addressee.of(folder.tenant, target),
        structure,
        bytes.fromhex(release.bundle_id),
        record.security_counter,
        folder.private_key("targets"),
        block_bytes,
    )
