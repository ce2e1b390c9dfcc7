"""Which proposals deserve the next training, and which end on a front. Pure decisions.

Every choice depends on the outcomes of whole waves, never on which worker answered first; that is
what makes an interrupted search end where an uninterrupted one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from edgekiln.targets.evidence import Footprint

from .pareto import Points, front, promote, spread
from .propose import Proposal, log_sizes
from .surrogate import predict

Scores = Mapping[str, float]  # accuracy by candidate id
Choice = Callable[[Sequence[Proposal], int], tuple[Proposal, ...]]

_BY_ACCURACY = 3  # one promotion in three goes to the most accurate, the rest to the front


@dataclass(frozen=True, slots=True)
class Contender:
    """A trained candidate that fits one target."""

    id: str
    accuracy: float
    footprint: Footprint


def shared_out(pool: Sequence[Proposal], count: int, choose: Choice) -> tuple[Proposal, ...]:
    """Up to `count` proposals, an equal share for every target of those that fit it.

    Each target chooses among its own; then they take turns, so that a roomy device does not crowd
    out the candidates of a tight one.
    """
    columns = range(len(pool[0].priced.verdicts)) if pool else ()
    lists = [choose([p for p in pool if p.priced.verdicts[c].fits], count) for c in columns]
    turns = (item for turn in zip_longest(*lists) for item in turn if item is not None)
    unique = {item.id: item for item in turns}
    return tuple(unique.values())[:count]


def first_wave(pool: Sequence[Proposal], count: int) -> tuple[Proposal, ...]:
    """Far apart along the cost axes: nothing is known about accuracy yet."""
    return tuple(pool[i] for i in spread(log_costs(pool), count))


def leaders(pool: Sequence[Proposal], scores: Scores) -> tuple[Proposal, ...]:
    """The front of what was trained: the parents of the next proposals."""
    trained = [item for item in pool if item.id in scores]
    return tuple(trained[i] for i in front(_objectives(trained, [scores[t.id] for t in trained])))


def second_wave(
    pool: Sequence[Proposal], scores: Scores, tried: frozenset[str], count: int
) -> tuple[Proposal, ...]:
    """The untried proposals that the surrogate puts on the front, spread along cost."""
    known = np.array([i for i, item in enumerate(pool) if item.id in scores], dtype=np.int64)
    open_ = [i for i, item in enumerate(pool) if item.id not in tried]
    if len(known) < 2 or not open_:
        return first_wave([pool[i] for i in open_], count)
    sizes = log_sizes([item.work for item in pool])
    accuracy = np.array([scores[pool[i].id] for i in known])
    guesses = predict(sizes, known, accuracy)
    rest = [pool[i] for i in open_]
    points = _objectives(rest, [float(guesses[i]) for i in open_])
    return tuple(rest[i] for i in promote(points, log_costs(rest), count))


def promoted(pool: Sequence[Proposal], scores: Scores, count: int) -> tuple[Proposal, ...]:
    """Who is trained long: a third by accuracy alone, the rest by rank and spacing."""
    trained = [item for item in pool if item.id in scores]
    points = _objectives(trained, [scores[item.id] for item in trained])
    best = sorted(range(len(trained)), key=lambda i: (points[i, 0], *points[i, 1:]))
    taken = best[: math.ceil(count / _BY_ACCURACY)]
    rest = [i for i in range(len(trained)) if i not in taken]
    order = [*taken, *rest]
    # Ranks are taken among the rest; those already in only push others away along cost.
    kept = promote(points[order], log_costs(trained)[order], count, taken=len(taken))
    return tuple(trained[order[i]] for i in kept)


def target_front(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    """Members of the front over accuracy, latency bound, RAM and flash; most accurate first."""
    if not contenders:
        return ()
    points = np.array([(-c.accuracy, *_cost(c)) for c in contenders], dtype=np.float64)
    members = [contenders[i] for i in front(points)]
    return tuple(sorted(members, key=lambda c: (-c.accuracy, *_cost(c), c.id)))


def standard_error(accuracy: float, samples: int) -> float:
    """Of a share, by Agresti and Coull: two successes and two failures are added, so that a
    perfect score on few samples does not claim to be certain."""
    share = (accuracy * samples + 2) / (samples + 4)
    return math.sqrt(share * (1 - share) / (samples + 4))


def cheapest_of_the_best(members: Sequence[Contender], samples: int) -> tuple[str | None, float]:
    """(id, standard error): the cheapest within one standard error of the best accuracy.

    Cheapest: the smallest product of latency bound, RAM and flash.
    """
    if not members:
        return None, 0.0
    best = max(member.accuracy for member in members)
    error = standard_error(best, samples)
    ties = [member for member in members if member.accuracy >= best - error]
    return min(ties, key=lambda c: (math.prod(_cost(c)), c.id)).id, error


def log_costs(pool: Sequence[Proposal]) -> Points:
    """(n, 2 + targets): log of arena bytes, model bytes and every target's latency bound.

    A target that cannot price a candidate counts as dearer than all that it can.
    """
    if not pool:
        return np.empty((0, 1))
    costs = np.array([_costs(item) for item in pool], dtype=np.float64)
    dearest = 2 * np.where(np.isfinite(costs), costs, 0.0).max(axis=0)
    known = np.where(np.isfinite(costs), costs, dearest)
    return np.asarray(np.log(np.maximum(known, 1e-9)))


def _costs(item: Proposal) -> tuple[float, ...]:
    prices = (verdict.footprint for verdict in item.priced.verdicts)
    latency = (price.timed.high if price else math.inf for price in prices)
    return item.priced.arena_bytes, item.priced.model_bytes, *latency


def _objectives(pool: Sequence[Proposal], accuracy: Sequence[float]) -> Points:
    column = -np.array(accuracy, dtype=np.float64).reshape(-1, 1)
    return np.hstack([column, log_costs(pool)])


def _cost(contender: Contender) -> tuple[float, float, float]:
    cost = contender.footprint
    return cost.timed.high, cost.ram.high, cost.flash.high
