"""Deltas of the repository: to every release, from those that devices are likely to hold."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgekiln.fleet.deltas import MOST_BASES, bases_for
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.model import Release
from edgekiln.fleet.registry import list_releases, quarantine, register_release
from edgekiln.fleet.store import open_store
from edgekiln.runtime.delta import WORKING_BYTES, apply_delta
from edgekiln.runtime.errors import AbsentFileError
from edgekiln.runtime.merkle import decode_leaves
from edgekiln.runtime.trust import Trust

MakeBundle = Callable[..., Path]


def release(name: str, number: int, **changes: object) -> Release:
    return msgspec.structs.replace(
        Release(
            bundle_id=f"{number:064x}",
            name=name,
            target_path="p",
            sha256="s",
            bytes=1,
            security_counter=1,
            registered_s=float(number),
        ),
        **changes,
    )


def test_bases_are_the_parent_then_what_an_alias_names_then_the_latest() -> None:
    releases = [release("m", n) for n in range(9, 0, -1)]
    releases[6] = msgspec.structs.replace(releases[6], aliases=("prod",))
    releases[0] = msgspec.structs.replace(releases[0], quarantined="devices failed")
    found = bases_for(releases, releases[7].bundle_id, "m", most=4)
    assert [r.registered_s for r in found] == [2.0, 3.0, 8.0, 7.0]
    assert len(bases_for(releases, "", "m")) == MOST_BASES
    assert bases_for([release("other", 1)], "", "m") == ()


def test_release_has_signed_deltas_that_a_device_can_apply(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    first, second = make_bundle("one"), make_bundle("two")
    one = register_release(copied_fleet, first, alias="prod")
    two = register_release(copied_fleet, second, parent=one.bundle_id)
    assert one.deltas == ()
    assert [delta.base for delta in two.deltas] == [one.bundle_id]
    assert list_releases(copied_fleet)[0].deltas == two.deltas
    root = (copied_fleet.repository / "metadata" / "1.root.json").read_bytes()

    def fetch(path: str, max_bytes: int) -> bytes:
        file = copied_fleet.repository / path
        if not file.is_file():
            raise AbsentFileError(path)
        return file.read_bytes()

    signed = Trust(tmp_path / "cache", root).find(two.target_path, fetch)
    (delta,) = signed.deltas
    assert (delta.base_id, delta.base_sha256) == (one.bundle_id, one.sha256)
    assert delta.working_bytes == WORKING_BYTES
    data = fetch(f"targets/{delta.path}", 10**6)
    assert len(data) == delta.bytes == two.deltas[0].bytes < 0.5 * two.bytes
    leaves = fetch(f"targets/{delta.leaves_path}", 10**6)
    decode_leaves(leaves, bytes.fromhex(delta.merkle_root), 1)
    out = io.BytesIO()
    base = io.BytesIO(first.read_bytes())
    apply_delta(base, io.BytesIO(data).read, out, (delta.base_bytes, signed.bytes))
    assert out.getvalue() == second.read_bytes()


def test_deltas_of_releases_without_an_alias_leave_the_metadata(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    made = [
        register_release(copied_fleet, make_bundle(name), alias=alias)
        for name, alias in (("one", "prod"), ("two", "prod"), ("three", "prod"), ("four", None))
    ]
    assert [len(release.deltas) for release in made] == [0, 1, 1, 1]
    known = {release.name: len(release.deltas) for release in list_releases(copied_fleet)}
    assert known == {"one": 0, "two": 0, "three": 1, "four": 1}
    root = (copied_fleet.repository / "metadata" / "1.root.json").read_bytes()

    def fetch(path: str, max_bytes: int) -> bytes:
        file = copied_fleet.repository / path
        if not file.is_file():
            raise AbsentFileError(path)
        return file.read_bytes()

    for number, release in enumerate(made):
        found = Trust(tmp_path / str(number), root).find(release.target_path, fetch)
        assert len(found.deltas) == known[release.name]


def test_base_is_left_out_when_its_file_is_gone_or_it_was_stopped(
    copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> None:
    one = register_release(copied_fleet, make_bundle("one"), alias="prod")
    (copied_fleet.repository / "targets" / one.target_path).unlink()
    assert register_release(copied_fleet, make_bundle("two"), alias="prod").deltas == ()
    store = open_store(copied_fleet.database)
    quarantine(store, list_releases(copied_fleet)[0].bundle_id, "devices failed")
    store.close()
    assert register_release(copied_fleet, make_bundle("three")).deltas == ()
