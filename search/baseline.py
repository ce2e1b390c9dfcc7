"""The linear baseline: logistic regression, priced and drawn on the same front as the networks.

A search that does not beat it says so, because it is then what gets chosen.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers.sklearn import import_sklearn
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize

from .result import BASELINE_ID
from .space import MlpCandidate
from .train import Floats, TrainingSet, Weights

BASELINE = MlpCandidate(())
_CALIBRATION_SAMPLES = 128


@dataclass(frozen=True)
class Baseline:
    """The fitted classifier: int8 graph, weights in the form of `build_module`, accuracy."""

    graph: Graph
    weights: Weights
    accuracy: float


def fit_baseline(data: TrainingSet, input_shape: tuple[int, ...]) -> Baseline:
    """Fit on the training split, score on the validation split."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=500)
    with warnings.catch_warnings():
        # Where 500 steps do not converge the classifier is still a classifier.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_rows(data.x_train), data.y_train)
    accuracy = float(model.score(_rows(data.x_validation), data.y_validation))
    calibration = _layout(data.x_train[:_CALIBRATION_SAMPLES])
    float_graph = optimize(import_sklearn(model, input_shape, BASELINE_ID))
    return Baseline(quantize(float_graph, calibration), _state(float_graph, data), accuracy)


def _state(graph: Graph, data: TrainingSet) -> Weights:
    """The one linear layer, its columns in torch's order (channels, height, width)."""
    _, weights, bias = graph.nodes[-1].inputs
    matrix = graph.constant(weights)
    if data.x_train.ndim == 4:
        _, channels, height, width = data.x_train.shape
        image = matrix.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        matrix = np.ascontiguousarray(image.reshape(len(matrix), -1))
    layer = 1 if data.x_train.ndim == 4 else 0  # a flatten stands before it
    return {f"{layer}.weight": matrix, f"{layer}.bias": graph.constant(bias)}


def _layout(x: Floats) -> Floats:
    """Back from torch's layout to (n, height, width, channels)."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def _rows(x: Floats) -> Floats:
    """Flattened in the order of the graph: height, width, channels."""
    return _layout(x).reshape(len(x), -1)
