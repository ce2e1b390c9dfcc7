"""Enrolment: credentials at the broker and a device folder that can start without the network."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from edgekiln.runtime.bundle import open_bundle
from edgekiln.runtime.files import write_atomic
from edgekiln.targets import Target, load_target

from .acl import SERVER_USER
from .broker import set_passwords
from .errors import FleetFolderError, ReleaseError
from .folder import LOOPBACK, FleetFolder, check_name
from .model import Release
from .passwords import new_password
from .repository import copy_factory
from .store import Enrolment, open_store


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
    """Make a device folder at `out` with fresh credentials and a signed first release.

    `profiles` are folders with target profiles of one's own, looked into before the catalog.

    Enrolling a device again gives it a new password and its old folder stops working. The folder
    appears as a whole or not at all.

    Raises:
        FleetFolderError: a name is malformed or `out` is taken.
        ReleaseError: the factory release is quarantined or has no artifact for the target.
        TargetError: the catalog has no such target.
    """
    check_name("device", device_id)
    if device_id == SERVER_USER:
        raise FleetFolderError(f"'{device_id}' is the server's own name; choose another")
    if not cohorts:
        raise FleetFolderError(f"device '{device_id}' needs at least one cohort")
    names = tuple(dict.fromkeys(check_name("cohort", cohort) for cohort in cohorts))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FleetFolderError(f"{out} is already in use; choose an empty folder")
    target = load_target(target_id, profiles)
    _check_factory(folder, factory, target)
    password = new_password()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700)
        write_atomic(draft / "device.toml", _config(folder, device_id, target, names).encode())
        write_atomic(draft / "password", f"{password}\n".encode(), 0o600)
        _write_trust(folder, draft / "trust")
        with folder.publishing():
            copy_factory(folder, factory.target_path, draft / "factory")
            set_passwords(folder, {device_id: password})
        _record(folder, device_id, target, names, time.time() if now_s is None else now_s)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def _check_factory(folder: FleetFolder, factory: Release, target: Target) -> None:
    if factory.quarantined:
        msg = f"release '{factory.name}' is quarantined ({factory.quarantined}); choose another"
        raise ReleaseError(msg)
    bundle = open_bundle(folder.repository / "targets" / factory.target_path)
    made_for = sorted({artifact.target for artifact in bundle.manifest.artifacts})
    if target.id not in made_for:
        msg = f"release '{factory.name}' is made for {', '.join(made_for)}, not for '{target.id}'"
        raise ReleaseError(msg)


def _config(folder: FleetFolder, device_id: str, target: Target, cohorts: tuple[str, ...]) -> str:
    quoted = ", ".join(f'"{cohort}"' for cohort in cohorts)
    return (
        f'device = "{device_id}"\n'
        f'tenant = "{folder.tenant}"\n'
        f'target = "{target.id}"\n'
        f"cohorts = [{quoted}]\n"
        f"ram_bytes = {target.memory.ram_available_bytes}\n"
        f"flash_bytes = {target.memory.flash_available_bytes}\n\n"
        f"[broker]\n"
        f'host = "{LOOPBACK}"\n'
        f"port = {folder.settings.broker.port}\n"
        f'username = "{device_id}"\n'
    )


def _write_trust(folder: FleetFolder, trust: Path) -> None:
    trust.mkdir()
    roots = sorted(
        (folder.repository / "metadata").glob("*.root.json"),
        key=lambda path: int(path.name.partition(".")[0]),
    )
    write_atomic(trust / "root.json", roots[-1].read_bytes())
    public = folder.private_key("rollout").public_key().public_bytes_raw()
    write_atomic(trust / "rollout.pub", f"{public.hex()}\n".encode())


def _record(
    folder: FleetFolder, device_id: str, target: Target, cohorts: tuple[str, ...], now_s: float
) -> None:
    store = open_store(folder.database)
    try:
        store.put_enrolment(
            Enrolment(device=device_id, target=target.id, cohorts=cohorts, enrolled_s=now_s)
        )
    finally:
        store.close()
