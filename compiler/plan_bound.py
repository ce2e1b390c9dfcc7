"""The least memory that one step of a plan can do with: a bound no placement beats.

Blocks that end in the step or are written by it may overlap as their kernel allows; every other
block takes its own bytes. The overlapping ones are few, so every order of their offsets is tried;
in the best arrangement of an order each lies as low as those below it allow. Blocks that may lie at
multiples of some distance count as free of each other, which keeps that true.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .plan_tasks import Step, Tasks, pair_overlap

_MOST = 5  # blocks whose every order is tried: 120


def step_bytes(tasks: Tasks, step: Step) -> int:
    """Bytes that the blocks of `step` take at least, in any placement."""
    involved = {name for pair in step.task.overlaps for name in pair if name in step.live}
    active = sorted(name for name in involved if name not in step.before & step.after)
    passive = sum(tasks.sizes[name] for name in step.live if name not in active)
    if len(active) > _MOST:
        return passive + max(tasks.sizes[name] for name in active)
    spans = (_span(tasks, step, order) for order in itertools.permutations(active))
    return passive + min(spans, default=0)


def lower_bound(tasks: Tasks, steps: Sequence[Step]) -> int:
    """The largest need of any step."""
    start = sum(tasks.sizes[name] for name in tasks.inputs)
    return max((step_bytes(tasks, step) for step in steps), default=start)


def _span(tasks: Tasks, step: Step, order: Sequence[str]) -> int:
    """Blocks in ascending offsets, each as low as the ones before it allow."""
    placed: dict[str, int] = {}
    floor = 0
    for name in order:
        overlaps = ((other, pair_overlap(tasks, step, other, name)) for other in placed)
        bound = [(placed[other], overlap) for other, overlap in overlaps if not overlap.modulus]
        spots = {floor, *(at + overlap.lowest for at, overlap in bound)}
        placed[name] = floor = min(
            spot
            for spot in spots
            if spot >= floor and all(overlap.allows(spot - at) for at, overlap in bound)
        )
    return max((placed[name] + tasks.sizes[name] for name in order), default=0)
