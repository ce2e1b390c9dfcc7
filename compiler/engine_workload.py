"""`engine_workload`: what a graph asks of an engine's kernels, for tables of their passes."""

from __future__ import annotations

import dataclasses

from edgekiln.targets.errors import NoCostTableError
from edgekiln.targets.estimate import strongest_table
from edgekiln.targets.target import Target, Tile
from edgekiln.targets.workload import Workload

from .engine_counts import counts
from .engine_rules import kernel_calls
from .graph import Graph
from .workload import workload

_IN_PLACE = frozenset({"litert"})  # engines whose products read windows where they lie


def engine_workload(graph: Graph, engine: str, tile: Tile) -> Workload:
    """The workload of `graph` as `engine` is given it, with the passes of each layer's kernel."""
    given = kernel_calls(graph, engine)
    work = workload(given.graph)
    layers = []
    for layer, call in zip(work.layers, given.calls, strict=True):
        passes = counts(given.graph, call, tile, in_place=engine in _IN_PLACE)
        loops = (*sorted(passes.items()), *call.extra)
        layers.append(dataclasses.replace(layer, loops=loops))
    return Workload(tuple(layers), work.dtype)


def engine_tile(target: Target, engine: str, dtype: str) -> Tile | None:
    """The tile of the table that estimates come from; None where it prices no kernels."""
    try:
        return strongest_table(target, engine, dtype).tile
    except NoCostTableError:
        return None
