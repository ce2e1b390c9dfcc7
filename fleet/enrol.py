"""Enrolment: who a device is to be, and a device folder that can start without the network."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgekiln.runtime.bundle import open_bundle
from edgekiln.runtime.files import write_atomic
from edgekiln.targets import Target, load_target

from .acl import SERVER_USER
from .authority import authority_file, ensure_authority, now_utc
from .broker import set_passwords
from .errors import FleetFolderError, ReleaseError
from .folder import ENROL_PREFIX, LOOPBACK, FleetFolder, check_name
from .model import Release
from .passwords import new_password
from .repository import copy_factory
from .revocation import readmit, withdraw_certificates
from .store import Enrolment, Store, open_store


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What is agreed about a device before it is there; sizes are those that a model may use."""

    device: str
    target: str
    cohorts: tuple[str, ...]
    ram_bytes: int
    flash_bytes: int
    factory: str  # bundle id of the first release


def make_place(
    folder: FleetFolder,
    device_id: str,
    target_id: str,
    cohorts: Sequence[str],
    factory: Release,
    profiles: Sequence[Path] = (),
) -> Place:
    """Check what a device is to be.

    `profiles` are folders with target profiles of one's own, looked into before the catalog.

    Raises:
        FleetFolderError: a name is malformed, or the fleet's own.
        ReleaseError: the factory release is quarantined or has no artifact for the target.
        TargetError: the catalog has no such target.
    """
    check_name("device", device_id)
    if device_id == SERVER_USER or device_id.startswith(ENROL_PREFIX):
        raise FleetFolderError(f"'{device_id}' is a name of the server's own; choose another")
    if not cohorts:
        raise FleetFolderError(f"device '{device_id}' needs at least one cohort")
    names = tuple(dict.fromkeys(check_name("cohort", cohort) for cohort in cohorts))
    target = load_target(target_id, profiles)
    _check_factory(folder, factory, target)
    return Place(
        device=device_id,
        target=target.id,
        cohorts=names,
        ram_bytes=target.memory.ram_available_bytes,
        flash_bytes=target.memory.flash_available_bytes,
        factory=factory.bundle_id,
    )


def enrol_device(
    folder: FleetFolder,
    device_id: str,
    target_id: str,
    cohorts: Sequence[str],
    out: Path,
    factory: Release,
    profiles: Sequence[Path] = (),
    now_s: float | None = None,
) -> Path:
    """Make a device folder at `out` with a fresh password and a signed first release.

    Enrolling a device again gives it a new password and its old folder stops working. The folder
    appears as a whole or not at all. A device that makes its own key is enrolled with a token
    instead (`tokens.make_token`).

    Raises:
        FleetFolderError: a name is malformed or `out` is taken.
        ReleaseError, TargetError: as `make_place`.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FleetFolderError(f"{out} is already in use; choose an empty folder")
    place = make_place(folder, device_id, target_id, cohorts, factory, profiles)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700)
        _write_folder(folder, place, factory, draft)
        record_enrolment(folder, place, time.time() if now_s is None else now_s)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def device_config(folder: FleetFolder, place: Place, port: int) -> str:
    """`device.toml` of a device that reaches the broker at `port`."""
    broker = folder.settings.broker
    quoted = ", ".join(f'"{cohort}"' for cohort in place.cohorts)
    return (
        f'device = "{place.device}"\n'
        f'tenant = "{folder.tenant}"\n'
        f'target = "{place.target}"\n'
        f"cohorts = [{quoted}]\n"
        f"ram_bytes = {place.ram_bytes}\n"
        f"flash_bytes = {place.flash_bytes}\n\n"
        f"[broker]\n"
        f'host = "{broker.public_host or LOOPBACK}"\n'
        f"port = {port}\n"
        f'username = "{place.device}"\n' + ("tls = true\n" if broker.public else "")
    )


def newest_root(folder: FleetFolder) -> bytes:
    """The root metadata that a new device begins with."""
    roots = sorted(
        (folder.repository / "metadata").glob("*.root.json"),
        key=lambda path: int(path.name.partition(".")[0]),
    )
    return roots[-1].read_bytes()


def rollout_key(folder: FleetFolder) -> str:
    """Public key of the rollout documents, in hex."""
    return folder.private_key("rollout").public_key().public_bytes_raw().hex()


def record_enrolment(folder: FleetFolder, place: Place, now_s: float) -> None:
    """Remember the device; one that was revoked is welcome again."""
    store = open_store(folder.database)
    try:
        if place.device in store.enrolments():
            withdraw_certificates(folder, store, place.device)
        keep_enrolment(folder, store, place, now_s)
    finally:
        store.close()


def keep_enrolment(folder: FleetFolder, store: Store, place: Place, now_s: float) -> None:
    """`record_enrolment` in a store that is open."""
    readmit(folder, store, place.device)
    store.put_enrolment(
        Enrolment(device=place.device, target=place.target, cohorts=place.cohorts, enrolled_s=now_s)
    )


def _write_folder(folder: FleetFolder, place: Place, factory: Release, draft: Path) -> None:
    broker = folder.settings.broker
    password = new_password()
    port = broker.enrol_port if broker.public else broker.port
    trust = draft / "trust"
    trust.mkdir()
    write_atomic(draft / "device.toml", device_config(folder, place, port).encode())
    write_atomic(draft / "password", f"{password}\n".encode(), 0o600)
    write_atomic(trust / "root.json", newest_root(folder))
    write_atomic(trust / "rollout.pub", f"{rollout_key(folder)}\n".encode())
    if broker.public:
        ensure_authority(folder, now_utc())
        write_atomic(trust / "authority.pem", authority_file(folder).read_bytes())
    with folder.publishing():
        copy_factory(folder, factory.target_path, draft / "factory")
        set_passwords(folder, {place.device: password})


def _check_factory(folder: FleetFolder, factory: Release, target: Target) -> None:
    if factory.quarantined:
        msg = f"release '{factory.name}' is quarantined ({factory.quarantined}); choose another"
        raise ReleaseError(msg)
    bundle = open_bundle(folder.repository / "targets" / factory.target_path)
    made_for = sorted({artifact.target for artifact in bundle.manifest.artifacts})
    if target.id not in made_for:
        msg = f"release '{factory.name}' is made for {', '.join(made_for)}, not for '{target.id}'"
        raise ReleaseError(msg)
