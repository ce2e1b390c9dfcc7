"""Lives of a device whose disk refuses from some change on, or once, and then is mended.

    python -m benchmarks.crash_faults    # by `crash_trace.run_watched`, which preloads the shim

For each change that a scenario makes: a disk that is full from there on, one that turns read-only,
and one that fails this single change. While it lasts a verified model must run and nothing may
escape; afterwards the device must come to the scenario's end without a restart.
"""

from __future__ import annotations

import argparse
import errno
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .crash_disk import image_of, put_on_disk
from .crash_lives import Tally, WatchedWorld, signed_files, with_little_ballast
from .crash_scenarios import SCENARIOS, Scenario, Stage
from .crash_trace import FOREVER, Watch

FAULTS = (
    ("full", errno.ENOSPC, True),
    ("read-only", errno.EROFS, True),
    ("one error", errno.EIO, False),
)
NAMES = ("commit", "trial fails", "aborted after commit")


def sweep(watch: Watch, scenario: Scenario, folder: Path, stride: int) -> Tally:
    """Every fault at every `stride`-th change."""
    world = WatchedWorld(folder)
    world.watch = watch
    stages = scenario.write(world)
    start = image_of(folder)
    with watch.over(folder):
        _live(world, stages)
        total = watch.changes
    tally = Tally()
    for number in range(1, total + 1, stride):
        tally.points += 1
        for name, error, lasting in FAULTS:
            with tempfile.TemporaryDirectory() as place:
                put_on_disk(start, Path(place) / "device")
                other = world.reborn(Path(place) / "device")
                other.sent = []
                last = FOREVER if lasting else number
                tally.restarts += 1
                _one(other, scenario, stages, (number, error, last), tally, name)
    return tally


def _one(
    world: WatchedWorld,
    scenario: Scenario,
    stages: Sequence[Stage],
    fault: tuple[int, int, int],
    tally: Tally,
    name: str,
) -> None:
    watch = world.watch
    first, error, last = fault
    try:
        with watch.over(world.folder):
            watch.fail(first, error, last)
            _live(world, stages)
            tally.no_model += not world.models.running
            watch.mend()
            world.now_s += 1000
            for _ in stages:
                world.settle()
        scenario.end(world, tuple(stages))
    except Exception:
        tally.astray += 1
        tally.details.append(f"{scenario.name} {first} {name}\n{traceback.format_exc(limit=-3)}")
    finally:
        watch.mend()
        world.close()
    tally.unverified += len(set(world.models.read) - signed_files(world))


def _live(world: WatchedWorld, stages: Sequence[Stage]) -> None:
    world.boot()
    for stage in stages:
        for document in stage:
            world.tell(document)
        world.settle(30)


def main() -> int:
    """Sweep the scenarios; a JSON tally for each on stdout."""
    parser = argparse.ArgumentParser(prog="benchmarks.crash_faults")
    parser.add_argument("--stride", type=int, default=1)
    options = parser.parse_args()
    with_little_ballast()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, scenario in enumerate(s for s in SCENARIOS if s.name in NAMES):
            place = Path(folder) / str(number)
            place.mkdir()
            tallies[scenario.name] = sweep(Watch(), scenario, place, options.stride)
    print(json.dumps({name: asdict(tally) for name, tally in tallies.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
