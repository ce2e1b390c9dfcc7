"""`plan_memory`: one block of memory for all that generated C works in.

Order of operators, offsets and the overlap of outputs with inputs are decided together, for the
kernels that the calls name. `plan_arena` is its quick relative, which knows of no overlaps and
serves where thousands of graphs are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .graph import Graph
from .plan_bound import lower_bound
from .plan_greedy import top
from .plan_order import best_order
from .plan_search import place
from .plan_tasks import KernelCall, Task, Tasks, steps_of, tasks_of


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Byte offsets of activations and scratch, and the order that they are planned for.

    `order` and `scratch` go by the value that a call computes. No plan in this order, with these
    kernels, needs less than `lower_bound_bytes`.
    """

    order: tuple[str, ...]
    offsets: Mapping[str, int]
    scratch: Mapping[str, int]
    scratch_bytes: int  # the largest need of one call
    arena_bytes: int
    lower_bound_bytes: int

    @property
    def gap_bytes(self) -> int:
        """What a better placement could save at most."""
        return self.arena_bytes - self.lower_bound_bytes


def plan_memory(graph: Graph, calls: Iterable[KernelCall]) -> MemoryPlan:
    """The smallest of the plans found. `calls` compute all nodes that are no reshapes, in order."""
    calls = tuple(calls)
    tasks = tasks_of(graph, calls)
    better = best_order(tasks)
    orders = (tasks.tasks,) if better is None else (tasks.tasks, better)
    scratch_bytes = max((call.scratch_bytes for call in calls), default=0)
    plans = (_planned(tasks, order, scratch_bytes) for order in orders)
    return min(plans, key=lambda plan: plan.arena_bytes)


def _planned(tasks: Tasks, order: tuple[Task, ...], scratch_bytes: int) -> MemoryPlan:
    steps = steps_of(tasks, order)
    bound = lower_bound(tasks, steps)
    offsets = place(tasks, steps, bound)
    scratch = {output: offsets[block] for output, block in tasks.scratch.items()}
    return MemoryPlan(
        tuple(task.output for task in order),
        MappingProxyType({name: offsets[root] for name, root in tasks.roots.items()}),
        MappingProxyType(scratch),
        scratch_bytes,
        top(tasks, offsets),
        bound,
    )
