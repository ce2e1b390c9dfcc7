"""From outcomes to `SearchResult`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgekiln.compiler.gate import effective_budget
from edgekiln.targets.target import Target

from .baseline import BASELINE, Baseline
from .blueprint import work
from .choose import Contender, cheapest_of_the_best, target_front
from .ledger import Lost, Outcome, Trained
from .propose import Proposal
from .result import (
    BASELINE_ID,
    LONG,
    SHORT,
    CandidateRecord,
    Effort,
    FrontMember,
    RungScore,
    SearchRequest,
    SearchResult,
    TargetCost,
    TargetFront,
    TeacherRecord,
    search_id,
)
from .sieve import Priced
from .space import Space


@dataclass(frozen=True)
class Outcomes:
    """What the stages of a search left: accuracies by candidate id, one mapping a rung."""

    found: tuple[Proposal, ...]
    short: Mapping[str, float]
    long: Mapping[str, float]
    teacher: float | None
    space: Space
    baseline: Baseline
    priced_baseline: Priced
    complete: bool


def build_result(
    request: SearchRequest,
    outcomes: Outcomes,
    paid: Sequence[Outcome],
    elapsed_s: Callable[[], float],
) -> SearchResult:
    """Fronts, choices and records."""
    baseline = _baseline_record(outcomes)
    records = _records(request, outcomes, paid)
    rung = LONG if outcomes.long else SHORT
    samples = len(request.dataset.validation)
    fronts = tuple(
        _front(target, column, rung, (*records, baseline), samples)
        for column, target in enumerate(request.targets)
    )
    return SearchResult(
        search_id=search_id(request),
        dataset=request.dataset.name,
        data_sha256=request.dataset.sha256,
        contract=request.dataset.contract,
        seed=request.seed,
        candidates=records,
        baseline=baseline,
        fronts=fronts,
        teacher=_teacher(outcomes),
        complete=outcomes.complete,
        effort=_effort(paid, elapsed_s()),
    )


def front_ids(result: SearchResult) -> tuple[tuple[str, str, str], ...]:
    """(id, rung, path) of every member of any front, once."""
    members = (member for front in result.fronts for member in front.members)
    return tuple(dict.fromkeys((m.candidate_id, m.rung, m.path) for m in members))


def _front(
    target: Target, column: int, rung: str, records: Sequence[CandidateRecord], samples: int
) -> TargetFront:
    contenders = []
    for record in records:
        cost = record.costs[column]
        score = record.score(SHORT if record.id == BASELINE_ID else rung)
        if not cost.reasons and cost.footprint is not None and score is not None:
            contenders.append(Contender(record.id, score, cost.footprint))
    members = target_front(contenders)
    chosen, error = cheapest_of_the_best(members, samples)
    return TargetFront(
        target_id=target.id,
        budget=effective_budget(target, None),
        members=tuple(_member(member, rung) for member in members),
        chosen=chosen,
        standard_error=error,
    )


def _member(member: Contender, rung: str) -> FrontMember:
    return FrontMember(
        candidate_id=member.id,
        accuracy=member.accuracy,
        rung=SHORT if member.id == BASELINE_ID else rung,
        footprint=member.footprint,
        path=f"candidates/{member.id}.pt2",
    )


def _records(
    request: SearchRequest, outcomes: Outcomes, paid: Sequence[Outcome]
) -> tuple[CandidateRecord, ...]:
    lost = {outcome.candidate_id: outcome for outcome in paid if isinstance(outcome, Lost)}
    rungs = ((SHORT, request.short, outcomes.short), (LONG, request.long, outcomes.long))
    records = []
    for item in outcomes.found:
        scores = tuple(
            RungScore(name, rung.epochs, accuracy[item.id])
            for name, rung, accuracy in rungs
            if item.id in accuracy
        )
        reason = f"{lost[item.id].rung}: {lost[item.id].reason}" if item.id in lost else ""
        records.append(
            CandidateRecord(
                id=item.id,
                candidate=item.candidate,
                parameters=item.work.parameters,
                macs=item.work.macs,
                arena_bytes=item.priced.arena_bytes,
                model_bytes=item.priced.model_bytes,
                costs=_costs(item.priced),
                rungs=scores,
                lost=reason,
            )
        )
    return tuple(records)


def _baseline_record(outcomes: Outcomes) -> CandidateRecord:
    size, priced = work(outcomes.space.blueprint(BASELINE)), outcomes.priced_baseline
    return CandidateRecord(
        id=BASELINE_ID,
        candidate=BASELINE,
        parameters=size.parameters,
        macs=size.macs,
        arena_bytes=priced.arena_bytes,
        model_bytes=priced.model_bytes,
        costs=_costs(priced),
        rungs=(RungScore(SHORT, 0, outcomes.baseline.accuracy),),
    )


def _costs(priced: Priced) -> tuple[TargetCost, ...]:
    return tuple(TargetCost(v.target_id, v.footprint, v.reasons) for v in priced.verdicts)


def _teacher(outcomes: Outcomes) -> TeacherRecord | None:
    if outcomes.teacher is None:
        return None
    candidate = outcomes.space.largest()
    parameters = work(outcomes.space.blueprint(candidate)).parameters
    return TeacherRecord(candidate, parameters, outcomes.teacher, "teacher.pt2")


def _effort(paid: Sequence[Outcome], run_wall_s: float) -> Effort:
    trained = [outcome for outcome in paid if isinstance(outcome, Trained)]
    return Effort(
        training_wall_s=sum(outcome.wall_s for outcome in trained),
        training_cpu_s=sum(outcome.cpu_s for outcome in trained),
        run_wall_s=run_wall_s,
        trainings=len(trained),
        lost=len(paid) - len(trained),
    )
