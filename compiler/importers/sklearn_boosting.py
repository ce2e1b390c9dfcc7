"""Gradient boosting: sums of regression trees over a constant, in log-odds for classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Array
from .sklearn_fitted import fitted, unknown
from .sklearn_tree import Combined, Ensemble, Tree, from_children, tree_of

_GRADIENT = frozenset({"GradientBoostingClassifier", "GradientBoostingRegressor"})
_HISTOGRAM = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})
BOOSTED = _GRADIENT | _HISTOGRAM

_LOG_LINKS = frozenset({"poisson", "gamma"})


def boosting(model: Any, name: str) -> Ensemble:
    """The trees of all rounds; each writes to the output that it was fitted for."""
    kind = type(model).__name__
    rounds, start = _histogram(model, name) if kind in _HISTOGRAM else _gradient(model, name)
    outputs = len(start)
    is_binary = kind.endswith("Classifier") and outputs == 1
    trees = [
        _placed(tree, index + is_binary, outputs + is_binary)
        for trees in rounds
        for index, tree in enumerate(trees)
    ]
    offset = np.concatenate([[0.0], start]) if is_binary else start
    has_log_link = kind == "HistGradientBoostingRegressor" and model.loss in _LOG_LINKS
    return Ensemble(trees, offset, Combined.EXP_OF_SUM if has_log_link else Combined.SUM)


def _placed(tree: Tree, column: int, columns: int) -> Tree:
    values = np.zeros((len(tree.values), columns))
    values[:, column] = tree.values[:, 0]
    return tree.with_values(values)


def _gradient(model: Any, name: str) -> tuple[list[list[Tree]], Array]:
    estimators = fitted(model, "estimators_", name)
    if type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor", "str"):
        raise unknown(name, f"{type(model).__name__} with an init of its own")
    # P(class 1) is the logistic function of twice the decision under the exponential loss.
    doubled = 2.0 if model.loss == "exponential" else 1.0
    factor = model.learning_rate * doubled
    rounds = []
    for row in estimators:
        trees = [tree_of(member.tree_) for member in row]
        rounds.append([tree.with_values(tree.values * factor) for tree in trees])
    return rounds, _start(model) * doubled


def _start(model: Any) -> Array:
    """What a sample has before the first tree: its decision less what the trees add."""
    sample = np.zeros((1, model.n_features_in_), np.float32)
    decide = getattr(model, "decision_function", model.predict)
    decision = np.asarray(decide(sample), np.float64).reshape(-1)
    added = [sum(member.predict(sample)[0] for member in column) for column in model.estimators_.T]
    start: Array = decision - model.learning_rate * np.asarray(added)
    return start


def _histogram(model: Any, name: str) -> tuple[list[list[Tree]], Array]:
    predictors = fitted(model, "_predictors", name)
    if model.is_categorical_ is not None and np.any(model.is_categorical_):
        raise unknown(name, f"{type(model).__name__} with categorical features")
    rounds = [[_histogram_tree(predictor.nodes) for predictor in row] for row in predictors]
    return rounds, np.asarray(model._baseline_prediction, np.float64).reshape(-1)


def _histogram_tree(nodes: Array) -> Tree:
    is_leaf = nodes["is_leaf"].astype(bool)
    return from_children(
        np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        nodes["feature_idx"],
        nodes["num_threshold"],
        nodes["value"][:, None],
    )
