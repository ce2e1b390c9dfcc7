"""`loop_table`: what a pass of each loop of our kernels takes on the core of a target.

Chains of random layers are chosen by design from a larger pool, counted layer by layer under
emulation and fitted; networks of other kinds, counted as well, say how well the table predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgekiln.targets.design import choose
from edgekiln.targets.emulate import machine_of
from edgekiln.targets.fit_loops import CountedModel, fit_loops
from edgekiln.targets.target import CostTable, Target
from edgekiln.targets.workload import Workload

from .emit_c_family import Family, family_of_core
from .graph import Graph
from .kernel_loops import kernel_workload
from .kernel_probes import chain_probes
from .layer_counts import layer_counts
from .ops import Op
from .oracles import tool_version
from .probe_networks import networks

POOL = 400  # chains to choose from
CHAINS = 80
HELD_OUT = 21  # networks, three of each family: enough for a bound at 95 %
EVIDENCE_ID = "kernel-loops"

Count = Callable[[Graph], CountedModel]


def loop_table(
    target: Target, seed: int, say: Callable[[str], None], count: Count | None = None
) -> tuple[CostTable, str]:
    """The table at one instruction a nanosecond, and where it comes from.

    `count` counts one int8 graph; by default it is emulated now. Raises MissingToolError and
    MeasurementError as `layer_counts` does.
    """
    machine = machine_of(target)
    counter = count or (lambda graph: layer_counts(graph, target))
    chains = designed_chains(family_of_core(target.core), seed)
    counted = _counted(chains, counter, say)
    held_out = _counted(list(networks(seed, HELD_OUT)), counter, say)
    tools = ", ".join(tool_version(tool) for tool in machine.tools if tool != "gcc")
    source = (
        f"{len(chains)} chains of layers chosen from {POOL} by D-optimal design, held to "
        f"{HELD_OUT} networks; generated C, instructions under emulation, {tools}"
    )
    return fit_loops(counted, held_out, EVIDENCE_ID), source


def designed_chains(family: Family, seed: int, count: int = CHAINS) -> list[Graph]:
    """The chains that say most about the loops of a family, most telling ones first."""
    pool = list(chain_probes(seed, POOL))
    works = [kernel_workload(graph, family) for graph in pool]
    names = sorted({name for work in works for layer in work.layers for name, _ in layer.loops})
    columns = {name: index for index, name in enumerate(names)}
    return [pool[index] for index in choose([_rows(work, columns) for work in works], count)]


def _rows(work: Workload, columns: dict[str, int]) -> npt.NDArray[np.float64]:
    """(layers, loops): how often each layer passes each loop."""
    layers = [layer for layer in work.layers if layer.op != Op.RESHAPE]
    rows = np.zeros((len(layers), len(columns)))
    for row, layer in zip(rows, layers, strict=True):
        for name, passes in layer.loops:
            row[columns[name]] = passes
    return rows


def _counted(
    graphs: Sequence[Graph], count: Count, say: Callable[[str], None]
) -> list[CountedModel]:
    counted = []
    for index, graph in enumerate(graphs, 1):
        counted.append(count(graph))
        if index % 10 == 0:
            say(f"{index} of {len(graphs)} counted")
    return counted
