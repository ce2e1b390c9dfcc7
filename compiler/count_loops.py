"""Which graphs to count on an emulated core, and the table of its kernels' loops from the counts.

Chains of random layers are chosen by design from a larger pool and fitted layer by layer; networks
of other kinds say how well the table predicts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgekiln.targets.design import choose
from edgekiln.targets.workload import Workload

from .emit_c_family import Family
from .graph import Graph
from .kernel_loops import kernel_workload
from .kernel_probes import chain_probes
from .ops import Op

POOL = 400  # chains to choose from
CHAINS = 80
NETWORKS = 21  # held out, three of each family: enough for a bound at 95 %


def designed_chains(family: Family, seed: int, count: int = CHAINS) -> list[Graph]:
    """The chains that say most about the loops of a family, most telling ones first."""
    pool = list(chain_probes(seed, POOL))
    works = [kernel_workload(graph, family) for graph in pool]
    names = sorted({name for work in works for layer in work.layers for name, _ in layer.loops})
    columns = {name: index for index, name in enumerate(names)}
    return [pool[index] for index in choose([_rows(work, columns) for work in works], count)]


def _rows(work: Workload, columns: Mapping[str, int]) -> npt.NDArray[np.float64]:
    """(layers, loops): how often each layer passes each loop."""
    layers = [layer for layer in work.layers if layer.op != Op.RESHAPE]
    rows = np.zeros((len(layers), len(columns)))
    for row, layer in zip(rows, layers, strict=True):
        for name, passes in layer.loops:
            row[columns[name]] = passes
    return rows
