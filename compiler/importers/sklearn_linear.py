"""Linear models and perceptrons: fully connected layers, with the steps before them folded in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..builder import GraphBuilder
from ..graph import Array
from ..ops import Op
from .sklearn_fitted import fitted, unknown
from .sklearn_steps import Dense, Stage, add_stages, fold_scale, read_steps, scaling

_CLASSIFIERS = frozenset(
    {
        "LogisticRegression",
        "LogisticRegressionCV",
        "LinearSVC",
        "SGDClassifier",
        "RidgeClassifier",
        "RidgeClassifierCV",
        "Perceptron",
    }
)
_REGRESSORS = frozenset(
    {
        "LinearRegression",
        "Ridge",
        "RidgeCV",
        "Lasso",
        "LassoCV",
        "ElasticNet",
        "ElasticNetCV",
        "LinearSVR",
        "SGDRegressor",
    }
)
_PERCEPTRONS = frozenset({"MLPClassifier", "MLPRegressor"})

LINEAR = _CLASSIFIERS | _REGRESSORS | _PERCEPTRONS

_ACTIVATIONS = {"identity": None, "relu": Op.RELU, "tanh": Op.TANH, "logistic": Op.LOGISTIC}


@dataclass(frozen=True, slots=True)
class Layers:
    """Stages in front, then dense layers with `activation` between them and `last` at the end."""

    stages: Sequence[Stage]
    dense: Sequence[Dense]
    activation: Op | None
    last: Op | None


def linear_layers(model: Any, steps: Sequence[Any], name: str) -> Layers:
    """What `model` computes after `steps`, as few weights as that takes."""
    stages, scalers = read_steps(steps, name)
    dense, activation = _layers(model, name)
    first = fold_scale(dense[0], scaling(scalers, name))
    before = stages[-1] if stages else None
    if isinstance(before, Dense) and _is_smaller_as_one(before, first):
        bias = first.bias + first.weights @ before.bias
        stages, first = stages[:-1], Dense(first.weights @ before.weights, bias)
    last = Op.EXP if getattr(model, "out_activation_", "") == "exp" else None  # poisson loss
    return Layers(stages, [first, *dense[1:]], activation, last)


def add_layers(builder: GraphBuilder, x: str, layers: Layers, kind: str) -> str:
    """The stages and layers as nodes."""
    x = add_stages(builder, x, layers.stages)
    for index, layer in enumerate(layers.dense):
        source = f"{kind}.{index}"
        x = builder.fully_connected(x, layer.weights, layer.bias, source=source)
        after = layers.activation if index < len(layers.dense) - 1 else layers.last
        x = x if after is None else builder.node(after, (x,), source=source)
    return x


def _is_smaller_as_one(first: Dense, second: Dense) -> bool:
    joined = second.weights.shape[0] * first.weights.shape[1]
    return bool(joined <= first.weights.size + second.weights.size)


def _layers(model: Any, name: str) -> tuple[list[Dense], Op | None]:
    kind = type(model).__name__
    if kind not in _PERCEPTRONS:
        layer = _linear(model, name)
        return [_two_logits(layer) if kind in _CLASSIFIERS else layer], None
    coefficients = zip(fitted(model, "coefs_", name), model.intercepts_, strict=True)
    layers = [
        Dense(np.asarray(w, np.float64).T, np.asarray(b, np.float64)) for w, b in coefficients
    ]
    if kind == "MLPClassifier":
        if model.out_activation_ == "logistic" and len(model.classes_) > 2:
            raise unknown(name, "a multi-label MLPClassifier")
        layers[-1] = _two_logits(layers[-1])
    return layers, _ACTIVATIONS[model.activation]


def _linear(model: Any, name: str) -> Dense:
    weights = np.atleast_2d(np.asarray(fitted(model, "coef_", name), np.float64))
    bias: Array = np.zeros(len(weights)) + np.asarray(model.intercept_, np.float64)
    return Dense(weights, bias)


def _two_logits(layer: Dense) -> Dense:
    """softmax of (0, d) is the logistic function of d."""
    if len(layer.bias) > 1:
        return layer
    return Dense(
        np.vstack([np.zeros_like(layer.weights), layer.weights]),
        np.concatenate([[0.0], layer.bias]),
    )
