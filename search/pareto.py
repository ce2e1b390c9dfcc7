"""Fronts, ranks and promotion. All objectives are minimised; rows are points.

Promotion takes whole non-dominated ranks, best first, and thins the rank that does not fit by
spacing along log-cost, so that a rung keeps cheap and dear candidates alike. (The idea of ranking
first and spacing second: MO-ASHA, arXiv 2106.12639.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


def dominates(points: Points) -> npt.NDArray[np.bool_]:
    """(n, n): row i is nowhere worse than row j and somewhere better."""
    no_worse = (points[:, None, :] <= points[None, :, :]).all(axis=2)
    better = (points[:, None, :] < points[None, :, :]).any(axis=2)
    return np.asarray(no_worse & better)


def ranks(points: Points) -> npt.NDArray[np.int64]:
    """Non-dominated rank of each row of (n, d): 0 is the front, 1 the front of the rest, …"""
    relation = dominates(points)
    result = np.full(len(points), -1, dtype=np.int64)
    rank = 0
    while (result < 0).any():
        alive = result < 0
        beaten = relation[alive].any(axis=0)
        result[alive & ~beaten] = rank
        rank += 1
    return result


def front(points: Points) -> tuple[int, ...]:
    """Indices of the rows that no other row dominates; equal rows are all kept."""
    return tuple(int(i) for i in np.flatnonzero(ranks(points) == 0))


def spread(positions: Points, count: int, taken: Sequence[int] = ()) -> tuple[int, ...]:
    """`count` rows of (n, d) far from each other and from the rows `taken`, farthest first.

    Axes are scaled to the unit range. With nothing taken the start is the row nearest the minimum
    of every axis. Ties go to the lower index.
    """
    width = np.ptp(positions, axis=0) if len(positions) else np.zeros(positions.shape[1])
    unit = (positions - positions.min(axis=0, initial=np.inf)) / np.where(width > 0, width, 1.0)
    chosen: list[int] = []
    if taken:
        distance = _distance(unit, unit[list(taken)]).min(axis=1)
        distance[list(taken)] = -1.0
    else:
        distance = -np.linalg.norm(unit, axis=1) + 2.0 * np.sqrt(unit.shape[1])
    while len(chosen) < min(count, len(positions) - len(taken)):
        index = int(np.argmax(distance))
        first = not chosen and not taken
        chosen.append(index)
        near = _distance(unit, unit[[index]])[:, 0]
        distance = near if first else np.minimum(distance, near)
        distance[[*chosen, *taken]] = -1.0
    return tuple(chosen)


def promote(points: Points, log_costs: Points, count: int, taken: int = 0) -> tuple[int, ...]:
    """Up to `count` rows: whole ranks of `points`, the last one thinned along `log_costs`.

    The first `taken` rows are in already; the ranks are those of the rows after them.
    """
    kept = list(range(taken))
    order = ranks(points[taken:])
    for rank in range(int(order.max(initial=-1)) + 1):
        members = [taken + int(i) for i in np.flatnonzero(order == rank)]
        room = count - len(kept)
        if len(members) <= room:
            kept += members
            continue
        pool = [*kept, *members]
        picks = spread(log_costs[pool], room, taken=range(len(kept)))
        kept += [pool[i] for i in picks]
        break
    return tuple(kept)


def _distance(a: Points, b: Points) -> Points:
    return np.asarray(np.linalg.norm(a[:, None, :] - b[None, :, :], axis=2))
