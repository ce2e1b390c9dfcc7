"""One decision tree, whatever scikit-learn keeps it in: tests, leaves and the paths between."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Array


@dataclass(frozen=True, slots=True)
class Tree:
    """`feature` and `threshold` (float64) of each test, `values` (leaves, c) of each leaf.

    A sample goes left where its feature ≤ the threshold. `paths` (tests, leaves) is -1 where a
    leaf lies left of a test, +1 where it lies right, 0 where it lies elsewhere.
    """

    feature: Array
    threshold: Array
    paths: Array
    values: Array
    outputs: int = 1

    def with_values(self, values: Array) -> Tree:
        """The same tree with other leaves."""
        return dataclasses.replace(self, values=values)


class Combined(enum.Enum):
    """How the leaves of all trees become one answer."""

    SUM = "sum"
    EXP_OF_SUM = "exp of sum"
    LOG_OF_MEAN = "log of mean"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Trees whose leaves are combined, and what is added to that: (c,)."""

    trees: Sequence[Tree]
    offset: Array
    combined: Combined


def tree_of(fitted: Any) -> Tree:
    """The Cython tree of scikit-learn's `tree` module, leaves as it holds them."""
    values = np.asarray(fitted.value, np.float64)  # (nodes, outputs, classes)
    tree = from_children(
        np.asarray(fitted.children_left),
        np.asarray(fitted.children_right),
        np.asarray(fitted.feature),
        np.asarray(fitted.threshold, np.float64),
        values[:, 0],
    )
    return dataclasses.replace(tree, outputs=values.shape[1])


def from_children(
    left: Array, right: Array, feature: Array, threshold: Array, values: Array
) -> Tree:
    """A tree from arrays by node, the root first; a leaf's children are -1."""
    is_leaf = left < 0
    tests, leaves = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
    place = np.zeros(len(left), np.int64)
    place[tests], place[leaves] = np.arange(len(tests)), np.arange(len(leaves))
    paths = np.zeros((len(tests), len(leaves)), np.int8)
    waiting: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    while waiting:
        node, way = waiting.pop()
        if is_leaf[node]:
            for test, side in way:
                paths[test, place[node]] = side
        else:
            waiting.append((int(left[node]), [*way, (int(place[node]), -1)]))
            waiting.append((int(right[node]), [*way, (int(place[node]), 1)]))
    return Tree(feature[tests], threshold[tests], paths, values[leaves])
