from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.fleet.errors import FleetFolderError, ReleaseError
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.registry import (
    find_release,
    list_releases,
    quarantine,
    register_release,
)
from edgekiln.fleet.store import open_store
from edgekiln.runtime.bundle import open_bundle
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.manifest import Gate, GateCheck

MakeBundle = Callable[..., Path]
CHECK = GateCheck("latency", 1.0, 2.0, False, "latency 2 ms is over the budget of 1 ms")


def test_release_holds_lineage_and_lies_in_the_repository(
    copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> None:
    path = make_bundle()
    release = register_release(copied_fleet, path, alias="prod", now_s=5.0)
    assert release.bundle_id == open_bundle(path).bundle_id
    assert release.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (release.data_sha256, release.search_id) == ("d" * 64, "search-1")
    assert release.aliases == ("prod",)
    published = copied_fleet.repository / "targets" / release.target_path
    assert published.read_bytes() == path.read_bytes()
    assert list_releases(copied_fleet) == (release,)


def test_registering_twice_changes_nothing_but_the_alias(
    copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> None:
    first = register_release(copied_fleet, make_bundle())
    metadata = sorted((copied_fleet.repository / "metadata").iterdir())
    again = register_release(copied_fleet, make_bundle(), alias="prod")
    assert again.registered_s == first.registered_s
    assert again.aliases == ("prod",)
    assert sorted((copied_fleet.repository / "metadata").iterdir()) == metadata


def test_alias_moves_to_the_last_release_that_takes_it(
    copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> None:
    one = register_release(copied_fleet, make_bundle("one"), alias="prod")
    two = register_release(copied_fleet, make_bundle("two"), one.bundle_id, alias="prod")
    assert two.parent == one.bundle_id
    assert find_release(copied_fleet, "prod").bundle_id == two.bundle_id
    assert find_release(copied_fleet, one.bundle_id[:8]).aliases == ()


def test_find_says_so_when_nothing_fits(copied_fleet: FleetFolder) -> None:
    with pytest.raises(ReleaseError, match="no release is called 'prod'"):
        find_release(copied_fleet, "prod")


def test_bundle_is_refused_when_its_gate_failed(
    copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> None:
    with pytest.raises(ReleaseError, match="over the budget of 1 ms"):
        register_release(copied_fleet, make_bundle(gate=Gate(False, (CHECK,))))
    assert list_releases(copied_fleet) == ()
    assert not list((copied_fleet.repository / "targets" / "bundles").iterdir())


def test_bundle_is_taken_with_its_reason_when_a_failed_gate_was_forced(
    copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> None:
    gate = Gate(False, (CHECK,), "demonstrates the rollback")
    release = register_release(copied_fleet, make_bundle(gate=gate))
    assert release.forced_reason == "demonstrates the rollback"


def test_bundle_is_refused_when_one_byte_changed(
    copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> None:
    path = make_bundle()
    data = bytearray(path.read_bytes())
    data[data.index(b"model-host")] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError):
        register_release(copied_fleet, path)


def test_missing_bundle_parent_and_key_are_named(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseError, match=r"no bundle .*none\.ekb"):
        register_release(copied_fleet, tmp_path / "none.ekb")
    with pytest.raises(ReleaseError, match="parent 'ffff'"):
        register_release(copied_fleet, make_bundle(), parent="ffff")
    copied_fleet.key_file("targets").unlink()
    with pytest.raises(FleetFolderError, match="targets key"):
        register_release(copied_fleet, make_bundle())
    assert list_releases(copied_fleet) == ()


def test_counter_can_be_raised_and_never_falls(
    copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> None:
    assert register_release(copied_fleet, make_bundle("one")).security_counter == 1
    raised = register_release(copied_fleet, make_bundle("two"), security_counter=3)
    assert raised.security_counter == 3
    assert register_release(copied_fleet, make_bundle("three")).security_counter == 3
    with pytest.raises(ReleaseError, match="cannot fall"):
        register_release(copied_fleet, make_bundle("four"), security_counter=2)


def test_quarantine_keeps_the_reason(copied_fleet: FleetFolder, make_bundle: MakeBundle) -> None:
    release = register_release(copied_fleet, make_bundle())
    store = open_store(copied_fleet.database)
    quarantine(store, release.bundle_id, "devices failed")
    store.close()
    assert list_releases(copied_fleet)[0].quarantined == "devices failed"
