"""Signed updates of microcontrollers say what the signed TUF target says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edgekiln.fleet.errors import FleetFolderError, ReleaseError
from edgekiln.fleet.firmware import seal_release
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.repository import release_keys, target_record
from edgekiln.runtime.envelope import Addressee, open_update

IMAGE, STRUCTURE = bytes(range(64)), bytes(32)


def test_head_has_the_counter_and_digest_of_the_target(
    copied_fleet: FleetFolder, make_bundle: Callable[..., Path]
) -> None:
    release = register_release(copied_fleet, make_bundle(targets=("board",)), security_counter=7)
    sealed = seal_release(copied_fleet, release, "board", IMAGE, STRUCTURE, 256)
    keys = [Ed25519PublicKey.from_public_bytes(key) for key in release_keys(copied_fleet)]
    update = open_update(sealed, keys)
    assert update.image == IMAGE
    assert update.head.security_counter == 7
    assert update.head.release.hex() == release.bundle_id
    assert update.head.addressee == Addressee.of(copied_fleet.tenant, "board")
    assert target_record(copied_fleet, release.bundle_id).security_counter == 7


def test_keys_are_those_that_the_root_trusts_with_targets(copied_fleet: FleetFolder) -> None:
    expected = copied_fleet.private_key("targets").public_key().public_bytes_raw()
    assert release_keys(copied_fleet) == (expected,)


def test_release_is_not_sealed_when_it_is_not_for_the_target_or_was_stopped(
    copied_fleet: FleetFolder, make_bundle: Callable[..., Path]
) -> None:
    release = register_release(copied_fleet, make_bundle(targets=("board",)))
    with pytest.raises(ReleaseError, match="is not for 'other', but: board"):
        seal_release(copied_fleet, release, "other", IMAGE, STRUCTURE, 256)
    stopped = msgspec.structs.replace(release, quarantined="harm")
    with pytest.raises(ReleaseError, match="was stopped: harm"):
        seal_release(copied_fleet, stopped, "board", IMAGE, STRUCTURE, 256)


def test_missing_key_is_named_when_it_was_taken_away(
    copied_fleet: FleetFolder, make_bundle: Callable[..., Path]
) -> None:
    release = register_release(copied_fleet, make_bundle(targets=("board",)))
    copied_fleet.key_file("targets").unlink()
    with pytest.raises(FleetFolderError, match=r"the targets key .* is not here"):
        seal_release(copied_fleet, release, "board", IMAGE, STRUCTURE, 256)


def test_unknown_bundle_has_no_record(copied_fleet: FleetFolder) -> None:
    with pytest.raises(ReleaseError, match="has no target 'bundles/0000"):
        target_record(copied_fleet, "0" * 64)
