"""`Plan`: which models a calibration measures, in which order, and when it has enough.

Models of the fit are chosen by design from a pool, most telling ones first; held-out networks come
between them, so that a calibration that is stopped by its budget has both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edgekiln.targets.design import choose
from edgekiln.targets.workload import Workload

from .count_loops import CHAINS, NETWORKS, designed_chains
from .emit_c_family import Family
from .emit_c_operators import C_OPERATORS
from .graph import Graph
from .kernel_probes import strip_probes
from .ops import Op
from .probe_models import more_probes, probe_graphs
from .probe_networks import networks
from .workload import workload

POOLED_SEEDS = 4  # times the usual probes are what a design chooses from
HOST_PROBES = 30
HOST_FITTED, HOST_NETWORKS = 14, 14  # networks of the fit, and held-out ones
FEWEST_NETWORKS = 9  # a bound at 90 % takes as many
FEWEST_CHAINS = 40
STRIP_PROBES = 12  # for the four costs of strips


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model to measure; `key` is its own within the plan."""

    key: str
    graph: Graph
    held_out: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Models of the fit and held-out ones, each in the order in which they are measured.

    The first `fewest` of the former and `FEWEST_NETWORKS` of the latter are measured whatever the
    budget says.
    """

    probes: tuple[PlannedModel, ...]
    networks: tuple[PlannedModel, ...]
    fewest: int

    @property
    def needed(self) -> Iterator[PlannedModel]:
        """What a table takes at least."""
        yield from self.probes[: self.fewest]
        yield from self.networks[:FEWEST_NETWORKS]

    @property
    def wanted(self) -> Iterator[PlannedModel]:
        """The rest, for as long as the budget lasts: networks among the probes."""
        more, held = self.probes[self.fewest :], self.networks[FEWEST_NETWORKS:]
        step = max(1, len(more) // max(1, len(held)))
        for index, probe in enumerate(more):
            yield probe
            if index % step == step - 1 and index // step < len(held):
                yield held[index // step]
        yield from held[len(more) // step :]


def host_plan(seed: int, ops: Collection[str]) -> Plan:
    """Whole models of an engine of this host, those of further operators `ops` included.

    No count of work says what an engine does to a whole network, so networks take part in the fit
    beside the probes; those that are held out are others of the same families.
    """
    pool, works, order = _host_pool(seed)
    extra = list(more_probes({*ops, Op.SOFTMAX.value}, seed))  # networks end in a softmax
    drawn = list(networks(seed, HOST_FITTED + HOST_NETWORKS))
    graphs = [*extra, *drawn[HOST_NETWORKS:], *(pool[index] for index in order)]
    needed = len(graphs) - len(order) + _covering(works, order)
    return _plan(graphs, drawn[:HOST_NETWORKS], needed)


@lru_cache(maxsize=1)  # every target of a search that this host runs has the same
def _host_pool(seed: int) -> tuple[list[Graph], list[Workload], list[int]]:
    """Probes to choose from, what they ask, and those that are chosen, most telling first."""
    pool = [graph for turn in range(POOLED_SEEDS) for graph in probe_graphs(seed * 1000 + turn)]
    works = [workload(graph) for graph in pool]
    columns = {op: 4 * index for index, op in enumerate(sorted(_ops(works)))}
    order = choose([_row(work, columns) for work in works], HOST_PROBES)
    return pool, works, order + _missing(works, order)


def loops_plan(family: Family, seed: int) -> Plan:
    """Chains of layers for a core that our own kernels run on, and every other operator alone."""
    held, chains = list(networks(seed, NETWORKS)), designed_chains(family, seed, CHAINS)
    in_chains = {node.op for graph in chains for node in graph.nodes}
    others = list(more_probes(C_OPERATORS - in_chains, seed))
    first = [*others, *strip_probes(seed, STRIP_PROBES)]
    return _plan([*first, *chains], held, len(first) + FEWEST_CHAINS)


def _plan(probes: Sequence[Graph], held: Sequence[Graph], fewest: int) -> Plan:
    return Plan(
        tuple(PlannedModel(f"probe {i}: {g.name}", g, False) for i, g in enumerate(probes)),
        tuple(PlannedModel(f"network {i}: {g.name}", g, True) for i, g in enumerate(held)),
        fewest,
    )


def _ops(works: Sequence[Workload]) -> set[str]:
    return {layer.op for work in works for layer in work.layers}


def _row(work: Workload, columns: Mapping[str, int]) -> npt.NDArray[np.float64]:
    """(1, columns): calls, MACs, bytes and outputs of each operator."""
    row = np.zeros((1, 4 * len(columns)))
    for layer in work.layers:
        first = columns[layer.op]
        counts = (1, layer.macs, layer.bytes_moved, layer.output_elements)
        row[0, first : first + 4] += counts
    return row


def _missing(works: Sequence[Workload], order: Sequence[int]) -> list[int]:
    """Further models, so that every operator is in two."""
    added: list[int] = []
    for op in sorted(_ops(works)):
        have = sum(_has(works[index], op) for index in (*order, *added))
        others = (i for i, work in enumerate(works) if i not in order and _has(work, op))
        added += [index for index, _ in zip(others, range(2 - have), strict=False)]
    return added


def _covering(works: Sequence[Workload], order: Sequence[int]) -> int:
    """How many of the models of `order`, from the first, have every operator twice."""
    ops = _ops(works)
    for count in range(1, len(order) + 1):
        if all(sum(_has(works[index], op) for index in order[:count]) >= 2 for op in ops):
            return max(count, 2 * len(ops))
    return len(order)


def _has(work: Workload, op: str) -> bool:
    return any(layer.op == op for layer in work.layers)
