"""Kernel calls as a planning problem: blocks of memory, tasks that need them, and what may overlap.

A reshape is no task: its output is its input's block. Scratch is a block of one task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .graph import Graph
from .plan import ALIGNMENT, storage_roots
from .plan_overlap import Overlap, apart
from .plan_rules import sharing

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class KernelCall:
    """What the planner knows of a call: its output, kernel and scratch, and what it reads.

    A call of several nodes has the output of the last.
    """

    output: str
    kernel: str
    scratch_bytes: int
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A call by the names of its blocks; `overlaps` is by (block read, block written)."""

    output: str
    reads: frozenset[str]
    writes: tuple[str, ...]  # the output's block, then scratch where it takes some
    overlaps: Mapping[Pair, Overlap]


@dataclass(frozen=True)
class Tasks:
    """Tasks in the order given, with sizes of blocks: multiples of ALIGNMENT."""

    tasks: tuple[Task, ...]
    sizes: Mapping[str, int]
    inputs: frozenset[str]  # blocks that live from the start
    outputs: frozenset[str]  # and to the end
    roots: Mapping[str, str]  # value to block
    scratch: Mapping[str, str]  # value computed to block


def tasks_of(graph: Graph, calls: Iterable[KernelCall]) -> Tasks:
    """`calls` stand for all nodes of `graph` but reshapes, in their order."""
    calls = tuple(calls)
    made = {*graph.inputs, *(call.output for call in calls)}
    roots = {name: root for name, root in storage_roots(graph).items() if root in made}
    sizes = {root: _aligned(graph.values[root].nbytes) for root in roots.values()}
    nodes = {node.output: node for node in graph.nodes}
    tasks: list[Task] = []
    scratch: dict[str, str] = {}
    for call in calls:
        shared = sharing(graph, nodes[call.output], call.kernel)
        reads = frozenset(roots[name] for name in call.reads)
        overlaps: dict[Pair, Overlap] = {}
        writes = [call.output]
        if shared.output is not None:
            overlaps |= {(name, call.output): shared.output.on_grid(ALIGNMENT) for name in reads}
        if call.scratch_bytes:
            block = f"scratch of {call.output}"
            scratch[call.output] = block
            sizes[block] = _aligned(call.scratch_bytes)
            writes.append(block)
            if shared.scratch is not None:
                overlaps |= {(name, block): shared.scratch.on_grid(ALIGNMENT) for name in reads}
        tasks.append(Task(call.output, reads, tuple(writes), overlaps))
    return Tasks(
        tuple(tasks),
        sizes,
        frozenset(graph.inputs),
        frozenset(roots[name] for name in graph.outputs),
        roots,
        scratch,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A task at its place: the blocks that live before it, and those that still live after it."""

    task: Task
    before: frozenset[str]
    after: frozenset[str]

    @property
    def live(self) -> frozenset[str]:
        """All blocks of the step."""
        return self.before | frozenset(self.task.writes)

    def may_overlap(self, a: str, b: str) -> bool:
        """Whether `a` ends in this step and the task may write `b` on it."""
        return (a, b) in self.task.overlaps and a not in self.after


def steps_of(tasks: Tasks, order: Sequence[Task]) -> tuple[Step, ...]:
    """The tasks in `order`, which must respect what they read."""
    steps = []
    after = tasks.outputs
    needed = [after]
    for task in reversed(order):
        after = (after | task.reads) - frozenset(task.writes)
        needed.append(after)
    needed.reverse()
    live = tasks.inputs
    for index, task in enumerate(order):
        following = (live | frozenset(task.writes)) & needed[index + 1]
        steps.append(Step(task, live, following))
        live = following
    return tuple(steps)


def pair_overlap(tasks: Tasks, step: Step, a: str, b: str) -> Overlap:
    """Where `b` may lie from `a` as far as this step is concerned."""
    if step.may_overlap(a, b):
        return step.task.overlaps[a, b]
    if step.may_overlap(b, a):
        return _mirrored(step.task.overlaps[b, a])
    return apart(tasks.sizes[a], tasks.sizes[b])


def _mirrored(overlap: Overlap) -> Overlap:
    return Overlap(-overlap.lowest, -overlap.highest, overlap.modulus)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
