"""Operators along time. Nakkiran and others, "Compressing Deep Neural Networks using a
Rank-Constrained Topology", 2015, for SVDF."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array, Graph, Node
from ..ops import Op, SvdfAttrs
from .common import Float, activate


def weigh_in_time(filters: Array, weights: Array) -> Array:
    """Each filter's last values weighed and summed, frame by frame: (n, filters).

    `filters` (n, filters) in the order of frames, `weights` (filters, memory), the oldest first;
    what lies before the first frame is zero.
    """
    memory = weights.shape[1]
    before = np.zeros((memory - 1, filters.shape[1]), filters.dtype)
    seen = np.concatenate([before, filters])
    total = np.zeros_like(filters)
    for tap in range(memory):
        total += seen[tap : tap + len(filters)] * weights[:, tap]
    return total


def _svdf(graph: Graph, node: Node, x: Float, weights: Float, in_time: Float, bias: Float) -> Float:
    assert isinstance(node.attrs, SvdfAttrs)
    weighed = weigh_in_time(x @ weights.T, in_time)
    units = weighed.reshape(len(x), -1, node.attrs.rank).sum(axis=2) + bias
    return activate(units, node.attrs.activation)


RECURRENT: dict[Op, Callable[..., Float]] = {Op.SVDF: _svdf}
