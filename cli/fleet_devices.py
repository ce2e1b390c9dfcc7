"""`edgekiln fleet enroll | token | revoke`: who may be a device of a fleet."""

from __future__ import annotations

import time
from pathlib import Path

import click

from .console import common_options, need_extra, print_json, say
from .project import profile_folders

FOLDER = click.Path(path_type=Path)
fleet_option = click.option(
    "--fleet", "folder", type=FOLDER, default=Path("fleet"), show_default=True, help="Its folder."
)
target_option = click.option("--target", default="host", show_default=True)
cohort_option = click.option(
    "--cohort", "cohorts", multiple=True, default=("all",), show_default=True
)
factory_option = click.option(
    "--factory", required=True, help="Release that it leaves the factory with."
)
project_option = click.option("--project", type=FOLDER, help="Default: edgekiln.toml here.")
HOUR_S = 3600.0


@click.command()
@click.argument("device_id")
@fleet_option
@target_option
@cohort_option
@factory_option
@project_option
@click.option("-o", "--out", type=FOLDER, required=True, help="The device's folder.")
@common_options
def enroll(
    device_id: str,
    folder: Path,
    target: str,
    cohorts: tuple[str, ...],
    factory: str,
    project: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Make a password and a signed first model for DEVICE_ID.

    For a device that is not here yet, and is to keep a key of its own: `fleet token`.
    """
    need_extra("fleet")
    from edgekiln.fleet.enrol import enrol_device
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.registry import find_release

    opened = open_fleet(folder)
    release = find_release(opened, factory)
    profiles = profile_folders(project)
    made = enrol_device(opened, device_id, target, cohorts, out, release, profiles)
    say(f"enrolled {device_id}; copy {made} to it and run: edgekiln device run {made} --source …")
    if as_json:
        print_json({"device": device_id, "folder": str(made)})


@click.command()
@click.argument("device_id")
@fleet_option
@target_option
@cohort_option
@factory_option
@project_option
@click.option(
    "--ttl-h",
    default=24.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Hours that it can be used.",
)
@click.option("-o", "--out", type=FOLDER, required=True, help="The token's file.")
@common_options
def token(
    device_id: str,
    folder: Path,
    target: str,
    cohorts: tuple[str, ...],
    factory: str,
    project: Path | None,
    ttl_h: float,
    out: Path,
    as_json: bool,
) -> None:
    """Make a one-time token with which a device enrols itself as DEVICE_ID.

    The device needs a running `fleet serve`, and: edgekiln device enroll TOKEN -o FOLDER
    """
    need_extra("fleet")
    import msgspec

    from edgekiln.fleet.enrol import make_place
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.registry import find_release
    from edgekiln.fleet.store import open_store
    from edgekiln.fleet.tokens import make_token
    from edgekiln.runtime.files import write_atomic

    opened = open_fleet(folder)
    release = find_release(opened, factory)
    place = make_place(opened, device_id, target, cohorts, release, profile_folders(project))
    store = open_store(opened.database)
    try:
        made = make_token(opened, store, place, ttl_h * HOUR_S, time.time())
    finally:
        store.close()
    write_atomic(out, msgspec.json.format(msgspec.json.encode(made)) + b"\n", 0o600)
    say(f"{out} makes one device {device_id} within {ttl_h:g} h; whoever has it can use it")
    if as_json:
        print_json({"device": device_id, "token": str(out), "expires_s": made.expires_s})


@click.command()
@click.argument("device_id")
@fleet_option
@click.option("--reason", required=True, help="Kept with the revocation.")
@common_options
def revoke(device_id: str, folder: Path, reason: str, as_json: bool) -> None:
    """Take DEVICE_ID's credentials away; it keeps its model and hears nothing more."""
    need_extra("fleet")
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.revocation import revoke as take_away
    from edgekiln.fleet.store import open_store

    opened = open_fleet(folder)
    store = open_store(opened.database)
    try:
        take_away(opened, store, device_id, reason, time.time())
    finally:
        store.close()
    say(f"{device_id} is revoked")
    if as_json:
        print_json({"device": device_id, "revoked": True})
