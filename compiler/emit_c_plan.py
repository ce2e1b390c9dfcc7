"""The calls of generated C and the memory they work in, decided together.

Each layer is one call. Where a chain of layers (strips.py) makes the arena smaller when it runs in
strips, it becomes one call too. Chains are taken one after the other, at the step that needs most,
until none there lowers it; then strips are made as few as do.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .emit_c_family import Family
from .emit_c_layer import Layer
from .emit_c_layers import layer
from .emit_c_strips import strip_layer
from .graph import Graph
from .ops import Op
from .plan_bound import step_bytes
from .plan_memory import MemoryPlan, plan_memory
from .plan_tasks import KernelCall, steps_of, tasks_of
from .strips import Chain, CutChain, chains

_COUNTS = (2, 3, 4, 6, 8, 12, 16, 24)  # strips that are tried
_SLACK = 1.03  # of the least need, for fewer strips


def planned(graph: Graph, family: Family) -> tuple[tuple[Layer, ...], MemoryPlan]:
    """Calls in the order of the plan, and the plan. Raises EmitError without a kernel."""
    return _planned(_Same(graph, family))


def planned_chains(graph: Graph, family: Family) -> tuple[CutChain, ...]:
    """What runs in strips. Raises EmitError as `planned`."""
    calls, _ = planned(graph, family)
    return tuple(call.chain for call in calls if call.chain is not None)


@dataclass(frozen=True, eq=False)
class _Same:
    """A graph as a key of a cache: itself, not what equals it, which would take long to compare."""

    graph: Graph
    family: Family

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Same) and self.graph is other.graph and self.family is other.family
        )

    def __hash__(self) -> int:
        return hash((id(self.graph), self.family))


@functools.lru_cache(maxsize=4)  # a candidate's latency and its arena come from one plan
def _planned(of: _Same) -> tuple[tuple[Layer, ...], MemoryPlan]:
    calls = _Calls.of(of.graph, of.family).layers
    plan = plan_memory(of.graph, map(kernel_call, calls))
    by_output = {call.output: call for call in calls}
    return tuple(by_output[name] for name in plan.order), plan


def kernel_call(call: Layer) -> KernelCall:
    """What the planner knows of a call."""
    return KernelCall(call.output, call.kernel, call.scratch_bytes, call.inputs)


@dataclass(frozen=True, slots=True)
class _Needs:
    """What the steps of calls in their order need, largest first, and the output of the first."""

    nbytes: tuple[int, ...]
    output: str

    @property
    def largest(self) -> int:
        return self.nbytes[0] if self.nbytes else 0


@dataclass(frozen=True)
class _Calls:
    """A choice of chains, and its calls in the graph's order."""

    graph: Graph
    cut: Callable[[Chain, int], Layer | None]  # into strips of so many rows
    layers: tuple[Layer, ...]
    needs: _Needs
    chosen: tuple[Chain, ...] = ()

    @staticmethod
    def of(graph: Graph, family: Family) -> _Calls:
        """The best choice that is found."""
        nodes = [node for node in graph.nodes if node.op is not Op.RESHAPE]  # a reshape is no work
        indices = {node.output: index for index, node in enumerate(nodes)}
        layers = tuple(layer(graph, node, index, family) for index, node in enumerate(nodes))

        @functools.cache
        def cut(chain: Chain, rows: int) -> Layer | None:
            return strip_layer(graph, chain, rows, family, indices)

        tried = best = _Calls(graph, cut, layers, _needs(graph, layers))
        possible = chains(graph)
        while (better := tried._better(possible)) is not None:
            tried = better
            best = tried if tried.needs.largest < best.needs.largest else best
        return best._relaxed()

    def _better(self, possible: tuple[Chain, ...]) -> _Calls | None:
        """With the largest step's chain cut, or cut finer; None where that lowers no step.

        Another step may need as much, so what is found need not make the arena smaller by itself.
        """
        free = {call.output for call in self.layers if not call.parts}
        found = [
            calls
            for chain in possible
            if self.needs.output in {node.output for node in chain.nodes}
            and (chain in self.chosen or free.issuperset(node.output for node in chain.nodes))
            for calls in self._cut(chain)
            if calls.needs.nbytes < self.needs.nbytes
        ]
        return min(found, key=lambda calls: calls.needs.nbytes, default=None)

    def _relaxed(self) -> _Calls:
        """With fewer strips where that costs next to nothing."""
        best, limit = self, _SLACK * self.needs.largest
        for chain in self.chosen:
            cut = best._cut(chain)
            best = next((calls for calls in cut if calls.needs.largest <= limit), best)
        return best

    def _cut(self, chain: Chain) -> Iterator[_Calls]:
        """`chain` in more and more strips."""
        height = self.graph.values[chain.output].shape[1]
        for rows in dict.fromkeys(-(-height // count) for count in _COUNTS if count <= height):
            made = self.cut(chain, rows)
            if made is not None:
                yield self._with(chain, made)

    def _with(self, chain: Chain, made: Layer) -> _Calls:
        replaced = {node.output for node in chain.nodes} - {chain.output}
        layers = tuple(
            made if call.output == chain.output else call
            for call in self.layers
            if call.output not in replaced
        )
        needs, chosen = _needs(self.graph, layers), tuple(dict.fromkeys((*self.chosen, chain)))
        return dataclasses.replace(self, layers=layers, needs=needs, chosen=chosen)


def _needs(graph: Graph, layers: tuple[Layer, ...]) -> _Needs:
    tasks = tasks_of(graph, map(kernel_call, layers))
    steps = steps_of(tasks, tasks.tasks)
    found = [(step_bytes(tasks, step), step.task.output) for step in steps]
    found.sort(key=lambda need: -need[0])
    return _Needs(tuple(nbytes for nbytes, _ in found), found[0][1] if found else "")
