"""The demo's first half: targets, search, compile, and the two other releases that a fleet needs.

Three models come out: the release (distilled, one bundle per target), the factory release that
devices leave with (the cheapest network of the front, as it was trained), and the bad one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.compiler.data import Dataset, FloatArray, IntArray
from edgekiln.compiler.distil import DistilSettings
from edgekiln.compiler.gate import AccuracyLimits
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.reference import quantize_input, run_int8
from edgekiln.compiler.request import CompileRequest, CompileResult, TargetRequest
from edgekiln.runtime.manifest import EstimateRecord, Lineage
from edgekiln.runtime.model import Model
from edgekiln.search import result as search
from edgekiln.search.baseline import fit_baseline
from edgekiln.search.loop import run_search
from edgekiln.search.perform import export_module
from edgekiln.search.result import BASELINE_ID, Rung, SearchRequest, SearchResult
from edgekiln.search.train import TrainingSet, train
from edgekiln.targets import Budget, Target, load_target

from ..calibrated import Calibrated, calibrated, save_targets
from ..errors import DemoError
from .result import CompileOutcome, FrontMember, SearchOutcome, TestOutcome

Say = Callable[[str], None]

# What the demo asks of each device; the profiles' own limits hold where nothing is set here.
BUDGETS = {
    "host": Budget(latency_ms=0.2, flash_bytes=49_152),
    "raspberry-pi-4": Budget(latency_ms=3.0, flash_bytes=49_152),
    "cortex-m4": Budget(latency_ms=40.0, ram_bytes=16_384, flash_bytes=49_152),
}
# The search keeps a budget in the engine of a target's first format and says nothing of others;
# this machine runs both of its formats far inside its own.
FORMATS = {"host": ("tflite", "onnx"), "raspberry-pi-4": ("tflite",), "cortex-m4": ("c",)}
FLEET_TARGET = "host"  # the demo's devices are processes on this machine
CANDIDATES = 48
SHORT_RUNG = Rung(epochs=3, trainings=20)
LONG_RUNG = Rung(epochs=12, trainings=8)
MIN_ACCURACY = 0.9
FORCED_REASON = "demonstration: labels were shuffled, the fleet has to stop it"
DISTILLATION = DistilSettings(epochs=6)


@dataclass(frozen=True)
class Searched:
    """The search's result and what it was priced with."""

    result: SearchResult
    known: Calibrated
    folder: Path

    def chosen(self, target_id: str) -> str:
        """The candidate chosen for a target.

        Raises:
            DemoError: none kept the target's budget.
        """
        candidate = self.result.front(target_id).chosen
        if candidate is None:
            raise DemoError(f"no candidate keeps the budget of {target_id}")
        return candidate

    def path(self, target_id: str, candidate_id: str) -> Path:
        """The trained program of a front member."""
        members = self.result.front(target_id).members
        return self.folder / next(m.path for m in members if m.candidate_id == candidate_id)

    def target(self, target_id: str) -> Target:
        """The calibrated target."""
        return next(target for target in self.known.targets if target.id == target_id)


def explore(dataset: Dataset, folder: Path, seed: int, say: Say) -> Searched:
    """Calibrate the three targets, then search inside their budgets."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = [
        dataclasses.replace(load_target(target_id), budget=budget)
        for target_id, budget in BUDGETS.items()
    ]
    known = calibrated(targets, say, seed)
    save_targets(folder, known)
    request = SearchRequest(
        dataset=dataset,
        targets=known.targets,
        out=folder,
        seed=seed,
        candidates=CANDIDATES,
        short=SHORT_RUNG,
        long=LONG_RUNG,
    )
    return Searched(run_search(request, say), known, folder)


def search_outcome(searched: Searched) -> SearchOutcome:
    """What the search found, for the report; the baseline stands on every front."""
    result = searched.result
    front = [
        FrontMember(
            target=front.target_id,
            candidate=member.candidate_id,
            kind="baseline" if member.candidate_id == BASELINE_ID else "network",
            accuracy=member.accuracy,
            latency=EstimateRecord.of(member.footprint.timed),
            ram_bytes=int(member.footprint.ram.high),
            flash_bytes=int(member.footprint.flash.high),
            chosen=member.candidate_id == front.chosen,
        )
        for front in result.fronts
        for member in front.members
    ]
    drawn = {(member.target, member.candidate) for member in front}
    baseline = result.baseline
    accuracy = baseline.rungs[-1].accuracy
    front += [
        FrontMember(
            target=cost.target_id,
            candidate=BASELINE_ID,
            kind="baseline",
            accuracy=accuracy,
            latency=EstimateRecord.of(cost.footprint.timed),
            ram_bytes=int(cost.footprint.ram.high),
            flash_bytes=int(cost.footprint.flash.high),
            chosen=False,
        )
        for cost in baseline.costs
        if cost.footprint is not None and (cost.target_id, BASELINE_ID) not in drawn
    ]
    return SearchOutcome(
        search_id=result.search_id,
        candidates=len(result.candidates),
        rejected=sum(not candidate.fits_any for candidate in result.candidates),
        refused={
            front.target_id: sum(
                bool(cost.reasons)
                for candidate in result.candidates
                for cost in candidate.costs
                if cost.target_id == front.target_id
            )
            for front in result.fronts
        },
        trained=sum(bool(candidate.rungs) for candidate in result.candidates),
        baseline_accuracy=accuracy,
        front=tuple(front),
        wall_s=result.effort.run_wall_s,
    )


def compile_target(
    searched: Searched, dataset: Dataset, target_id: str, parent: str, seed: int, say: Say
) -> CompileResult:
    """The chosen candidate for one target: distilled, quantized, proven, gated."""
    candidate_id = searched.chosen(target_id)
    teacher = searched.result.teacher
    request = CompileRequest(
        name=f"digits-{target_id}",
        model=searched.path(target_id, candidate_id),
        dataset=dataset,
        targets=(TargetRequest(searched.target(target_id), FORMATS[target_id]),),
        teacher=searched.folder / teacher.path if teacher is not None else None,
        seed=seed,
        lineage=_lineage(searched, dataset, candidate_id, parent),
        limits=AccuracyLimits(minimum=MIN_ACCURACY),
        distillation=DISTILLATION,
    )
    return compile_model(request, say)


def factory_member(members: Sequence[search.FrontMember], chosen: str) -> search.FrontMember:
    """The cheapest network of a front that is decent and not `chosen`.

    Training differs by CPU, so a front may have none: then the most accurate member, because a
    device that leaves with a poor model would refuse the release for disagreeing with it.
    """
    decent = [
        member
        for member in members
        if member.accuracy >= MIN_ACCURACY and member.candidate_id not in (chosen, BASELINE_ID)
    ]
    if not decent:
        return max(members, key=lambda member: member.accuracy)
    return min(decent, key=lambda member: member.footprint.timed.high)


def compile_factory(searched: Searched, dataset: Dataset, seed: int, say: Say) -> CompileResult:
    """The cheapest decent network of the fleet's front, as the search trained it."""
    members = searched.result.front(FLEET_TARGET).members
    cheapest = factory_member(members, searched.chosen(FLEET_TARGET))
    request = CompileRequest(
        name="digits-factory",
        model=searched.folder / cheapest.path,
        dataset=dataset,
        targets=(TargetRequest(searched.target(FLEET_TARGET)),),
        seed=seed,
        lineage=_lineage(searched, dataset, cheapest.candidate_id, ""),
    )
    return compile_model(request, say)


