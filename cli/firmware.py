"""`edgekiln firmware`: models of microcontrollers that updates can replace, and those updates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, say
from .errors import CheckFailedError, ModelChoiceError
from .export import LAYOUTS, write_folder

if TYPE_CHECKING:
    from edgekiln.compiler.c_image import Updatable
    from edgekiln.fleet.folder import FleetFolder
    from edgekiln.fleet.model import Release

VECTORS = 2  # golden vectors that go along
FILE = click.Path(path_type=Path)
fleet_option = click.option("--fleet", "folder", type=FILE, required=True, help="Its folder.")


@dataclass(frozen=True, slots=True)
class Exported:
    """What `firmware export` wrote: paths below `folder`."""

    release: str
    target: str
    layout: str
    folder: str
    structure: str
    image_bytes: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """What an update says of itself, once it was verified; digests in hex."""

    file: str
    bytes: int
    image_bytes: int
    block_bytes: int
    blocks: int
    security_counter: int
    release: str
    structure: str
    key_id: str


@click.group()
def firmware() -> None:
    """Microcontrollers: a model that updates can replace, and signed updates."""


@firmware.command("export")
@click.argument("release")
@fleet_option
@click.option("--target", "target_id", required=True, help="Whose C.")
@click.option("--layout", type=click.Choice(LAYOUTS), default="plain", show_default=True)
@click.option("-o", "--out", type=FILE, required=True, help="A new folder.")
@common_options
def export_(
    release: str,
    folder: Path,
    target_id: str,
    layout: str,
    out: Path,
    as_json: bool,
) -> None:
    """Write RELEASE's C so that updates can replace its numbers, with all that a device needs."""
    need_extra("fleet")
    from edgekiln.compiler.c_layouts import Layout, lay_out
    from edgekiln.compiler.firmware import Identity, build_firmware
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.registry import find_release
    from edgekiln.fleet.repository import release_keys, target_record

    fleet = open_fleet(folder)
    found = find_release(fleet, release)
    program = _program(fleet, found, target_id, vectors=0)
    counter = target_record(fleet, found.bundle_id).security_counter
    identity = Identity(fleet.tenant, target_id, found.bundle_id, counter, release_keys(fleet))
    description = f"{found.name}: updatable model, release {found.bundle_id[:12]}"
    made = build_firmware(program, identity)
    files = lay_out(made, found.name, description, Layout(layout))
    write_folder(files, out)
    say(f"wrote {len(files)} files to {out}: structure {program.structure.hex()[:12]}")
    if as_json:
        print_json(
            Exported(
                release=found.bundle_id,
                target=target_id,
                layout=layout,
                folder=str(out),
                structure=program.structure.hex(),
                image_bytes=len(program.image),
                files=tuple(files),
            )
        )


@firmware.command()
@click.argument("release")
@fleet_option
@click.option(
    "--firmware",
    "exported",
    type=FILE,
    required=True,
    help="The folder that devices were built of.",
)
@click.option(
    "--vectors",
    type=click.IntRange(min=1),
    default=VECTORS,
    show_default=True,
    help="Golden vectors in the image, for the self-test on the device.",
)
@click.option(
    "--block-bytes",
    type=click.Choice(("256", "512", "1024")),
    default="1024",
    show_default=True,
    help="What a device verifies and writes at once.",
)
@click.option("-o", "--out", type=FILE, required=True, help="The file that devices fetch.")
@common_options
def update(
    release: str,
    folder: Path,
    exported: Path,
    vectors: int,
    block_bytes: str,
    out: Path,
    as_json: bool,
) -> None:
    """Write RELEASE as a signed update for devices with the firmware of a folder."""
    need_extra("fleet")
    from edgekiln.compiler.firmware import check_fits, read_record
    from edgekiln.fleet.firmware import seal_release
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.registry import find_release
    from edgekiln.runtime.files import write_atomic

    fleet, record = open_fleet(folder), read_record(exported)
    if record.tenant != fleet.tenant:
        raise ModelChoiceError(
            f"{exported} is firmware of tenant '{record.tenant}', {folder} is '{fleet.tenant}'"
        )
    found = find_release(fleet, release)
    program = _program(fleet, found, record.target, vectors)
    check_fits(record, program)
    sealed = seal_release(
        fleet, found, record.target, program.image, program.structure, int(block_bytes)
    )
    write_atomic(out, sealed)
    say(f"wrote {out}: {len(sealed)} bytes for '{record.target}', release {found.bundle_id[:12]}")
    if as_json:
        print_json(_described(out, fleet))


@firmware.command()
@click.argument("file", type=FILE)
@fleet_option
@common_options
def check(file: Path, folder: Path, as_json: bool) -> None:
    """Verify an update as a device does; exit 1 where it does not hold."""
    need_extra("fleet")
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.runtime.errors import TrustError

    try:
        described = _described(file, open_fleet(folder))
    except TrustError as error:
        raise CheckFailedError(f"{file}: {error}") from error
    say(
        f"{file}: release {described.release[:12]}, counter {described.security_counter}, "
        f"{described.blocks} blocks of {described.block_bytes} bytes, signature and hashes hold"
    )
    if as_json:
        print_json(described)


def _program(fleet: FleetFolder, release: Release, target_id: str, vectors: int) -> Updatable:
    from edgekiln.compiler.firmware import image_of
    from edgekiln.fleet.firmware import bundle_path
    from edgekiln.runtime import open_bundle

    bundle = open_bundle(bundle_path(fleet, release))
    for artifact in bundle.manifest.artifacts:
        if (artifact.target, artifact.format) == (target_id, "c"):
            return image_of(bundle.below(artifact.path), bundle.contract, vectors)
    raise ModelChoiceError(
        f"release {release.bundle_id[:12]} has no C for '{target_id}'; compile it with "
        f"--target {target_id} --format c"
    )


def _described(file: Path, fleet: FleetFolder) -> Described:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from edgekiln.fleet.repository import release_keys
    from edgekiln.runtime.envelope import open_update

    data = file.read_bytes()
    keys = [Ed25519PublicKey.from_public_bytes(key) for key in release_keys(fleet)]
    head = open_update(data, keys).head
    return Described(
        file=str(file),
        bytes=len(data),
        image_bytes=head.image_bytes,
        block_bytes=head.block_bytes,
        blocks=head.blocks,
        security_counter=head.security_counter,
        release=head.release.hex(),
        structure=head.structure.hex(),
        key_id=head.key_id.hex(),
    )
