"""The sweep of `crash_lives.py` with real bundles, opened, tested and run by LiteRT.

python -m benchmarks.crash_real    # by `crash_trace.run_watched`, which preloads the shim
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edgekiln.runtime import live
from edgekiln.runtime.model import Model
from edgekiln.runtime.protocol import TrialEvidence
from tests.runtime import conftest
from tests.runtime.conftest import World
from tests.runtime.test_device import WEIGHTS, X, make_release

from .crash_lives import Tally, WatchedWorld, record
from .crash_lives import sweep as sweep_life
from .crash_scenarios import Scenario, Stage, back_at_factory, committed
from .crash_trace import Watch

conftest.BLOCK_BYTES = 4096  # a real bundle in blocks of 64 bytes would be nothing but blocks
live.SELF_TEST_BUDGET_S = 0.01
SAMPLES = 70


class RealModels(live.LiveModels):
    """Live models that remember what they were handed and are asked samples when judged."""

    def __init__(self) -> None:
        super().__init__("host")
        self.read: list[str] = []

    def evidence(self) -> TrialEvidence:
        """What the trial has shown, after some samples."""
        assert self.session is not None
        for sample in X[:SAMPLES]:
            self.session.predict(sample)
        return super().evidence()

    def _open(self, path: Path) -> Model:
        self.read.append(hashlib.sha256(path.read_bytes()).hexdigest())
        return super()._open(path)


class RealWorld(WatchedWorld):
    """A device whose factory release is a real one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.new_models = RealModels  # type: ignore[assignment]
        self.repository.targets.targets.clear()
        for path in [p for p in self.repository.files if p.startswith("targets/")]:
            del self.repository.files[path]
        self.factory = self.add("factory", WEIGHTS)
        shutil.rmtree(folder / "factory")
        self.repository.copy_to(folder / "factory")

    def add(self, name: str, weights: np.ndarray) -> str:
        """Publish a real release; its id."""
        with tempfile.TemporaryDirectory() as folder:
            data, bundle_id = make_release(Path(folder), name, weights)
        return self.repository.add(data, bundle_id=bundle_id)


def _write(factor: float) -> Callable[[World], tuple[Stage, ...]]:
    def write(world: World) -> tuple[Stage, ...]:
        assert isinstance(world, RealWorld)
        return ((world.document(world.add("new", WEIGHTS * factor)),),)

    return write


SCENARIOS = (
    Scenario("real: commit", _write(1.01), committed),
    Scenario("real: trial fails", _write(-1.0), back_at_factory),
)


def main() -> int:
    """Sweep both scenarios; a JSON tally for each on stdout."""
    parser = argparse.ArgumentParser(prog="benchmarks.crash_real")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, scenario in enumerate(SCENARIOS):
            place = Path(folder) / str(number)
            place.mkdir()
            world = RealWorld(place)
            world.watch = Watch()
            life = record(world, scenario.write(world))
            tallies[scenario.name] = sweep_life(life, scenario, options.stride, options.seed)
    print(json.dumps({name: asdict(tally) for name, tally in tallies.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
