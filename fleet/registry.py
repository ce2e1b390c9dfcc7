"""Releases: bundles that passed their gate, published in the repository, with their lineage."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import msgspec

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.runtime.manifest import Gate

from .deltas import bases_for, publish_deltas
from .errors import RefusedReleaseError, ReleaseError
from .folder import FleetFolder, check_name
from .model import Release, ReleaseDelta
from .repository import add_target, current_counter, target_path
from .store import Store, open_store


def register_release(
    folder: FleetFolder,
    bundle_path: Path,
    parent: str | None = None,
    alias: str | None = None,
    security_counter: int | None = None,
    now_s: float | None = None,
) -> Release:
    """Check a bundle, publish it and record it; a bundle that is known already only gets `alias`.

    Args:
        folder: the fleet; its server may be running.
        bundle_path: an `.ekb` file.
        parent: bundle id of the release that this one replaces; None takes the manifest's.
        alias: a name that moves to this release.
        security_counter: at least the present one. Raising it makes devices refuse every release
            with a lower counter from the moment that they run this one; None keeps it.
        now_s: Unix time; None reads the clock.

    Raises:
        BundleError: the file is changed, corrupt or no bundle.
        ReleaseError: the gate failed without a reason to overrule it, the parent is unknown or
            the counter falls.
        FleetFolderError: the offline targets key is not here.
    """
    if not bundle_path.is_file():
        raise ReleaseError(f"there is no bundle {bundle_path}")
    if alias is not None:
        check_name("alias", alias)
    bundle = open_bundle(bundle_path)
    _check_gate(bundle_path, bundle.manifest.gate)
    data = bundle_path.read_bytes()
    store = open_store(folder.database)
    try:
        with folder.publishing():
            release = _find(store, bundle.bundle_id)
            if release is None:
                release = _publish(
                    folder, store, data, bundle, parent, security_counter, now_s or time.time()
                )
            return release if alias is None else _move_alias(store, release, alias)
    finally:
        store.close()


def list_releases(folder: FleetFolder) -> tuple[Release, ...]:
    """Every release, newest first."""
    store = open_store(folder.database)
    try:
        return store.releases()
    finally:
        store.close()


def quarantine(store: Store, bundle_id: str, reason: str) -> Release:
    """Mark a release as one that evidence stopped: it cannot be rolled out again.

    Raises:
        ReleaseError: there is no such release.
    """
    release = msgspec.structs.replace(store.release(bundle_id), quarantined=reason)
    store.put_release(release)
    return release


def find_release(folder: FleetFolder, name: str) -> Release:
    """As `match_release`, for who has no open store."""
    store = open_store(folder.database)
    try:
        return match_release(store, name)
    finally:
        store.close()


def match_release(store: Store, name: str) -> Release:
    """A release by its bundle id, an alias, or the first (at least six) letters of its id.

    Raises:
        ReleaseError: none or several fit.
    """
    releases = store.releases()
    exact = [r for r in releases if name == r.bundle_id or name in r.aliases]
    found = exact or [r for r in releases if len(name) >= 6 and r.bundle_id.startswith(name)]
    if len(found) != 1:
        problem = f"{len(found)} releases begin with" if found else "no release is called"
        raise ReleaseError(f"{problem} '{name}'; list them with: edgekiln fleet releases")
    return found[0]


def _publish(
    folder: FleetFolder,
    store: Store,
    data: bytes,
    bundle: Bundle,
    parent: str | None,
    security_counter: int | None,
    now_s: float,
) -> Release:
    manifest, bundle_id = bundle.manifest, bundle.bundle_id
    present = current_counter(folder)
    counter = present if security_counter is None else security_counter
    if counter < present:
        msg = f"the security counter cannot fall: it is {present}, {counter} was asked for"
        raise ReleaseError(msg)
    parent = manifest.lineage.parent if parent is None else parent
    if parent and _find(store, parent) is None:
        raise ReleaseError(f"the parent '{parent[:16]}' is no release of this fleet")
    ram = {a.target: round(a.ram.value) for a in manifest.artifacts}
    flash = {a.target: round(a.flash.value) for a in manifest.artifacts}
    releases = store.releases()
    deltas = publish_deltas(folder, bases_for(releases, parent, manifest.name), data, bundle_id)
    retired = tuple(other for other in releases if other.deltas and not other.aliases)
    without = tuple(other.bundle_id for other in retired)
    record = add_target(folder, data, bundle_id, counter, ram, flash, deltas, without)
    for other in retired:
        store.put_release(msgspec.structs.replace(other, deltas=()))
    release = Release(
        bundle_id=bundle_id,
        name=manifest.name,
        target_path=target_path(bundle_id),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        security_counter=record.security_counter,
        registered_s=now_s,
        parent=parent,
        data_sha256=manifest.lineage.data_sha256,
        search_id=manifest.lineage.search_id,
        forced_reason=manifest.gate.forced_reason,
        deltas=tuple(ReleaseDelta(delta.base_id, delta.bytes) for delta in deltas),
    )
    store.put_release(release)
    return release


def _check_gate(path: Path, gate: Gate) -> None:
    if gate.passed or gate.forced_reason:
        return
    failed = [check.message for check in gate.checks if not check.passed]
    why = "; ".join(failed) or "it says so without a failed check"
    raise RefusedReleaseError(
        f"{path} did not pass its gate ({why}); compile it again within budget"
    )


def _find(store: Store, bundle_id: str) -> Release | None:
    return next((r for r in store.releases() if r.bundle_id == bundle_id), None)


def _move_alias(store: Store, release: Release, alias: str) -> Release:
    for other in store.releases():
        if alias in other.aliases and other.bundle_id != release.bundle_id:
            rest = tuple(name for name in other.aliases if name != alias)
            store.put_release(msgspec.structs.replace(other, aliases=rest))
    if alias not in release.aliases:
        release = msgspec.structs.replace(release, aliases=(*release.aliases, alias))
        store.put_release(release)
    return release
