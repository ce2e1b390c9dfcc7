"""`engine_probes`: what a calibration of an engine runs, in the order in which it is worth it.

First the layers at whose sizes kernels change, further operators that a model asks for and some of
the held-out networks; then random graphs of every kind in turn, so that wherever a budget ends the
same share of each has been measured. What a table needs comes first: `NEEDED_PROBES`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from .graph import Graph
from .probe_chains import KINDS, corners
from .probe_models import more_probes
from .probe_networks import FAMILIES, network_float
from .quantize import quantize

NEEDED_PROBES, ALL_PROBES = 340, 4000  # random ones, beside the corners
NEEDED_NETWORKS, ALL_NETWORKS = 14, 70
_NETWORK_EVERY = 12  # probes


@dataclass(frozen=True, slots=True)
class EngineProbe:
    """A model of a calibration in both formats; `family` is that of a held-out network.

    There is no float32 form of an operator that exists in int8 alone.
    """

    key: str
    int8: Graph
    float32: Graph | None
    family: str = ""
    needed: bool = False


def engine_probes(seed: int, ops: Collection[str] = ()) -> Iterator[EngineProbe]:
    """All probes, made as they are asked for; `ops` are further operators, probed first."""
    for index, graph in enumerate(more_probes(ops, seed)):
        yield EngineProbe(f"operator {index}: {graph.name}", graph, None, needed=True)
    for index, graph in enumerate(corners(np.random.default_rng((seed, 4)))):
        yield _probe(f"corner {index}", graph, needed=True)
    yield from (_network(seed, index, needed=True) for index in range(NEEDED_NETWORKS))
    more = iter(range(NEEDED_NETWORKS, ALL_NETWORKS))
    for index in range(ALL_PROBES):
        yield _random(seed, index)
        late = index - NEEDED_PROBES
        if late >= 0 and late % _NETWORK_EVERY == 0 and (number := next(more, None)) is not None:
            yield _network(seed, number, needed=False)


_TURNS = [kind for kind, (_, share) in KINDS.items() for _ in range(share)]


def _random(seed: int, index: int) -> EngineProbe:
    kind = _TURNS[index % len(_TURNS)]
    graph = KINDS[kind][0](np.random.default_rng((seed, 5, index)), f"{kind}_{index}")
    return _probe(f"{kind} {index}", graph, needed=index < NEEDED_PROBES)


def _network(seed: int, index: int, *, needed: bool) -> EngineProbe:
    family = tuple(FAMILIES)[index % len(FAMILIES)]
    graph = network_float(family, (seed, 3, index))
    return _probe(f"network {index}: {family}", graph, family, needed=needed)


def _probe(key: str, graph: Graph, family: str = "", *, needed: bool) -> EngineProbe:
    noise = np.random.default_rng(0).normal(0, 1, (4, *graph.input.shape[1:]))
    return EngineProbe(key, quantize(graph, noise.astype(np.float32)), graph, family, needed)
