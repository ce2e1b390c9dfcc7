"""`SearchRequest` and `SearchResult`: what goes into a search, and what `search.json` holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgekiln.runtime.contract import Contract
from edgekiln.targets.evidence import Budget, Footprint
from edgekiln.targets.target import Target

from .errors import SearchError
from .space import Candidate

if TYPE_CHECKING:
    from edgekiln.compiler.data import Dataset

BASELINE_ID = "baseline-logistic"
TEACHER_ID = "teacher"


class Rung(msgspec.Struct, frozen=True):
    """One length of training and how many candidates get it."""

    epochs: int
    trainings: int


# Names of the rungs in the ledger and in the result.
SHORT, LONG, TEACHER = "short", "long", "teacher"

DEFAULT_SHORT, DEFAULT_LONG = Rung(4, 24), Rung(16, 10)


@dataclass(frozen=True)
class SearchRequest:
    """A data set, targets with cost tables and budgets, and how much may be spent.

    `candidates` are sieved (more where too few of them fit); `short` and `long` say how many are
    then trained and how long. Past four fifths of `deadline_s` no training goes on, so that what
    is there can be written. `out` is a folder; one that holds a part of the same search resumes.
    """

    dataset: Dataset
    targets: tuple[Target, ...]
    out: Path
    seed: int = 0
    candidates: int = 48
    short: Rung = DEFAULT_SHORT
    long: Rung = DEFAULT_LONG
    teacher_epochs: int = 24
    workers: int = 2
    trial_timeout_s: float = 120.0
    deadline_s: float = 600.0

    def check(self) -> None:
        """Raise SearchError where a number makes no sense."""
        epochs = min(self.short.epochs, self.long.epochs, self.teacher_epochs)
        if self.candidates < 2 or self.workers < 1 or epochs < 1:
            raise SearchError("a search needs two candidates, one worker and one epoch or more")
        if not 1 <= self.long.trainings <= self.short.trainings:
            raise SearchError(
                f"{self.long.trainings} long trainings cannot be promoted from "
                f"{self.short.trainings} short ones; ask for 1 to {self.short.trainings}"
            )
        if self.deadline_s <= 0 or self.trial_timeout_s <= 0:
            raise SearchError("the deadline and the timeout of a training must be above 0 s")


class _Identity(msgspec.Struct, frozen=True):
    """What decides which search this is; where and how fast it runs does not."""

    data_sha256: str
    contract: Contract  # a network fits one preprocessing
    targets: tuple[tuple[str, str, Budget], ...]
    seed: int
    candidates: int
    rungs: tuple[Rung, ...]
    teacher_epochs: int
    algorithm: int = 1


def search_id(request: SearchRequest) -> str:
    """Sixteen hexadecimal digits over request, data and target profiles."""
    identity = _Identity(
        request.dataset.sha256,
        request.dataset.contract,
        tuple((target.id, target.digest, target.budget) for target in request.targets),
        request.seed,
        request.candidates,
        (request.short, request.long),
        request.teacher_epochs,
    )
    return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:16]


class TargetCost(msgspec.Struct, frozen=True):
    """One candidate on one target; `reasons` is empty where it fits."""

    target_id: str
    footprint: Footprint | None
    reasons: tuple[str, ...]


class RungScore(msgspec.Struct, frozen=True):
    """Validation accuracy after one training."""

    rung: str
    epochs: int
    accuracy: float


class CandidateRecord(msgspec.Struct, frozen=True):
    """All that the search knows of one candidate. `lost` says why its training has no result."""

    id: str
    candidate: Candidate
    parameters: int
    macs: int
    arena_bytes: int
    model_bytes: int
    costs: tuple[TargetCost, ...]
    rungs: tuple[RungScore, ...] = ()
    lost: str = ""

    @property
    def fits_any(self) -> bool:
        """Whether the sieve let it through for some target."""
        return any(not cost.reasons for cost in self.costs)

    def score(self, rung: str) -> float | None:
        """Accuracy at a rung, or None."""
        return next((score.accuracy for score in self.rungs if score.rung == rung), None)


class FrontMember(msgspec.Struct, frozen=True):
    """A candidate that nothing else beats in accuracy, latency, RAM and flash at once."""

    candidate_id: str
    accuracy: float
    rung: str
    footprint: Footprint
    path: str  # of the .pt2 file, relative to the search's folder


class TargetFront(msgspec.Struct, frozen=True):
    """The front of one target, best accuracy first. No member fits: `chosen` is None.

    `chosen` is the cheapest member within one standard error of the best accuracy.
    """

    target_id: str
    budget: Budget
    members: tuple[FrontMember, ...]
    chosen: str | None
    standard_error: float


class TeacherRecord(msgspec.Struct, frozen=True):
    """The network of most capacity, bound by no budget."""

    candidate: Candidate
    parameters: int
    accuracy: float
    path: str


class Effort(msgspec.Struct, frozen=True):
    """What the result cost, over all runs: seconds of trainings, and of this run's wall clock."""

    training_wall_s: float
    training_cpu_s: float
    run_wall_s: float
    trainings: int
    lost: int


class SearchResult(msgspec.Struct, frozen=True):
    """`search.json`. All but `effort` is the same for the same request, however often interrupted.

    `complete` is False where the deadline cut trainings off.
    """

    search_id: str
    dataset: str
    data_sha256: str
    contract: Contract  # what every network was trained on
    seed: int
    candidates: tuple[CandidateRecord, ...]
    baseline: CandidateRecord
    fronts: tuple[TargetFront, ...]
    teacher: TeacherRecord | None
    complete: bool
    effort: Effort
    schema: int = 1

    def front(self, target_id: str) -> TargetFront:
        """The front of one target; KeyError names an unknown one."""
        found = next((front for front in self.fronts if front.target_id == target_id), None)
        if found is None:
            raise KeyError(target_id)
        return found

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def read_result(path: Path) -> SearchResult:
    """The result in a `search.json`.

    Raises:
        SearchError: the file is missing or is no search result.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=SearchResult)
    except FileNotFoundError as error:
        raise SearchError(f"{path}: there is no such file; run edgekiln search first") from error
    except msgspec.DecodeError as error:
        raise SearchError(f"{path}: no search result ({error}); search again") from error
