"""The real device process, killed with `kill -9` at random moments of its updates.

A real broker (mosquitto), real bundles run by LiteRT, `edgekiln device run` as users start it; the
fleet's side is the tests' own. Good and bad releases take turns; each rollout is shot at a few
times and then left alone to come to its end.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.runtime.journal import Journal
from edgekiln.runtime.protocol import DeviceState, SelfTestLimits
from edgekiln.runtime.slots import SlotStore
from tests.runtime.conftest import Repository
from tests.runtime.test_device import WEIGHTS, Broker, Fleet, X, enrol, make_release

from .crash_lives import Tally

PATHS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
SHOTS = 4  # at one rollout, at most
EARLY = 0.2  # share of the shots that fall before a model is live
EARLY_S, LATE_S = (0.05, 0.8), (0.0, 1.0)  # behind the start, behind the first live model
END_S = 200.0
PATIENCE = 12  # times the fleet's deadline: a link that broke is tried again after a minute
LIMITS = SelfTestLimits(trial_samples=20, trial_timeout_s=60.0, trial_starts=SHOTS + 2)


class Range:
    """A broker, a fleet and one device to shoot at."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        binary = shutil.which("mosquitto", path=PATHS)
        if binary is None:
            raise SystemExit("mosquitto is not here; install it with: make system")
        self.folder, self.home, self._rng = folder, folder / "device", rng
        self.broker = Broker(binary, folder)
        self.fleet = Fleet(Repository(), self.broker.port)
        self.signed = {enrol(self.fleet, self.broker.port, self.home)}
        self.good = next(iter(self.signed))
        self.kills = 0
        self.process: subprocess.Popen[bytes] | None = None
        np.savez(folder / "x.npz", x=X)

    def start(self) -> None:
        """A new process on the same folder."""
        command = [
            *(sys.executable, "-m", "edgekiln.cli", "device", "run", str(self.home)),
            *("--source", str(self.folder / "x.npz"), "--rate-hz", "200", "--window-s", "0.5"),
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)

    def shoot(self) -> None:
        """Wait a random while, then `kill -9`."""
        process = self.process
        assert process is not None
        assert process.stderr is not None
        is_early = self._rng.random() < EARLY
        if not is_early:
            process.stderr.readline()  # says which model is live
        threading.Event().wait(self._rng.uniform(*(EARLY_S if is_early else LATE_S)))
        process.kill()
        process.communicate()
        self.kills += 1

    def release(self, number: int, is_good: bool) -> str:
        """Publish a release and tell the cohort to take it."""
        weights = WEIGHTS * (1 + 0.001 * number) if is_good else -WEIGHTS * (1 + 0.001 * number)
        data, bundle_id = make_release(self.folder, f"release-{number}", weights)
        self.fleet.repository.add(data, bundle_id=bundle_id)
        self.signed.add(bundle_id)
        self.fleet.roll_out(bundle_id, version=number, limits=LIMITS)
        return bundle_id

    def look(self, tally: Tally) -> None:
        """Count what the dead device's disk holds: a good model, whole, and an update under way."""
        record = Journal(self.home / "journal.jsonl").record
        good = record.last_known_good if record else None
        tally.no_model += good is not None and not SlotStore(self.home / "slots").holds(good)
        tally.under_way += record is not None and record.busy

    def unverified(self) -> set[str]:
        """What the device said to run although nobody signed it."""
        ran = {str(getattr(message, "running", "")) for _, message in self.fleet.heard}
        ran |= {m.bundle_id for kind, m in self.fleet.heard if kind == "report"}
        return ran - self.signed - {""}

    def wait(self, kind: str, wanted: Callable[[Any], bool]) -> Any:
        """As the fleet's, on a machine that may stand still for a while."""
        for last in [False] * (PATIENCE - 1) + [True]:
            try:
                return self.fleet.wait(kind, wanted)
            except AssertionError:
                if last:
                    raise
        return None

    def close(self) -> None:
        """End all processes."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.fleet.close()
        self.broker.stop()


def kill_at_random(kills: int, seed: int) -> Tally:
    """Shoot `kills` times; a tally of what the device was like after each."""
    rng, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as folder:
        range_ = Range(Path(folder), rng)
        try:
            number = 0
            while range_.kills < kills:
                number += 1
                _rollout(range_, number, min(rng.randint(1, SHOTS), kills - range_.kills), tally)
        finally:
            range_.close()
        tally.points = range_.kills
        tally.unverified = len(range_.unverified())
    return tally


def _rollout(range_: Range, number: int, shots: int, tally: Tally) -> None:
    is_good = number % 3 != 0
    release = range_.release(number, is_good)
    for _ in range(shots):
        range_.start()
        range_.shoot()
        range_.look(tally)
    heard = len(range_.fleet.heard)
    range_.start()
    tally.restarts += shots
    expected = release if is_good else range_.good
    ended = DeviceState.COMMITTED if is_good else DeviceState.ROLLED_BACK
    rollout = f"r-{release[:6]}"
    try:
        born = range_.wait("birth", lambda b: b in _since(range_, heard) and b.online)
        tally.no_model += not born.running
        range_.wait(
            "state",
            lambda s: s.rollout_id == rollout and s.state == ended and s.running == expected,
        )
    except AssertionError as error:
        tally.astray += 1
        tally.details.append(f"rollout {number}: {str(error)[:2000]}")
    said = _end(range_)
    if tally.details:
        tally.details.append(said)
    if is_good:
        range_.good = release


def _since(range_: Range, count: int) -> list[Any]:
    return [message for _, message in range_.fleet.heard[count:]]


def _end(range_: Range) -> str:
    """End the process in order, as the next rollout begins with a start; what it has said."""
    assert range_.process is not None
    range_.process.terminate()
    try:
        return range_.process.communicate(timeout=END_S)[1].decode()
    except subprocess.TimeoutExpired:
        range_.process.kill()
        return range_.process.communicate()[1].decode()
