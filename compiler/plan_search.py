"""Offsets of blocks for a fixed order of tasks: a search along time under a limit of bytes.

Step by step, each new block is tried at the places where it touches the ends of the arena or a
block that lives beside it, as low as its kernel allows; what was found to lead nowhere is
remembered. The limit is the lower bound first, then halved towards it from what the greedy plan
needs. Work is limited by a count of placements, not by time, so that a graph always has one plan;
where very many blocks live at once it is the greedy one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .plan import ALIGNMENT
from .plan_greedy import place_greedily, top
from .plan_tasks import Step, Task, Tasks, pair_overlap

Offsets = Mapping[str, int]

_TRIES = 4000  # placements looked at under one limit
_MOST_LIVE = 24  # blocks at once that are still searched


def place(tasks: Tasks, steps: Sequence[Step], bound: int) -> Offsets:
    """Offsets of every block; the arena they make is at least `bound`."""
    best: Offsets = place_greedily(tasks, steps)
    crowded = any(len(step.live) > _MOST_LIVE for step in steps)
    if crowded or top(tasks, best) == bound:
        return best
    found = _under(tasks, steps, bound)
    if found is not None:
        return found
    low, high = bound, top(tasks, best)
    while high - low > ALIGNMENT:
        middle = (low + high) // 2 // ALIGNMENT * ALIGNMENT
        found = _under(tasks, steps, middle)
        if found is None:
            low = middle
        else:
            best, high = found, min(middle, top(tasks, found))
    return best


@dataclass(slots=True)
class _Frame:
    """Blocks that live before a step, all offsets so far, and the choices not yet tried."""

    offsets: dict[str, int]
    choices: Iterator[dict[str, int]]


def _under(tasks: Tasks, steps: Sequence[Step], limit: int) -> Offsets | None:
    """Offsets that stay below `limit`, or None where none were found."""
    seen: set[tuple[int, tuple[tuple[str, int], ...]]] = set()
    frames = [_Frame({}, _starts(tasks, limit))]
    for _ in range(_TRIES):
        if not frames:
            return None
        frame = frames[-1]
        chosen = next(frame.choices, None)
        if chosen is None:
            frames.pop()
            continue
        offsets = {**frame.offsets, **chosen}
        index = len(frames) - 1
        if index == len(steps):
            return offsets
        state = (index, tuple(sorted((name, offsets[name]) for name in steps[index].before)))
        if state not in seen:
            seen.add(state)
            frames.append(_Frame(offsets, _choices(tasks, steps[index], offsets, limit)))
    return None


def _starts(tasks: Tasks, limit: int) -> Iterator[dict[str, int]]:
    """Places of the blocks that live before the first step."""
    nothing = Step(Task("", frozenset(), (), {}), frozenset(), frozenset())
    return _arrangements(tasks, nothing, sorted(tasks.inputs), {}, limit)


def _choices(tasks: Tasks, step: Step, offsets: Offsets, limit: int) -> Iterator[dict[str, int]]:
    """Places of what the step writes, beside what lives already."""
    beside = {name: offsets[name] for name in sorted(step.before)}
    return _arrangements(tasks, step, step.task.writes, beside, limit)


def _arrangements(
    tasks: Tasks, step: Step, names: Sequence[str], beside: Offsets, limit: int
) -> Iterator[dict[str, int]]:
    """Places of `names`, one after the other; what ends with the step takes the first that fits."""
    if not names:
        yield {}
        return
    name, others = names[0], names[1:]
    room = sum(tasks.sizes[other] for other in others)
    for spot in _spots(tasks, step, name, beside, limit, room):
        for rest in _arrangements(tasks, step, others, {**beside, name: spot}, limit):
            yield {name: spot, **rest}
            if not step.after.intersection(others):
                break


def _spots(
    tasks: Tasks, step: Step, name: str, beside: Offsets, limit: int, room: int
) -> list[int]:
    """Where `name` touches an end of the arena or another block, lowest first.

    `room` are bytes that the blocks placed after it want at an end.
    """
    highest = limit - tasks.sizes[name]
    spots = {0, room, highest, highest - room}
    overlaps = {other: pair_overlap(tasks, step, other, name) for other in beside}
    for other, overlap in overlaps.items():
        at, grid = beside[other], overlap.modulus
        spots |= {at + overlap.highest, at + overlap.lowest}
        if grid:
            spots |= {at, at % grid, highest - (highest - at) % grid}
    return sorted(
        spot
        for spot in spots
        if 0 <= spot <= highest
        and all(overlap.allows(spot - beside[other]) for other, overlap in overlaps.items())
    )
