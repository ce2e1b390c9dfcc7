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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgekiln.runtime import outbox
from edgekiln.runtime.ballast import Ballast
from edgekiln.runtime.state_machine import MAX_STEPS
from tests.runtime.conftest import World

from .crash_disk import Disk, Image, Loss, boundaries, image_of, put_on_disk, without_unsaved
from .crash_scenarios import SCENARIOS, Scenario, Stage
from .crash_trace import Change, Kind, Watch

LOSSES = (
    *(Loss.KEPT, Loss.LOST, Loss.DATA, Loss.NAMES),
    *(Loss.ORDERED, Loss.ORDERED, Loss.MIXED, Loss.MIXED),
)
TAKEN, STAGE = b"taken", b"stage"


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


def with_little_ballast() -> None:
    """Thousands of disks are written, by a process that is for them alone: ballast is small."""
    outbox.Ballast = functools.partial(Ballast, size_bytes=2048)  # type: ignore[misc,assignment]


def main() -> int:
    """Sweep every scenario; a JSON tally for each on stdout."""
    parser = argparse.ArgumentParser(prog="benchmarks.crash_lives")
    parser.add_argument("--stride", type=int, default=1, help="0: no life is cut once")
    parser.add_argument("--again", type=int, default=0, help="lives that are cut twice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--never-sync", action="store_true", help="a device that must not pass")
    options = parser.parse_args()
    with_little_ballast()
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
