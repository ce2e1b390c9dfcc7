"""Offsets of blocks without a search: largest first, each as low as the blocks placed allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .plan_overlap import Overlap, apart
from .plan_tasks import Step, Tasks, pair_overlap


def place_greedily(tasks: Tasks, steps: Sequence[Step]) -> dict[str, int]:
    """Offsets of every block. Ties in size go to the block that lives first."""
    spans = _lifetimes(tasks, steps)
    order = sorted(spans, key=lambda name: (-tasks.sizes[name], spans[name], name))
    placed: dict[str, int] = {}
    for name in order:
        near = {
            other: overlap
            for other in placed
            if (overlap := _between(tasks, steps, spans, other, name)) is not None
        }
        spots = {0} | {
            placed[other] + distance
            for other, overlap in near.items()
            for distance in (0, overlap.highest, overlap.lowest)
        }
        placed[name] = next(
            spot
            for spot in sorted(spots)
            if spot >= 0 and all(near[other].allows(spot - placed[other]) for other in near)
        )
    return placed


def top(tasks: Tasks, offsets: Mapping[str, int]) -> int:
    """Bytes that the blocks reach to."""
    return max((offset + tasks.sizes[name] for name, offset in offsets.items()), default=0)


def _lifetimes(tasks: Tasks, steps: Sequence[Step]) -> dict[str, tuple[int, int]]:
    spans = dict.fromkeys(sorted(tasks.inputs), (0, 0))
    for index, step in enumerate(steps):
        for name in sorted(step.live):
            spans[name] = (spans.get(name, (index, index))[0], index)
    return spans


def _between(
    tasks: Tasks,
    steps: Sequence[Step],
    spans: Mapping[str, tuple[int, int]],
    a: str,
    b: str,
) -> Overlap | None:
    """Where `b` may lie from `a`; None: anywhere, they never live together."""
    first, last = max(spans[a][0], spans[b][0]), min(spans[a][1], spans[b][1])
    if first > last:
        return None
    if first < last or not steps:
        return apart(tasks.sizes[a], tasks.sizes[b])
    return pair_overlap(tasks, steps[first], a, b)
