"""`run_search`: sieve, train short, learn, train long, and write down the front.

1. Candidates are sampled along the cost axes and sieved; if too few fit, neighbours of the nearest
   misses are sieved too. Nothing has been trained yet.
2. Short trainings in two waves: half spread along cost; then, with a surrogate fitted to those,
   half where it expects the front, mutants of the leaders included.
3. Promotion to long trainings by non-dominated rank and spacing along log-cost; the teacher, bound
   by no budget, is trained beside them.
4. Per target: the front over accuracy, latency bound, RAM and flash, linear baseline included.

Everything paid for is in the ledger, so calling this again with the same request and folder
continues where it stopped, and ends in the same result.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekiln.runtime.files import write_atomic

from .baseline import BASELINE, Baseline, fit_baseline
from .choose import first_wave, leaders, promoted, second_wave, shared_out
from .errors import SearchError, TrainingError
from .ledger import Ledger, Lost, Trained
from .mlp_space import space_for
from .propose import Proposal, mutants, proposals, sample_spread
from .report import Outcomes, build_result, front_ids
from .result import (
    BASELINE_ID,
    LONG,
    SHORT,
    TEACHER,
    TEACHER_ID,
    SearchRequest,
    SearchResult,
    search_id,
)
from .sieve import Priced, check_targets, nothing_fits, price
from .space import Candidate, Space
from .train import TrainingSet, save_arrays, training_seed
from .worker import Done, ExportJob, Failed, TrainJob, WorkerPool, Workplace

_TRAINING_SHARE = 0.8  # of the deadline
_SIEVE_ROUNDS = 6
_PARENTS = 8
_EXPORT_TRIES = 2


Say = Callable[[str], None]
Clock = Callable[[], float]


def run_search(
    request: SearchRequest,
    progress: Say = lambda _: None,
    clock: Clock = time.monotonic,
) -> SearchResult:
    """Run or resume a search; writes `search.json`, `candidates/*.pt2` and `teacher.pt2`.

    `progress` gets one short line for every step; `clock` gives seconds.

    Ctrl-C ends the workers and leaves the ledger for the next call.

    Raises:
        SpaceError: no space covers the data's shape.
        BudgetError: a target whose budget no candidate keeps; nothing was trained.
        LedgerError: the folder holds another search, or a damaged ledger.
        TrainingError: every training failed, or a member of the front could not be exported.
        SearchError: the request makes no sense.
    """
    started = clock()
    request.check()
    check_targets(request.targets)
    spec = request.dataset.contract
    space = space_for(spec.input.shape, len(spec.classes))
    folders = _Folders.make(request.out)
    data = TrainingSet.of(request.dataset)
    with Ledger.open(request.out / "ledger.jsonl", search_id(request)) as ledger:
        data.save(folders.training_set)
        place = Workplace(folders.training_set, space.input_shape, space.classes)
        with WorkerPool(place, request.workers, request.trial_timeout_s, clock) as pool:
            until = started + _TRAINING_SHARE * request.deadline_s
            search = _Search(request, space, folders, ledger, pool, progress, until)
            baseline = fit_baseline(data, space.input_shape)
            outcomes = search.run(baseline)
            result = build_result(request, outcomes, ledger.outcomes(), lambda: clock() - started)
            search.export(result, baseline)
    write_atomic(request.out / "search.json", result.encode())
    return result


@dataclass(frozen=True)
class _Folders:
    """The layout of a search's folder."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> _Folders:
        for folder in (root / "weights", root / "candidates"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"cannot write into {root}: {error.strerror or error}; choose another folder"
                raise SearchError(msg) from error
        return cls(root)

    @property
    def training_set(self) -> Path:
        return self.root / "training.npz"

    def weights(self, candidate_id: str, rung: str) -> Path:
        return self.root / "weights" / f"{candidate_id}-{rung}.npz"


@dataclass
class _Search:
    """The stages, and what they share."""

    request: SearchRequest
    space: Space
    folders: _Folders
    ledger: Ledger
    pool: WorkerPool
    say: Say
    until: float
    cut: bool = field(default=False)  # the deadline left a training out

    def run(self, baseline: Baseline) -> Outcomes:
        """All trainings."""
        request = self.request
        priced_baseline = price(baseline.graph, request.targets)
        found = self._sieve(priced_baseline)
        fitting = _fitting(found)
        half = math.ceil(request.short.trainings / 2)
        wave = shared_out(fitting, half, first_wave)
        short = self._train(wave, SHORT, request.short.epochs)
        if short:
            found += self._breed(found, leaders(fitting, short))
            fitting = _fitting(found)
        tried = frozenset(item.id for item in wave)
        wave = shared_out(
            fitting,
            request.short.trainings - len(wave),
            lambda pool, count: second_wave(pool, short, tried, count),
        )
        short |= self._train(wave, SHORT, request.short.epochs)
        chosen = shared_out(
            fitting, request.long.trainings, lambda pool, count: promoted(pool, short, count)
        )
        long = self._train_long(chosen)
        teacher = long.pop(TEACHER_ID, None)
        self._refuse_emptiness(bool(fitting), short)
        return Outcomes(
            found, short, long, teacher, self.space, baseline, priced_baseline, not self.cut
        )

    def export(self, result: SearchResult, baseline: Baseline) -> None:
        """Write every member of a front and the teacher as .pt2.

        Always anew: a file of an earlier run may hold the weights of a shorter training.
        """
        save_arrays(self.folders.weights(BASELINE_ID, SHORT), baseline.weights)
        jobs = self._export_jobs(result)
        reason = ""
        for _ in range(_EXPORT_TRIES):
            failed: list[ExportJob] = []
            for job, answer in self.pool.run(jobs, math.inf):
                assert isinstance(job, ExportJob)
                if isinstance(answer, Failed):
                    failed.append(job)
                    reason = f"{job.path.name} could not be written: {answer.reason}"
                else:
                    self.say(f"export: {job.path.name}")
            jobs = failed
        if jobs:
            raise TrainingError(f"{reason}; search again with the same folder to continue")

    def _sieve(self, baseline: Priced) -> tuple[Proposal, ...]:
        request, rng = self.request, random.Random(f"{self.request.seed}/sample")
        found = proposals(
            self.space, sample_spread(self.space, request.candidates, rng), request.targets
        )
        self._tell_sieve(found)
        for _ in range(_SIEVE_ROUNDS):
            scarce, fits = _scarcest(found)
            if fits * len(request.targets) >= request.short.trainings:
                break
            nearest = sorted(found, key=lambda item: item.priced.verdicts[scarce].excess)
            found += self._more(found, nearest[:_PARENTS], request.candidates // 2, rng)
            self._tell_sieve(found)
        everything = [*(item.priced for item in found), baseline]
        for column in range(len(request.targets)):
            if not any(item.verdicts[column].fits for item in everything):
                raise nothing_fits(everything)
        return found

    def _breed(
        self, found: tuple[Proposal, ...], parents: Sequence[Proposal]
    ) -> tuple[Proposal, ...]:
        rng = random.Random(f"{self.request.seed}/breed")
        return self._more(found, parents, self.request.candidates // 2, rng)

    def _more(
        self,
        found: Sequence[Proposal],
        parents: Sequence[Proposal],
        count: int,
        rng: random.Random,
    ) -> tuple[Proposal, ...]:
        known = [item.id for item in found]
        seeds = [item.candidate for item in parents]
        return proposals(
            self.space, mutants(self.space, seeds, known, count, rng), self.request.targets
        )

    def _tell_sieve(self, found: Sequence[Proposal]) -> None:
        fits = len(_fitting(found))
        self.say(f"sieve: {len(found)} candidates, {fits} fit, the others need no training")

    def _train_long(self, chosen: Sequence[Proposal]) -> dict[str, float]:
        # The teacher takes longest, so it starts first and the others fill the other worker.
        teacher = self._job(TEACHER_ID, self.space.largest(), TEACHER, self.request.teacher_epochs)
        epochs = self.request.long.epochs
        jobs = [teacher, *(self._job(p.id, p.candidate, LONG, epochs) for p in chosen)]
        return self._pay(jobs)

    def _train(self, wave: Sequence[Proposal], rung: str, epochs: int) -> dict[str, float]:
        jobs = [self._job(item.id, item.candidate, rung, epochs) for item in wave]
        return self._pay(jobs)

    def _job(self, name: str, candidate: Candidate, rung: str, epochs: int) -> TrainJob:
        seed = training_seed(self.request.seed, name, rung)
        return TrainJob(name, candidate, rung, epochs, seed, self.folders.weights(name, rung))

    def _pay(self, jobs: Sequence[TrainJob]) -> dict[str, float]:
        """Accuracies by id of all `jobs`, from the ledger where they are paid for."""
        due = [job for job in jobs if not self._paid(job)]
        for job, answer in self.pool.run(due, self.until):
            assert isinstance(job, TrainJob)
            self._record(job, answer)
            detail = answer.reason if isinstance(answer, Failed) else f"{answer.accuracy:.4f}"
            self.say(f"{job.rung}: {job.candidate_id} {detail}")
        outcomes = [self.ledger.outcome(job.candidate_id, job.rung) for job in jobs]
        self.cut = self.cut or None in outcomes
        return {o.candidate_id: o.accuracy for o in outcomes if isinstance(o, Trained)}

    def _paid(self, job: TrainJob) -> bool:
        outcome = self.ledger.outcome(job.candidate_id, job.rung)
        return isinstance(outcome, Lost) or (outcome is not None and job.weights.exists())

    def _record(self, job: TrainJob, answer: Done | Failed) -> None:
        if isinstance(answer, Failed):
            self.ledger.append(Lost(job.candidate_id, job.rung, answer.reason))
            return
        self.ledger.append(
            Trained(
                job.candidate_id,
                job.rung,
                job.epochs,
                answer.accuracy,
                job.weights.name,
                answer.wall_s,
                answer.cpu_s,
            )
        )

    def _refuse_emptiness(self, any_fits: bool, short: Mapping[str, float]) -> None:
        lost = [outcome for outcome in self.ledger.outcomes() if isinstance(outcome, Lost)]
        if any_fits and not short and lost and not self.cut:
            msg = f"every training failed, the last one because {lost[-1].reason}"
            raise TrainingError(msg)

    def _export_jobs(self, result: SearchResult) -> list[ExportJob]:
        by_id = {record.id: record.candidate for record in result.candidates}
        by_id |= {BASELINE_ID: BASELINE}
        members = front_ids(result)
        jobs = [
            ExportJob(name, by_id[name], self.folders.weights(name, rung), self.request.out / path)
            for name, rung, path in members
        ]
        if result.teacher is not None:
            weights = self.folders.weights(TEACHER_ID, TEACHER)
            path = self.request.out / result.teacher.path
            jobs.append(ExportJob(TEACHER_ID, result.teacher.candidate, weights, path))
        return jobs


def _fitting(found: Sequence[Proposal]) -> tuple[Proposal, ...]:
    return tuple(item for item in found if item.priced.fits_any)


def _scarcest(found: Sequence[Proposal]) -> tuple[int, int]:
    """(column, fits) of the target that the fewest candidates fit."""
    columns = range(len(found[0].priced.verdicts))
    fits = [sum(item.priced.verdicts[column].fits for item in found) for column in columns]
    return min(enumerate(fits), key=lambda pair: pair[1])