def compile_bad(
    searched: Searched, dataset: Dataset, parent: str, seed: int, say: Say
) -> CompileResult:
    """The chosen architecture, trained on shuffled labels and forced past the gate."""
    candidate_id = searched.chosen(FLEET_TARGET)
    records = (*searched.result.candidates, searched.result.baseline)
    known = next(record for record in records if record.id == candidate_id)
    rng = np.random.default_rng(seed)
    wrong = dataclasses.replace(dataset, y=rng.permutation(dataset.y))
    blueprint = known.candidate.blueprint(
        dataset.contract.input.shape, len(dataset.contract.classes)
    )
    fitted = train(blueprint, TrainingSet.of(wrong), epochs=2, seed=seed)
    path = searched.folder / "bad.pt2"
    export_module(blueprint, fitted.weights, path)
    request = CompileRequest(
        name="digits-bad",
        model=path,
        dataset=dataset,
        targets=(TargetRequest(searched.target(FLEET_TARGET)),),
        seed=seed,
        lineage=_lineage(searched, dataset, candidate_id, parent),
        limits=AccuracyLimits(minimum=MIN_ACCURACY),
        force_reason=FORCED_REASON,
    )
    return compile_model(request, say)


def compile_outcomes(result: CompileResult) -> tuple[CompileOutcome, ...]:
    """One row per artifact: measured where it runs here, else as its target is known."""
    return tuple(
        CompileOutcome(
            target=item.target,
            format=item.format,
            bytes=item.bytes,
            accuracy_float=result.manifest.accuracy_float,
            accuracy_int8=result.manifest.accuracy_int8,
            latency=EstimateRecord.of(item.measured or item.footprint.timed),
            ram_bytes=int(item.footprint.ram.high),
            flash_bytes=int(item.footprint.flash.high),
            bundle_id=result.bundle_id,
            notes=result.notes,
        )
        for item in result.artifacts
    )


def final_test(dataset: Dataset, bundle: Path) -> TestOutcome:
    """Open the sealed split, once: the released bytes against the baseline's."""
    x, y = dataset.open_test()
    model = Model.open(bundle, target=FLEET_TARGET)
    right = model.predict(x).indices == y
    baseline = _baseline_accuracy(dataset, x, y)
    return TestOutcome(
        samples=len(y), accuracy_int8=float(right.mean()), baseline_accuracy=baseline
    )


def _baseline_accuracy(dataset: Dataset, x: FloatArray, y: IntArray) -> float:
    """The logistic regression on the same samples, in int8 as a device would run it."""
    graph = fit_baseline(TrainingSet.of(dataset), dataset.contract.input.shape).graph
    samples = quantize_input(graph, dataset.contract.preprocess(x))
    return float((run_int8(graph, samples).argmax(axis=1) == y).mean())


def _lineage(searched: Searched, dataset: Dataset, candidate_id: str, parent: str) -> Lineage:
    return Lineage(
        data_sha256=dataset.sha256,
        search_id=searched.result.search_id,
        candidate_id=candidate_id,
        parent=parent,
        seed=searched.result.seed,
    )
