"""Lives of a device that end in a power cut, and what must hold in the life after.

    python -m benchmarks.crash_lives    # by `crash_trace.run_watched`, which preloads the shim

Each scenario is lived through once and recorded. Then the device is found with every disk that a
cut behind any one change may have left (`crash_disk.py`), is started from it and must come to the
scenario's end. `sweep` cuts once, `cut_again` cuts the life after the cut as well. Journal, slots,
download, outbox (SQLite) and python-tuf's cache are the real ones; the models are `FakeModels`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edgekiln.runtime import outbox
from edgekiln.runtime.ballast import Ballast
from edgekiln.runtime.protocol import DeviceState as S
from edgekiln.runtime.protocol import RolloutDocument, ShadowLimits
from edgekiln.runtime.state_machine import MAX_STEPS
from tests.runtime.conftest import World, bundle
from tests.runtime.test_rebuild import add_delta, text_delta

from .crash_disk import Disk, Image, Loss, boundaries, image_of, put_on_disk, without_unsaved
from .crash_trace import Change, Kind, Watch

outbox.Ballast = functools.partial(Ballast, size_bytes=2048)  # type: ignore[misc,assignment]

LOSSES = (
    *(Loss.KEPT, Loss.LOST, Loss.DATA, Loss.NAMES),
    *(Loss.ORDERED, Loss.ORDERED, Loss.MIXED, Loss.MIXED),
)
TAKEN, STAGE = b"taken", b"stage"
Stage = tuple[RolloutDocument, ...]  # what the broker retains


@dataclass(frozen=True, slots=True)
class Scenario:
    """`write` publishes releases and says what the cohort is told, stage by stage; `end` checks."""

    name: str
    write: Callable[[World], tuple[Stage, ...]]
    end: Callable[[World, tuple[Stage, ...]], None]


@dataclass(slots=True)
class Tally:
    """What was tried and what went wrong."""

    points: int = 0  # places to cut at
    restarts: int = 0  # different disks that a device was started from
    no_model: int = 0  # started without a working verified model
    unverified: int = 0  # loads of something that nobody signed
    astray: int = 0  # did not come to the scenario's end
    under_way: int = 0  # cuts that hit an update, where that was looked at
    details: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another tally in."""
        for name in ("points", "restarts", "no_model", "unverified", "astray", "under_way"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.details += other.details


class WatchedWorld(World):
    """Marks in the recording what the fleet has received."""

    watch: Watch

    def _take_up(self, kind: str, payload: bytes) -> bool:
        taken = super()._take_up(kind, payload)
        if taken:
            self.watch.mark(TAKEN)
        return taken


@dataclass(frozen=True, slots=True)
class Life:
    """A recorded life: the disk before it, what was done to it, and the fleet behind it.

    `begun` of the stages had begun before it; it hears the last of them again.
    """

    world: WatchedWorld
    start: Image
    changes: tuple[Change, ...]
    stages: tuple[Stage, ...]
    begun: int
    sent_before: int


def live(world: WatchedWorld, stages: Sequence[Stage]) -> None:
    """One process: boots, hears the retained documents of each stage, works until it rests."""
    world.boot()
    for stage in stages:
        world.watch.mark(STAGE)
        for document in stage:
            world.tell(document)
        world.settle()
    world.close()


def record(world: WatchedWorld, stages: tuple[Stage, ...], begun: int = 0) -> Life:
    """Live and write down; what was seen must be what is on disk."""
    start = image_of(world.folder)
    sent = len(world.sent)
    with world.watch.over(world.folder):
        live(world, stages[max(begun - 1, 0) :])
    changes = world.watch.recording()
    disk = Disk(world.folder, start)
    for change in changes:
        disk.play(change)
    seen = without_unsaved(disk.image(Loss.KEPT, random.Random(0)))
    if seen != without_unsaved(image_of(world.folder)):
        raise AssertionError("the shim did not see everything")
    return Life(world, start, changes, stages, begun, sent)


def sweep(life: Life, scenario: Scenario, stride: int, seed: int) -> Tally:
    """Cut behind every `stride`-th change, with every kind of loss; behind none where it is 0."""
    tally, known = Tally(), set()
    cuts = boundaries(life.changes)[seed % stride :: stride] if stride else []
    disk, at = Disk(life.world.folder, life.start), 0
    for cut in cuts:
        for change in life.changes[at:cut]:
            disk.play(change)
        at = cut
        tally.points += 1
        for number, loss in enumerate(LOSSES):
            image = disk.image(loss, random.Random(f"{seed} {cut} {number}"))
            state = (_stage(life, cut), image.key())
            if state in known:
                continue
            known.add(state)
            tally.add(after_cut(life, scenario, cut, image, f"{scenario.name} {cut} {loss}"))
    return tally


def after_cut(life: Life, scenario: Scenario, cut: int, image: Image, name: str) -> Tally:
    """Start from what the cut left, check, and go on to the end."""
    tally = Tally(restarts=1)
    with tempfile.TemporaryDirectory() as folder:
        world = found(life, cut, image, Path(folder) / "device")
        try:
            _check(world, life, scenario, cut, tally, name)
        finally:
            world.close()
    return tally


def cut_again(life: Life, scenario: Scenario, rng: random.Random) -> Tally:
    """Cut, start under watch, cut that life too, start, check."""
    tally = Tally(points=2, restarts=1)
    with tempfile.TemporaryDirectory() as folder:
        cut = rng.choice(boundaries(life.changes))
        image = _image(life, cut, rng)
        world = found(life, cut, image, Path(folder) / "device")
        second = record(world, life.stages, _stage(life, cut))
        again = rng.choice(boundaries(second.changes) or [0])
        name = f"{scenario.name} {cut} and {again}"
        image = _image(second, again, rng)
        tally.add(after_cut(second, scenario, again, image, name))
    return tally


def found(life: Life, cut: int, image: Image, folder: Path) -> WatchedWorld:
    """The device as it is found after a cut, and the fleet with what it has received by then."""
    put_on_disk(image, folder)
    world = life.world.reborn(folder)
    taken = sum(c.kind is Kind.MARK and c.first == TAKEN for c in life.changes[:cut])
    world.sent = life.world.sent[: life.sent_before + taken]
    return world


def _check(
    world: WatchedWorld, life: Life, scenario: Scenario, cut: int, tally: Tally, name: str
) -> None:
    told = [e.bundle_id for e in world.events if e.kind == "committed"]
    try:
        world.boot()
        good = world.agent.record.last_known_good
        running = world.models.running
        if not (good and running == good.bundle_id and world.good_slot_is_whole()):
            tally.no_model += 1
        stage = _stage(life, cut)
        left = any(document.aborted for documents in life.stages[:stage] for document in documents)
        if told and not left:
            later = [document.release for documents in life.stages for document in documents]
            assert running in later[later.index(told[-1]) :], "told as committed, and not running"
        for documents in life.stages[max(stage - 1, 0) :]:
            for document in documents:
                world.tell(document)
            world.settle()
        assert world.agent.record.steps <= MAX_STEPS
        scenario.end(world, life.stages)
        _check_told(world)
        _check_litter(world)
    except Exception:
        tally.astray += 1
        tally.details.append(f"{name}\n{traceback.format_exc(limit=-3)}")
    tally.unverified += len(set(world.models.read) - signed_files(world))


def signed_files(world: World) -> set[str]:
    """Hashes of every file that the repository has signed."""
    return {str(t.hashes["sha256"]) for t in world.repository.targets.targets.values()}


def _check_told(world: World) -> None:
    """Every rollout ended once, as far as the fleet was told."""
    for rollout in {e.rollout_id for e in world.events if e.rollout_id}:
        kinds = [e.kind for e in world.events if e.rollout_id == rollout]
        assert kinds.count("committed") <= 1, kinds
        assert kinds.count("rolled_back") <= 1, kinds
        assert kinds.count("rejected") <= 1, kinds


def _check_litter(world: World) -> None:
    """Nothing stays that nobody will ever remove."""
    record = world.agent.record
    named = {f"{s.bundle_id}.ekb" for s in (record.last_known_good, record.previous_good) if s}
    assert {path.name for path in (world.folder / "slots").iterdir()} == named
    names = [path.name for path in world.folder.rglob("*")]
    assert not [n for n in names if n.endswith(".part") or n.startswith("tmp")], names


def _image(life: Life, cut: int, rng: random.Random) -> Image:
    disk = Disk(life.world.folder, life.start)
    for change in life.changes[:cut]:
        disk.play(change)
    return disk.image(rng.choice(list(Loss)), rng)


def _stage(life: Life, cut: int) -> int:
    """How many stages had begun."""
    heard = sum(c.kind is Kind.MARK and c.first == STAGE for c in life.changes[:cut])
    return max(life.begun, max(life.begun - 1, 0) + heard)


# Scenarios ------------------------------------------------------------------------------------


def _add(world: World, counter: int = 1, **behaviour: Any) -> str:
    return world.repository.add(bundle(**behaviour), counter=counter)


def _kinds(world: World) -> set[str]:
    """Kinds of events, without the warning of a start from a disk that took nothing."""
    return {e.kind for e in world.events if not e.reason.startswith("messages end with")}


def _ended(world: World, state: S, running: str) -> None:
    assert world.agent.record.state == state, (world.agent.record.state, world.agent.record.reason)
    assert world.models.running == running


def _commit(world: World) -> tuple[Stage, ...]:
    return ((world.document(_add(world, name="good")),),)


def committed(world: World, stages: tuple[Stage, ...]) -> None:
    """The last release of the last stage runs, and nothing else was told."""
    _ended(world, S.COMMITTED, stages[-1][0].release)
    assert _kinds(world) >= {"trial", "committed"}
    assert not _kinds(world) & {"rejected", "rolled_back", "broken", "restart"}


def _bad(**behaviour: Any) -> Callable[[World], tuple[Stage, ...]]:
    return lambda world: ((world.document(_add(world, **behaviour)),),)


def back_at_factory(world: World, stages: tuple[Stage, ...]) -> None:
    """The release was left again, and the fleet knows."""
    _ended(world, S.ROLLED_BACK, world.factory)
    assert "rolled_back" in _kinds(world)
    assert not _kinds(world) & {"committed", "broken", "restart"}


def _two(world: World) -> tuple[Stage, ...]:
    first = world.document(_add(world, name="one"))
    second = world.document(_add(world, counter=2, name="two"), rollout_id="r2")
    return (first,), (second,)


def _abort(world: World) -> tuple[Stage, ...]:
    first, (second,) = _two(world)
    aborted = world.document(second.release, rollout_id="r2", version=2, aborted=True)
    return first, (second,), (aborted,)


def _aborted(world: World, stages: tuple[Stage, ...]) -> None:
    record = world.agent.record
    # A disk that took nothing until the abort has slept through the first rollout.
    taken = record.outcome_of("r1") == S.COMMITTED
    assert world.models.running == (stages[0][0].release if taken else world.factory)
    # Aborted before it had begun or while it was under way, or left again: one end, three ways.
    assert record.state in (S.ROLLED_BACK, S.SUPERSEDED, S.COMMITTED if taken else S.IDLE)
    assert record.outcome_of("r2") != S.COMMITTED


def _refuse(world: World) -> tuple[Stage, ...]:
    first = world.document(_add(world, counter=5, name="new"))
    second = world.document(_add(world, counter=4, name="old"), rollout_id="r2")
    return (first,), (second,)


def _refused(world: World, stages: tuple[Stage, ...]) -> None:
    _ended(world, S.REJECTED, stages[0][0].release)
    assert [e.rollout_id for e in world.events if e.kind == "rejected"] == ["r2"]


def _by_delta(world: World) -> tuple[Stage, ...]:
    new = bundle(name="good", note="".join(map(str, range(150))))  # worth more than one block
    release = world.repository.add(new)
    old = world.repository.files[f"targets/bundles/{world.factory}.ekb"]
    add_delta(world, release, world.factory, text_delta(old, new))
    return ((world.document(release),),)


def _soak(world: World) -> tuple[Stage, ...]:
    return ((world.document(_add(world, name="good"), soak_s=0.5),),)


def _shadow(**behaviour: Any) -> Callable[[World], tuple[Stage, ...]]:
    def write(world: World) -> tuple[Stage, ...]:
        limits = msgspec.structs.replace(world.limits, shadow=ShadowLimits())
        return ((world.document(_add(world, **behaviour), limits=limits),),)

    return write


SCENARIOS = (
    Scenario("commit", _commit, committed),
    Scenario("two releases", _two, committed),
    Scenario("by delta", _by_delta, committed),
    Scenario("soak", _soak, committed),
    Scenario("self-test fails", _bad(lsb=9), back_at_factory),
    Scenario("cannot be loaded", _bad(unloadable=True), back_at_factory),
    Scenario("shadow passes", _shadow(name="good"), committed),
    Scenario("shadow fails", _shadow(shadow_disagreement=0.3), back_at_factory),
    Scenario("trial fails", _bad(disagreement=0.9), back_at_factory),
    Scenario("aborted after commit", _abort, _aborted),
    Scenario("refused", _refuse, _refused),
)


def lives(watch: Watch, folder: Path) -> Iterator[tuple[Scenario, Life]]:
    """Every scenario, lived through once."""
    for number, scenario in enumerate(SCENARIOS):
        place = folder / str(number)
        place.mkdir()
        world = WatchedWorld(place)
        world.watch = watch
        stages = scenario.write(world)
        life = record(world, stages)
        again = world.reborn(place)
        again.boot()
        scenario.end(again, stages)
        again.close()
        yield scenario, life


def main() -> int:
    """Sweep every scenario; a JSON tally for each on stdout."""
    parser = argparse.ArgumentParser(prog="benchmarks.crash_lives")
    parser.add_argument("--stride", type=int, default=1, help="0: no life is cut once")
    parser.add_argument("--again", type=int, default=0, help="lives that are cut twice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--never-sync", action="store_true", help="a device that must not pass")
    options = parser.parse_args()
    if options.never_sync:
        os.fsync = lambda handle: None
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        for scenario, life in lives(Watch(), Path(folder)):
            if options.only not in scenario.name:
                continue
            tally = tallies[scenario.name] = sweep(life, scenario, options.stride, options.seed)
            rng = random.Random(f"{options.seed} {scenario.name}")
            for _ in range(options.again):
                tally.add(cut_again(life, scenario, rng))
    print(json.dumps({name: asdict(tally) for name, tally in tallies.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
