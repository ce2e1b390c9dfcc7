"""Decision trees and their ensembles, by comparisons and products that every format can say.

All trees are walked at once: gather the features that nodes test, compare them with thresholds,
multiply by ±1 for each leaf's path. A leaf's sum reaches its bound only where every test on the
path went its way, so a second comparison gives a one at the right leaf, and a product its values.
All sums are of small integers, exact in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..builder import GraphBuilder
from ..compose import of_two, reduce_axes, take, with_constant
from ..errors import ImportModelError
from ..graph import Array
from ..ops import MatmulAttrs, Op, TransposeAttrs
from .sklearn_boosting import BOOSTED, boosting
from .sklearn_fitted import fitted, unknown
from .sklearn_thresholds import raw_thresholds
from .sklearn_tree import Combined, Ensemble, Tree, tree_of

_CLASSIFIERS = frozenset(
    {"DecisionTreeClassifier", "ExtraTreeClassifier", "RandomForestClassifier"}
    | {"ExtraTreesClassifier"}
)
_REGRESSORS = frozenset(
    {"DecisionTreeRegressor", "ExtraTreeRegressor", "RandomForestRegressor", "ExtraTreesRegressor"}
)
FORESTS = _CLASSIFIERS | _REGRESSORS | BOOSTED

LARGEST_PATHS = 1 << 24
"""Most numbers in the table of paths (trees · tests · leaves): 64 MiB of float32."""

_SMALLEST_SHARE = 1e-9  # what a share of zero counts as: graphs give logarithms


@dataclass(frozen=True, slots=True)
class Forest:
    """Tables of all trees, padded to the largest: t trees, n tests, l leaves, c outputs.

    `features` and `thresholds` (t, 1, n); `paths` (t, n, l): -1 where the leaf lies left of the
    test, +1 where it lies right; `bounds` (t, 1, l): minus the left turns on the way; `values`
    (t, l, c); `offset` (c,).
    """

    features: Array
    thresholds: Array
    paths: Array
    bounds: Array
    values: Array
    offset: Array
    combined: Combined


def read_forest(model: Any, scalers: Sequence[Any], name: str) -> Forest:
    """The tables of a fitted tree or ensemble; `scalers` before it move into the thresholds.

    Raises ImportModelError where the tables would be larger than LARGEST_PATHS.
    """
    ensemble = _ensemble(model, name)
    trees = ensemble.trees
    tests = max(1, *(len(tree.feature) for tree in trees))
    leaves = max(len(tree.values) for tree in trees)
    _check_size(len(trees), tests, leaves, name)
    features = np.zeros((len(trees), 1, tests), np.int32)
    thresholds = np.zeros((len(trees), 1, tests), np.float32)
    paths = np.zeros((len(trees), tests, leaves), np.float32)
    # No sum is as low as this: padded leaves are never reached.
    bounds = np.full((len(trees), 1, leaves), -(tests + 1), np.float32)
    values = np.zeros((len(trees), leaves, trees[0].values.shape[1]), np.float32)
    raw = raw_thresholds(
        np.concatenate([tree.feature for tree in trees]),
        np.concatenate([tree.threshold for tree in trees]),
        scalers,
    )
    ends = np.cumsum([len(tree.feature) for tree in trees])
    for index, tree in enumerate(trees):
        own_tests, own_leaves = tree.paths.shape
        features[index, 0, :own_tests] = tree.feature
        thresholds[index, 0, :own_tests] = raw[ends[index] - own_tests : ends[index]]
        paths[index, :own_tests, :own_leaves] = tree.paths
        bounds[index, 0, :own_leaves] = -(tree.paths < 0).sum(axis=0)
        values[index, :own_leaves] = tree.values
    return Forest(features, thresholds, paths, bounds, values, ensemble.offset, ensemble.combined)


def add_forest(builder: GraphBuilder, x: str, forest: Forest, source: str) -> str:
    """The forest as nodes: (1, outputs)."""
    tested = take(builder, x, 1, forest.features, source)
    went_left = with_constant(builder, Op.LESS_EQUAL, tested, forest.thresholds, source)
    sums = _product(builder, went_left, forest.paths, source)
    reached = with_constant(builder, Op.LESS_EQUAL, sums, forest.bounds, source)
    answers = _product(builder, reached, forest.values, source)  # (1, trees, 1, outputs)
    trees, outputs = len(forest.values), forest.values.shape[2]
    if trees == 1:
        total = builder.reshape(answers, (1, outputs), source)
    elif forest.combined is Combined.LOG_OF_MEAN:
        total = _log_of_sum(builder, answers, trees, outputs, source)
    else:
        total = reduce_axes(builder, Op.SUM, answers, (1, 2), source=source)
    if forest.offset.any():
        total = with_constant(builder, Op.ADD, total, forest.offset, source)
    return builder.node(Op.EXP, (total,)) if forest.combined is Combined.EXP_OF_SUM else total


def _product(builder: GraphBuilder, x: str, table: Array, source: str) -> str:
    operand = builder.constant(builder.unique(Op.BATCH_MATMUL, "table"), table)
    return builder.node(Op.BATCH_MATMUL, (x, operand), MatmulAttrs(), source)


def _log_of_sum(builder: GraphBuilder, logs: str, trees: int, outputs: int, source: str) -> str:
    """log Σ e^x over trees: the largest x less its own log-softmax."""
    flat = builder.reshape(logs, (1, trees, outputs), source)
    by_output = builder.node(Op.TRANSPOSE, (flat,), TransposeAttrs((0, 2, 1)), source)
    shares = builder.node(Op.LOG_SOFTMAX, (by_output,), source=source)
    largest = reduce_axes(builder, Op.REDUCE_MAX, by_output, (2,), source=source)
    own = reduce_axes(builder, Op.REDUCE_MAX, shares, (2,), source=source)
    return of_two(builder, Op.SUB, largest, own, source)


def _ensemble(model: Any, name: str) -> Ensemble:
    kind = type(model).__name__
    if kind in BOOSTED:
        return boosting(model, name)
    many = fitted(model, "estimators_", name) if hasattr(model, "estimators_") else [model]
    trees = [tree_of(fitted(member, "tree_", name)) for member in many]
    if trees[0].outputs != 1:
        raise unknown(name, f"a {kind} of several outputs")
    if kind in _REGRESSORS:
        scaled = [tree.with_values(tree.values / len(trees)) for tree in trees]
        return Ensemble(scaled, np.zeros(1), Combined.SUM)
    logs = [tree.with_values(_logs(tree) - math.log(len(trees))) for tree in trees]
    return Ensemble(logs, np.zeros(logs[0].values.shape[1]), Combined.LOG_OF_MEAN)


def _logs(tree: Tree) -> Array:
    shares = tree.values / tree.values.sum(axis=1, keepdims=True)
    logs: Array = np.log(np.maximum(shares, _SMALLEST_SHARE))
    return logs


def _check_size(trees: int, tests: int, leaves: int, name: str) -> None:
    numbers = trees * tests * leaves
    if numbers > LARGEST_PATHS:
        raise ImportModelError(
            f"{name}: {trees} trees of up to {tests} tests and {leaves} leaves need a table of "
            f"{numbers * 4 / 2**20:.0f} MiB, more than {LARGEST_PATHS * 4 >> 20} MiB; "
            "fit with a smaller max_depth, max_leaf_nodes or n_estimators"
        )
