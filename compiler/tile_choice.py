"""`choose_tile`: what an engine's kernels compute at once, told from how long single layers took.

The tile of a kernel shows as stairs in the times of layers of all sizes. Candidates are compared by
how well a fit to some of the layers predicts the others, one figure of the tile after the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from edgekiln.targets.fit import Sample
from edgekiln.targets.fit_kernels import cross_validated
from edgekiln.targets.target import Tile

from .engine_workload import engine_workload
from .graph import Graph
from .ops import Op

MOST_LAYERS = 400  # more say nothing new, and take longer
# What the engines have on an x86 core with AVX-512: where the search begins.
_BEGIN: Mapping[str, Tile] = {
    "litert": Tile(rows=7, columns=16, depth=8, lanes=16),
    "onnxruntime": Tile(rows=6, columns=16, depth=4, lanes=16, aligned=4),
}
_PRODUCTS: Mapping[str, tuple[int, ...]] = {
    "columns": (4, 8, 16, 32, 64),
    "depth": (1, 2, 4, 8, 16),
    "rows": (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16),
    "aligned": (1, 4, 8, 16),
}
_SINGLE: Mapping[str, tuple[int, ...]] = {"lanes": (4, 8, 16, 32)}
_TURNS = 2
_WORTH = 0.97  # of the error before: what a disturbed measurement suggests is not taken for less

Timed = Sequence[tuple[Graph, float]]


def choose_tile(timed: Timed, engine: str) -> Tile:
    """The tile that explains single layers among `timed`, graphs and µs of one inference, best."""
    tile = _BEGIN[engine]
    for _ in range(_TURNS):
        tile = _best(tile, _PRODUCTS, _alone(timed, Op.CONV_2D), engine)
    return _best(tile, _SINGLE, _alone(timed, Op.DEPTHWISE_CONV_2D), engine)


def _alone(timed: Timed, op: Op) -> Timed:
    found = [(g, us) for g, us in timed if len(g.nodes) == 1 and g.nodes[0].op is op]
    return found[:MOST_LAYERS]


def _best(tile: Tile, choices: Mapping[str, tuple[int, ...]], timed: Timed, engine: str) -> Tile:
    if len(timed) < 8:  # too few to leave some out
        return tile

    def error(tried: Tile) -> float:
        works = ((engine_workload(graph, engine, tried), us) for graph, us in timed)
        return cross_validated([Sample(work, us) for work, us in works])

    least = error(tile)
    for name, values in choices.items():
        tried = {value: error(dataclasses.replace(tile, **{name: value})) for value in values}
        best = min(tried, key=lambda value: tried[value])
        if tried[best] < _WORTH * least:
            tile, least = dataclasses.replace(tile, **{name: best}), tried[best]
    return tile
