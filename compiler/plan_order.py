"""The order of tasks whose largest step is smallest: dynamic programming over what was done.

A set of tasks that holds all that its members need is a state (a downset of the graph); what lives
in it does not depend on the order in which it was reached, so the best way to each state is enough.
Graphs with too many states are not searched.
"""

from __future__ import annotations

from dataclasses import dataclass

from .plan_bound import step_bytes
from .plan_tasks import Step, Task, Tasks, steps_of

_MOST_STATES = 2000


def best_order(tasks: Tasks) -> tuple[Task, ...] | None:
    """An order whose largest step needs less than that of the given one; None: there is none."""
    given = tasks.tasks
    limit = max((step_bytes(tasks, step) for step in steps_of(tasks, given)), default=0)
    found = _Search(tasks, limit).run()
    return None if found is None else tuple(given[index] for index in found)


@dataclass(frozen=True, slots=True)
class _Path:
    """Tasks by their index; sorts by what the largest step needs, then by the given order."""

    peak: int
    order: tuple[int, ...]

    def key(self) -> tuple[int, tuple[int, ...]]:
        return self.peak, self.order


class _Search:
    """`limit`: what an order must stay below to be of use."""

    def __init__(self, tasks: Tasks, limit: int) -> None:
        self._tasks = tasks
        self._limit = limit
        self._maker = {name: i for i, task in enumerate(tasks.tasks) for name in task.writes}
        self._needs = [
            frozenset(self._maker[name] for name in task.reads if name in self._maker)
            for task in tasks.tasks
        ]
        self._readers: dict[str, set[int]] = {}
        for index, task in enumerate(tasks.tasks):
            for name in task.reads:
                self._readers.setdefault(name, set()).add(index)

    def run(self) -> tuple[int, ...] | None:
        """The best order below the limit, or None where there is none or too many states."""
        level = {frozenset[int](): _Path(0, ())}
        states = 0
        for _ in self._tasks.tasks:
            following: dict[frozenset[int], _Path] = {}
            for done, path in level.items():
                for index in self._ready(done):
                    peak = max(path.peak, self._cost(done, index))
                    state = done | {index}
                    new = _Path(peak, (*path.order, index))
                    if peak < self._limit and (
                        state not in following or new.key() < following[state].key()
                    ):
                        following[state] = new
            level = following
            states += len(level)
            if states > _MOST_STATES:
                return None
        return next((path.order for path in level.values()), None) if self._tasks.tasks else None

    def _ready(self, done: frozenset[int]) -> list[int]:
        return [i for i, needs in enumerate(self._needs) if i not in done and needs <= done]

    def _live(self, done: frozenset[int]) -> frozenset[str]:
        made = {self._tasks.tasks[index].writes[0] for index in done} | self._tasks.inputs
        return frozenset(
            name
            for name in made
            if name in self._tasks.outputs or not self._readers.get(name, set()) <= done
        )

    def _cost(self, done: frozenset[int], index: int) -> int:
        task = self._tasks.tasks[index]
        return step_bytes(self._tasks, Step(task, self._live(done), self._live(done | {index})))
