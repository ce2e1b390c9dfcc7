"""Passes: graph in, graph out, nothing mutated. `optimize` runs them in order, checked between.

constants → batch norm → activation → padding → clean-up. After `optimize` only operators are left
that emitters and the quantizer know.
"""

from __future__ import annotations

from collections.abc import Callable

from ..grammar import check
from ..graph import Graph
from .activation import fuse_activations
from .cleanup import clean_up
from .fold import fold_constants
from .logits import end_in_logits
from .norm import fold_batch_norms
from .padding import fuse_padding, lower_padding

__all__ = ["Trace", "end_in_logits", "lower_padding", "optimize", "untraced"]

Trace = Callable[[str, Graph], None]
"""Is told the name of each step and the graph after it."""

PIPELINE = (clean_up, fold_constants, fold_batch_norms, fuse_activations, fuse_padding, clean_up)


def untraced(step: str, graph: Graph) -> None:
    """The trace that nobody reads."""


def optimize(graph: Graph, trace: Trace = untraced) -> Graph:
    """The same function with fewer nodes. Raises GrammarError if a pass breaks the graph."""
    check(graph)
    for rewrite in PIPELINE:
        graph = rewrite(graph)
        check(graph)
        trace(rewrite.__name__.replace("_", " "), graph)
    return graph
