"""Deltas to a new release, from the releases that devices are likely to hold.

Beside the bundle in the repository, under `deltas/`; their sizes and digests are in the release's
own signed target, so that they need no signature of theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from edgekiln.runtime.delta import WORKING_BYTES
from edgekiln.runtime.delta_plan import make_delta
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.files import write_atomic
from edgekiln.runtime.merkle import encode_leaves, leaf_hashes, merkle_root
from edgekiln.runtime.rebuild import MOST_OF_FULL
from edgekiln.runtime.record import DeltaInfo

from .folder import FleetFolder
from .model import Release

MOST_BASES = 3


def bases_for(
    releases: Iterable[Release], parent: str, name: str, most: int = MOST_BASES
) -> tuple[Release, ...]:
    """Releases that devices may run when the next one of `name` comes, the likeliest first.

    The parent, then what an alias names, then the same model's latest; `releases` are newest first.
    """
    known = tuple(releases)
    usable = [r for r in known if not r.quarantined and (r.name == name or r.aliases)]
    parents = [r for r in known if r.bundle_id == parent]
    usable.sort(key=lambda r: not r.aliases)  # stable: newest first among each
    return tuple(dict.fromkeys((*parents, *usable)))[:most]


def publish_deltas(
    folder: FleetFolder, bases: Iterable[Release], data: bytes, bundle_id: str
) -> tuple[DeltaInfo, ...]:
    """Make a delta from each base to the bundle `data`, and write those that pay, the smallest
    first. A base whose file is gone or damaged is left out: devices then fetch the whole bundle.

    Raises:
        OSError: the repository cannot be written.
    """
    made = []
    for base in bases:
        found = _delta(folder, base, data, bundle_id)
        if found is not None:
            made.append(found)
    return tuple(sorted(made, key=lambda delta: delta.bytes))


def _delta(folder: FleetFolder, base: Release, data: bytes, bundle_id: str) -> DeltaInfo | None:
    targets = folder.repository / "targets"
    try:
        before = (targets / base.target_path).read_bytes()
        delta = make_delta(before, data)
    except (OSError, BundleError):
        return None
    if len(delta) > MOST_OF_FULL * len(data):
        return None
    path = f"deltas/{bundle_id}/{base.bundle_id}.ekd"
    leaves = leaf_hashes(delta)
    (targets / path).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(targets / f"{path}.leaves", encode_leaves(leaves))
    write_atomic(targets / path, delta)
    return DeltaInfo(
        base_id=base.bundle_id,
        base_bytes=len(before),
        base_sha256=hashlib.sha256(before).hexdigest(),
        path=path,
        leaves_path=f"{path}.leaves",
        bytes=len(delta),
        sha256=hashlib.sha256(delta).hexdigest(),
        merkle_root=merkle_root(leaves).hex(),
        working_bytes=WORKING_BYTES,
    )
