"""scikit-learn estimators: linear models, perceptrons, trees and their ensembles, in pipelines.

Scalers in front of a model cost a device nothing: they are folded into the first layer or into
the thresholds of trees.
"""

from __future__ import annotations

from typing import Any

from ..builder import GraphBuilder
from ..errors import ImportModelError, UnsupportedOpError
from ..graph import Graph
from ..shapes import Shape, elements
from .sklearn_fitted import WAYS_OUT, fitted
from .sklearn_linear import LINEAR, add_layers, linear_layers
from .sklearn_steps import add_stages, read_steps
from .sklearn_trees import FORESTS, add_forest, read_forest


def import_sklearn(estimator: Any, input_shape: Shape, name: str) -> Graph:
    """A float32 graph of a fitted estimator; a classifier's output is one logit for each class.

    `input_shape` is a preprocessed sample without the batch axis; an image is flattened first. A
    binary model, which has one decision value d, gives the logits (0, d). The softmax of the
    logits is `predict_proba` where the model has it and was trained with a log loss, for trees and
    forests too; elsewhere they are `decision_function`. Regressors give what `predict` gives.
    Inputs are finite: how trees treat missing values is not carried over. Raises
    UnsupportedOpError for an estimator outside the list and ImportModelError for one that is not
    fitted, takes other samples or is too large.
    """
    *steps, model = _steps(estimator)
    kind = type(model).__name__
    if kind not in LINEAR and kind not in FORESTS:
        raise UnsupportedOpError(f"{name}: estimator '{kind}' is unknown; {WAYS_OUT}")
    _check_features([*steps, model], input_shape, name)

    builder = GraphBuilder(name, (1, *input_shape))
    value = builder.input
    if len(input_shape) != 1:
        value = builder.reshape(value, (1, elements(input_shape)), "flatten")
    if kind in LINEAR:
        value = add_layers(builder, value, linear_layers(model, steps, name), kind)
    else:
        stages, scalers = read_steps(steps, name)
        value = add_stages(builder, value, stages)
        value = add_forest(builder, value, read_forest(model, scalers, name), kind)
    return builder.finish(value)


def _steps(estimator: Any) -> list[Any]:
    if type(estimator).__name__ != "Pipeline":
        return [estimator]
    return [step for _, step in estimator.steps if step is not None and step != "passthrough"]


def _check_features(steps: list[Any], input_shape: Shape, name: str) -> None:
    for step in steps:
        fitted(step, "n_features_in_", name)
    wanted = int(steps[0].n_features_in_)
    if wanted != elements(input_shape):
        raise ImportModelError(
            f"{name}: the model takes {wanted} features, "
            f"a sample of shape {input_shape} has {elements(input_shape)}"
        )
