"""Where candidates come from: samples spread over the cost axes, and mutants of good ones."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgekiln.targets.target import Target

from .blueprint import Work, work
from .lower import lower
from .pareto import Points, spread
from .sieve import Priced, price
from .space import Candidate, Space, candidate_id

_OVERSAMPLING = 4  # samples drawn for each one that is kept for its place on the cost axes
_TRIES = 40  # draws for each new candidate before a small space counts as exhausted


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate, its size, and what it costs on every target."""

    id: str
    candidate: Candidate
    work: Work
    priced: Priced


def proposals(
    space: Space, candidates: Iterable[Candidate], targets: Sequence[Target]
) -> tuple[Proposal, ...]:
    """Price every candidate."""
    return tuple(_proposal(space, candidate, targets) for candidate in candidates)


def sample_spread(space: Space, count: int, rng: random.Random) -> tuple[Candidate, ...]:
    """Up to `count` distinct candidates far apart in log-parameters and log-MACs.

    The smallest is always among them: where it breaks a budget, no sample could keep it.
    """
    pool = {candidate_id(space.smallest()): space.smallest()}
    for _ in range(_TRIES * count):
        if len(pool) >= _OVERSAMPLING * count:
            break
        candidate = space.sample(rng)
        pool.setdefault(candidate_id(candidate), candidate)
    drawn = tuple(pool.values())
    sizes = log_sizes([work(space.blueprint(candidate)) for candidate in drawn])
    return tuple(drawn[i] for i in (0, *spread(sizes[:, :2], count - 1, taken=(0,))))


def mutants(
    space: Space,
    parents: Sequence[Candidate],
    known: Iterable[str],
    count: int,
    rng: random.Random,
) -> tuple[Candidate, ...]:
    """Up to `count` distinct neighbours of `parents` whose ids are not `known`."""
    seen = set(known)
    found: list[Candidate] = []
    for _ in range(_TRIES * count):
        if len(found) == count:
            break
        candidate = space.mutate(rng.choice(parents), rng)
        if candidate_id(candidate) not in seen:
            seen.add(candidate_id(candidate))
            found.append(candidate)
    return tuple(found)


def log_sizes(works: Sequence[Work]) -> Points:
    """(n, 3): log-parameters, log-MACs, depth."""
    rows = [(math.log(item.parameters), math.log(item.macs), item.depth) for item in works]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _proposal(space: Space, candidate: Candidate, targets: Sequence[Target]) -> Proposal:
    name, blueprint = candidate_id(candidate), space.blueprint(candidate)
    return Proposal(name, candidate, work(blueprint), price(lower(blueprint, name), targets))
