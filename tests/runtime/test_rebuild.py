"""Updates by delta, through a real agent: used where one pays, and never the end of an update."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgekiln.runtime import rebuild as module
from edgekiln.runtime.delta import WORKING_BYTES
from edgekiln.runtime.delta_codec import Method, Segment
from edgekiln.runtime.delta_write import write_delta
from edgekiln.runtime.merkle import encode_leaves, leaf_hashes, merkle_root
from edgekiln.runtime.protocol import DeviceState as S
from edgekiln.runtime.rebuild import choose_delta
from edgekiln.runtime.record import DeltaInfo, ReleaseInfo

BLOCK_BYTES = 64  # of the repository in memory


def text_delta(base: bytes, new: bytes) -> bytes:
    return write_delta(base, new, [Segment(Method.TEXT, len(new), 0, len(base))])


def add_delta(world: Any, release: str, base: str, delta: bytes, **changes: Any) -> None:
    """Sign a delta into the target of a release that is in the repository."""
    files = world.repository.files
    before = files[f"targets/bundles/{base}.ekb"]
    leaves = leaf_hashes(delta, BLOCK_BYTES)
    path = f"deltas/{release}/{base}.ekd"
    info = DeltaInfo(
        base_id=base,
        base_bytes=len(before),
        base_sha256=hashlib.sha256(before).hexdigest(),
        path=path,
        leaves_path=f"{path}.leaves",
        bytes=len(delta),
        sha256=hashlib.sha256(delta).hexdigest(),
        merkle_root=merkle_root(leaves).hex(),
        working_bytes=WORKING_BYTES,
    )
    entry = world.repository.targets.targets[f"bundles/{release}.ekb"]
    custom = entry.unrecognized_fields["custom"]["edgekiln"]
    signed = msgspec.to_builtins(msgspec.structs.replace(info, **changes))
    custom.setdefault("deltas", []).append(signed)
    files[f"targets/{path}"] = delta
    files[f"targets/{path}.leaves"] = encode_leaves(leaves)
    world.repository.publish()


@pytest.fixture
def updated(world: Any, make_bundle: Any) -> tuple[Any, str, bytes]:
    """A running device, a release that it can be told of, and a good delta to it."""
    world.boot()
    note = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(8))
    new = make_bundle(name="second", note=note)
    release = world.repository.add(new)
    old = world.repository.files[f"targets/bundles/{world.factory}.ekb"]
    return world, release, text_delta(old, new)


def asked(world: Any) -> set[str]:
    """Files that the device asked for, metadata left out."""
    return {r.path for r in world.asked if r.path.startswith("targets/")}


def committed(world: Any, release: str) -> bool:
    world.settle()
    record = world.agent.record
    runs = world.models.running == release == record.last_known_good.bundle_id
    return bool(record.state == S.COMMITTED and runs and world.good_slot_is_whole())


def test_release_comes_as_a_delta_when_the_device_holds_its_base(updated: Any) -> None:
    world, release, delta = updated
    add_delta(world, release, world.factory, delta)
    world.tell(world.document(release))
    assert committed(world, release)
    path = f"targets/deltas/{release}/{world.factory}.ekd"
    assert asked(world) == {path, f"{path}.leaves"}
    assert {p.suffix for p in (world.folder / "slots").iterdir()} == {".ekb"}


@pytest.mark.parametrize(
    "changes",
    [
        {"base_sha256": "a" * 64},
        {"working_bytes": 1 << 30},
        {"sha256": "not one"},
    ],
)
def test_whole_release_comes_at_once_when_no_delta_fits(
    updated: Any, changes: dict[str, Any]
) -> None:
    world, release, delta = updated
    world.agent._tools.downloads._memory_bytes = 1 << 20
    add_delta(world, release, world.factory, delta, **changes)
    world.tell(world.document(release))
    assert committed(world, release)
    whole = f"targets/bundles/{release}.ekb"
    assert asked(world) == {whole, f"{whole}.leaves"}


def test_whole_release_comes_when_the_delta_gives_something_else(updated: Any) -> None:
    world, release, _ = updated
    files = world.repository.files
    old = files[f"targets/bundles/{world.factory}.ekb"]
    new = files[f"targets/bundles/{release}.ekb"]
    add_delta(world, release, world.factory, text_delta(old, new[::-1]))
    world.tell(world.document(release))
    assert committed(world, release)
    assert f"targets/bundles/{release}.ekb" in asked(world)


@pytest.mark.parametrize("lost", ["", ".leaves"])
def test_whole_release_comes_when_the_delta_is_missing(updated: Any, lost: str) -> None:
    world, release, delta = updated
    add_delta(world, release, world.factory, delta)
    del world.repository.files[f"targets/deltas/{release}/{world.factory}.ekd{lost}"]
    world.tell(world.document(release))
    assert committed(world, release)
    assert f"targets/bundles/{release}.ekb" in asked(world)


def test_whole_release_comes_when_the_delta_is_no_delta(updated: Any) -> None:
    world, release, _ = updated
    add_delta(world, release, world.factory, b"EKD1" + bytes(40))
    world.tell(world.document(release))
    assert committed(world, release)
    assert f"targets/bundles/{release}.ekb" in asked(world)


def test_blocks_of_a_delta_are_kept_when_the_power_goes(updated: Any) -> None:
    world, release, delta = updated
    add_delta(world, release, world.factory, delta)
    assert len(delta) > 3 * BLOCK_BYTES
    world.lose = lambda request, index: request.path.endswith(".ekd") and index > 0
    world.tell(world.document(release))
    for _ in range(6):
        world.agent.tick()
        world.now_s += 1.0
    assert world.agent.record.state == S.FETCHING
    world.asked.clear()
    world.lose = lambda request, index: False
    world.boot()
    assert world.agent.record.progress == 1
    world.tell(world.document(release))
    assert committed(world, release)
    again = [r for r in world.asked if r.path.endswith(".ekd") and r.count]
    assert min(r.first for r in again) == 1


@pytest.mark.parametrize("cut", [0, 200, 10**6])
def test_rebuild_begins_again_when_the_power_goes_within(
    updated: Any, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """What a cut leaves of the file, nothing to all of it, changes nothing."""
    world, release, delta = updated
    add_delta(world, release, world.factory, delta)
    real = module.apply_delta

    def dies(*arguments: Any) -> None:
        real(*arguments)
        arguments[2].truncate(min(cut, arguments[3][1]))
        arguments[2].flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "apply_delta", dies)
    world.tell(world.document(release))
    with pytest.raises(KeyboardInterrupt):
        world.settle()
    monkeypatch.setattr(module, "apply_delta", real)
    world.asked.clear()
    world.boot()
    world.tell(world.document(release))
    assert committed(world, release)
    assert asked(world) == set()


def test_whole_download_goes_on_when_a_delta_appears_later(updated: Any) -> None:
    world, release, delta = updated
    world.lose = lambda request, index: index > 2
    world.tell(world.document(release))
    for _ in range(6):
        world.agent.tick()
        world.now_s += 1.0
    add_delta(world, release, world.factory, delta)
    world.lose = lambda request, index: False
    world.boot()
    world.tell(world.document(release))
    assert committed(world, release)
    assert not any(path.endswith(".ekd") for path in asked(world))


def test_smallest_delta_is_chosen_among_those_whose_base_is_held(tmp_path: Path) -> None:
    base = b"base" * 100
    info = DeltaInfo(
        base_id="1" * 64,
        base_bytes=len(base),
        base_sha256=hashlib.sha256(base).hexdigest(),
        path="d",
        leaves_path="l",
        bytes=50,
        sha256="2" * 64,
        merkle_root="3" * 64,
        working_bytes=WORKING_BYTES,
    )
    smaller = msgspec.structs.replace(info, base_id="4" * 64, bytes=20)
    larger = msgspec.structs.replace(info, bytes=70)
    release = ReleaseInfo(
        target_path="p",
        bundle_id="5" * 64,
        bytes=100,
        sha256="6" * 64,
        merkle_root="7" * 64,
        leaves_path="l",
        block_bytes=64,
        security_counter=1,
        targets=("host",),
        deltas=(larger, smaller, info),
    )
    assert choose_delta(release, tmp_path, 0) is None
    (tmp_path / f"{'1' * 64}.ekb").write_bytes(base)
    assert choose_delta(release, tmp_path, 0) == info
    assert choose_delta(release, tmp_path, WORKING_BYTES - 1) is None
    (tmp_path / f"{'4' * 64}.ekb").write_bytes(base)
    assert choose_delta(release, tmp_path, WORKING_BYTES) == smaller
    (tmp_path / f"{'4' * 64}.ekb").write_bytes(base[:-1] + b"x")
    assert choose_delta(release, tmp_path, 0) == info
    small = msgspec.structs.replace(release, bytes=60)
    assert choose_delta(small, tmp_path, 0) is None
