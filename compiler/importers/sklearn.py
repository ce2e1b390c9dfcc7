"""scikit-learn estimators: linear models and perceptrons become fully connected layers.

Scalers in front of them are folded into the first layer, so that a device runs no extra step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..builder import GraphBuilder
from ..errors import ImportModelError, UnsupportedOpError
from ..graph import Array, Graph
from ..ops import Activation
from ..shapes import Shape, elements

WAYS_OUT = (
    "known are LogisticRegression and MLPClassifier (relu or identity), alone or in a Pipeline "
    "after StandardScaler or MinMaxScaler"
)

Layer = tuple[Array, Array]  # weights (out, in), bias (out,)


def import_sklearn(estimator: Any, input_shape: Shape, name: str) -> Graph:
    """A float32 graph of a fitted classifier; its output is one logit for each class.

    `input_shape` is a preprocessed sample without the batch axis; an image is flattened first. A
    binary model, which has one decision value d, gives the logits (0, d). Raises
    UnsupportedOpError for an estimator outside the list and ImportModelError for one not fitted.
    """
    *scalers, classifier = _steps(estimator)
    layers, activation = _classifier(classifier, name)
    scale, offset = _combined_scaling(scalers, elements(input_shape), name)
    if layers[0][0].shape[1] != elements(input_shape):
        raise ImportModelError(
            f"{name}: the model takes {layers[0][0].shape[1]} features, "
            f"a sample of shape {input_shape} has {elements(input_shape)}"
        )
    weights, bias = layers[0]
    layers[0] = weights * scale, bias + weights @ offset

    builder = GraphBuilder(name, (1, *input_shape))
    value = builder.input
    if len(input_shape) != 1:
        value = builder.reshape(value, (1, elements(input_shape)), "flatten")
    for index, (weights, bias) in enumerate(layers):
        last = index == len(layers) - 1
        value = builder.fully_connected(
            value,
            weights,
            bias,
            activation=Activation.NONE if last else activation,
            source=f"{type(classifier).__name__}.{index}",
        )
    return builder.finish(value)


def _steps(estimator: Any) -> list[Any]:
    if type(estimator).__name__ != "Pipeline":
        return [estimator]
    return [step for _, step in estimator.steps if step is not None and step != "passthrough"]


def _classifier(model: Any, name: str) -> tuple[list[Layer], Activation]:
    kind = type(model).__name__
    if kind == "LogisticRegression":
        weights = np.asarray(_fitted(model, "coef_", name), np.float64)
        layers = [(weights, np.asarray(model.intercept_, np.float64))]
        activation = Activation.NONE
    elif kind == "MLPClassifier" and model.activation in ("relu", "identity"):
        coefficients = zip(_fitted(model, "coefs_", name), model.intercepts_, strict=True)
        layers = [(np.asarray(w, np.float64).T, np.asarray(b, np.float64)) for w, b in coefficients]
        activation = Activation.RELU if model.activation == "relu" else Activation.NONE
        if getattr(model, "out_activation_", "softmax") == "logistic" and len(model.classes_) > 2:
            raise UnsupportedOpError(f"{name}: a multi-label MLPClassifier is unknown; {WAYS_OUT}")
    else:
        detail = f" with activation '{model.activation}'" if kind == "MLPClassifier" else ""
        raise UnsupportedOpError(f"{name}: estimator '{kind}'{detail} is unknown; {WAYS_OUT}")
    return [*layers[:-1], _two_logits(*layers[-1])], activation


def _two_logits(weights: Array, bias: Array) -> Layer:
    """softmax of (0, d) is the logistic function of d."""
    if len(bias) > 1:
        return weights, bias
    return np.vstack([np.zeros_like(weights), weights]), np.concatenate([[0.0], bias])


def _combined_scaling(scalers: list[Any], features: int, name: str) -> tuple[Array, Array]:
    """(scale, offset) of all scalers in a row: x · scale + offset, in float64."""
    scale, offset = np.ones(features), np.zeros(features)
    for scaler in scalers:
        step_scale, step_offset = _scaling(scaler, name)
        scale, offset = scale * step_scale, offset * step_scale + step_offset
    return scale, offset


def _scaling(scaler: Any, name: str) -> tuple[Array, Array]:
    kind = type(scaler).__name__
    if kind == "StandardScaler":
        _fitted(scaler, "n_features_in_", name)
        scale = 1.0 if scaler.scale_ is None else 1.0 / np.asarray(scaler.scale_, np.float64)
        mean = 0.0 if not scaler.with_mean else np.asarray(scaler.mean_, np.float64)
        return np.asarray(scale), np.asarray(-mean * scale)
    if kind == "MinMaxScaler" and not scaler.clip:
        return np.asarray(_fitted(scaler, "scale_", name)), np.asarray(scaler.min_)
    detail = " with clip=True" if kind == "MinMaxScaler" else ""
    raise UnsupportedOpError(f"{name}: step '{kind}'{detail} is unknown; {WAYS_OUT}")


def _fitted(model: Any, attribute: str, name: str) -> Any:
    if not hasattr(model, attribute):
        raise ImportModelError(f"{name}: {type(model).__name__} is not fitted; call fit first")
    return getattr(model, attribute)
