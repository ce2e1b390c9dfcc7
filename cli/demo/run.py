"""`run_demo`: the loop, one stage after the other, each of them timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgekiln.compiler.data import Dataset, load_dataset
from edgekiln.compiler.request import CompileResult
from edgekiln.fleet.model import Release
from edgekiln.fleet.registry import register_release

from ..processes import Children, PeakMemory
from . import fleet_stages as ships
from . import model_stages as models
from .report import write_report
from .result import DemoResult, DriftOutcome, RollbackOutcome, RolloutOutcome

Say = Callable[[str], None]
DATA = "sklearn:digits"


@dataclass
class _Clock:
    """Seconds that each stage took, in order."""

    say: Say
    stage_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        self.say(f"[{len(self.stage_s) + 1}] {name}: {text}")
        started = time.monotonic()
        yield
        self.stage_s[name] = time.monotonic() - started


@dataclass(frozen=True)
class _Models:
    """What the first half made."""

    dataset: Dataset
    searched: models.Searched
    compiled: tuple[CompileResult, ...]
    factory: Path
    release: Path
    bad: Path


@dataclass(frozen=True)
class _Shipped:
    """What the second half saw."""

    rollout: RolloutOutcome
    drift: DriftOutcome
    rollback: RollbackOutcome


def run_demo(out: Path, seed: int, say: Say, finish: Callable[[DemoResult], None]) -> None:
    """Run the whole loop in the empty folder `out`.

    `finish` gets the result while the fleet still runs; when it returns, the fleet ends. Ctrl-C
    anywhere ends every child.

    Raises:
        DemoError: a stage did not show what it claims.
    """
    started = time.monotonic()
    clock = _Clock(say)
    with PeakMemory() as memory:
        made = _make_models(out, seed, clock)
        children = Children(out / "logs")
        try:
            shipped, dashboard = _ship(made, out, children, clock)
            with clock.stage("test", "opening the sealed test split, once"):
                test = models.final_test(made.dataset, made.release)
            result = DemoResult(
                search=models.search_outcome(made.searched),
                compile=tuple(
                    row for item in made.compiled for row in models.compile_outcomes(item)
                ),
                test=test,
                rollout=shipped.rollout,
                drift=shipped.drift,
                rollback=shipped.rollback,
                notes=made.searched.known.notes,
                report=str(out / "report.html"),
                dashboard=dashboard,
                stage_s=clock.stage_s,
                wall_s=time.monotonic() - started,
                peak_rss_mb=memory.peak_bytes / 2**20,
            )
            write_report(out / "report.html", result)
            finish(result)
        finally:
            children.close()


def _make_models(out: Path, seed: int, clock: _Clock) -> _Models:
    say = clock.say
    bundles = out / "bundles"
    bundles.mkdir(parents=True)
    dataset = load_dataset(DATA, seed=seed)
    with clock.stage("search", f"{models.CANDIDATES} candidates for three targets"):
        searched = models.explore(dataset, out / "search", seed, say)
    with clock.stage("compile", "distil, quantize, export and prove, per target"):
        factory = models.compile_factory(searched, dataset, seed, say)
        factory.write(bundles / "factory.ekb")
        compiled = []
        for target_id in models.BUDGETS:
            parent = factory.bundle_id if target_id == models.FLEET_TARGET else ""
            result = models.compile_target(searched, dataset, target_id, parent, seed, say)
            result.write(bundles / f"{target_id}.ekb")
            compiled.append(result)
        good = next(
            r for r, t in zip(compiled, models.BUDGETS, strict=True) if t == models.FLEET_TARGET
        )
        bad = models.compile_bad(searched, dataset, good.bundle_id, seed, say)
        bad.write(bundles / "bad.ekb")
    return _Models(
        dataset,
        searched,
        tuple(compiled),
        bundles / "factory.ekb",
        bundles / f"{models.FLEET_TARGET}.ekb",
        bundles / "bad.ekb",
    )


def _ship(made: _Models, out: Path, children: Children, clock: _Clock) -> tuple[_Shipped, str]:
    with clock.stage("fleet", f"a broker, a server and {ships.DEVICES} devices, each a process"):
        folder, factory = ships.found_fleet(out / "fleet", made.factory)
        good = register_release(folder, made.release, parent=factory.bundle_id, alias="prod")
        fleet = ships.start_fleet(folder, factory, made.dataset.x, out, children)
        clock.say(f"dashboard at {fleet.client.address.url}")
    with clock.stage("rollout", "the release, in two waves"):
        rollout = ships.roll_out(fleet, good)
    with clock.stage("drift", f"the sensors of {ships.DRIFTED} dim and shift"):
        drift = ships.drift(fleet)
    with clock.stage("bad release", "forced past the gate, to two devices"):
        bad: Release = register_release(folder, made.bad, parent=good.bundle_id)
        rollback = ships.refuse(fleet, bad, good)
    return _Shipped(rollout, drift, rollback), fleet.client.address.url
