"""The update agent under power cuts, failing disks and `kill -9`: counts, each bound to be zero.

    python -m benchmarks runtime_crash

Cuts behind every change of a file, name or database page that a life of the device makes, each with
up to eight disks that POSIX allows to be found afterwards (`crash_lives.py`); lives that are cut
twice; disks that are full, read-only or fail once from every change on (`crash_faults.py`); and the
real process, killed at random with a real broker and a real model (`crash_kills.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from .crash_kills import kill_at_random
from .crash_lives import Tally
from .crash_trace import run_watched
from .figure import FULL, Figure, Scale

TIMEOUT_S = 7200.0


def run(scale: Scale) -> Iterator[Figure]:
    """Points, restarts and what went wrong, for each way to fail."""
    full = scale.samples >= FULL.samples
    stride, again, kills = (1, 100, 200) if full else (25, 2, 5)
    seed = f"--seed={scale.seed}"
    yield from _figures("power cut", "benchmarks.crash_lives", f"--stride={stride}", seed)
    yield from _figures(
        "cut twice", "benchmarks.crash_lives", "--stride=0", f"--again={again}", seed
    )
    yield from _figures("failing disk", "benchmarks.crash_faults", f"--stride={stride}")
    shot = kill_at_random(kills, scale.seed)
    yield from _told("kill -9", shot)
    yield Figure("kill -9: in the middle of an update", shot.under_way, "", "exact")


def _figures(name: str, module: str, *arguments: str) -> Iterator[Figure]:
    tallies = json.loads(run_watched(module, arguments, TIMEOUT_S))
    total = Tally()
    for tally in tallies.values():
        total.add(Tally(**tally))
    yield from _told(name, total)


def _told(name: str, tally: Tally) -> Iterator[Figure]:
    for detail in tally.details:
        print(detail)
    yield Figure(f"{name}: points", tally.points, "", "exact")
    yield Figure(f"{name}: restarts", tally.restarts, "", "exact")
    yield Figure(f"{name}: no working verified model", tally.no_model, "", "exact", 0)
    yield Figure(f"{name}: unverified models run", tally.unverified, "", "exact", 0)
    yield Figure(f"{name}: did not converge", tally.astray, "", "exact", 0)
