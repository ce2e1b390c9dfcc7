"""Imported scikit-learn estimators give the probabilities that scikit-learn gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC

from edgekiln.compiler.errors import ImportModelError, UnsupportedOpError
from edgekiln.compiler.graph import Array
from edgekiln.compiler.importers.sklearn import import_sklearn
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8

DATA = {"cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}


def samples(name: str) -> tuple[Array, Array]:
    x, y = DATA[name](return_X_y=True)
    return x.astype(np.float32), y


def softmax(logits: Array) -> Array:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def mlp(activation: str, *hidden: int) -> MLPClassifier:
    return MLPClassifier(hidden, activation=activation, max_iter=30, random_state=0)


ESTIMATORS: dict[str, tuple[str, Any]] = {
    "binary": ("cancer", make_pipeline(StandardScaler(), LogisticRegression())),
    "multinomial": ("wine", make_pipeline(MinMaxScaler(), LogisticRegression())),
    "two_scalers": (
        "wine",
        make_pipeline(MinMaxScaler((-1, 2)), StandardScaler(), LogisticRegression()),
    ),
    "no_mean": (
        "wine",
        make_pipeline(
            StandardScaler(with_mean=False), "passthrough", LogisticRegression(max_iter=500)
        ),
    ),
    "no_std": ("digits", make_pipeline(StandardScaler(with_std=False), mlp("identity", 12))),
    "mlp": ("digits", make_pipeline(MinMaxScaler(), mlp("relu", 24, 16))),
    "binary_mlp": ("cancer", make_pipeline(StandardScaler(), mlp("relu", 8))),
    "bare": ("digits", LogisticRegression(max_iter=20)),
    "tanh": ("wine", make_pipeline(RobustScaler(), mlp("tanh", 6))),
    "logistic": ("cancer", make_pipeline(MaxAbsScaler(), mlp("logistic", 6, 5))),
    "pca": ("digits", make_pipeline(StandardScaler(), PCA(20), LogisticRegression(max_iter=50))),
    "whitened": (
        "digits",
        make_pipeline(PCA(9, whiten=True), MinMaxScaler(), mlp("relu", 30)),
    ),
    "norm": ("digits", make_pipeline(MinMaxScaler(), Normalizer(), LogisticRegression())),
    "norm_l1": ("wine", make_pipeline(Normalizer("l1"), StandardScaler(), LogisticRegression())),
    "norm_max": ("wine", make_pipeline(Normalizer("max"), LogisticRegression())),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_import_sklearn_gives_the_same_probabilities_when_estimator_is_supported(
    name: str,
) -> None:
    source, estimator = ESTIMATORS[name]
    x, y = samples(source)
    estimator.fit(x, y)
    graph = optimize(import_sklearn(estimator, x.shape[1:], name))
    actual = softmax(run_float(graph, x))
    assert actual.shape == (len(x), len(np.unique(y)))
    assert np.abs(actual - estimator.predict_proba(x)).max() <= 1e-4


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_import_sklearn_reshapes_and_quantizes_when_samples_are_images() -> None:
    x, y = samples("digits")
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)).fit(x, y)
    graph = optimize(import_sklearn(estimator, (8, 8, 1), "digits"))
    assert [node.op for node in graph.nodes] == [Op.RESHAPE, Op.FULLY_CONNECTED]
    images = x.reshape(-1, 8, 8, 1)
    int8 = quantize(graph, images[:500])
    labels = run_int8(int8, quantize_input(int8, images)).argmax(axis=1)
    assert (labels == y).mean() >= estimator.score(x, y) - 0.02


DECIDERS: dict[str, tuple[str, Any]] = {
    "svc": ("wine", make_pipeline(StandardScaler(), LinearSVC())),
    "binary_svc": ("cancer", make_pipeline(StandardScaler(), LinearSVC())),
    "sgd": ("digits", SGDClassifier(random_state=0)),
    "ridge": ("cancer", make_pipeline(StandardScaler(), RidgeClassifier())),
    "perceptron": ("digits", Perceptron(fit_intercept=False)),
}


@pytest.mark.parametrize("name", DECIDERS)
def test_import_sklearn_gives_the_decision_function_when_there_are_no_probabilities(
    name: str,
) -> None:
    source, estimator = DECIDERS[name]
    x, y = samples(source)
    estimator.fit(x, y)
    logits = run_float(optimize(import_sklearn(estimator, x.shape[1:], name)), x)
    decision = estimator.decision_function(x.astype(np.float64))
    if decision.ndim == 1:
        decision = np.stack([np.zeros_like(decision), decision], axis=1)
    assert np.abs(logits - decision).max() <= 1e-4 * max(1.0, np.abs(decision).max())


REGRESSORS: dict[str, Any] = {
    "linear": make_pipeline(StandardScaler(), LinearRegression()),
    "ridge": Ridge(),
    "lasso": make_pipeline(PCA(4), Lasso()),
    "elastic": ElasticNet(fit_intercept=False),
    "poisson": MLPRegressor(loss="poisson", max_iter=9),
    "mlp": make_pipeline(StandardScaler(), MLPRegressor(activation="tanh", max_iter=30)),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", REGRESSORS)
def test_import_sklearn_gives_the_prediction_when_estimator_is_a_regressor(name: str) -> None:
    x, y = load_diabetes(return_X_y=True)
    x = x.astype(np.float32)
    estimator = REGRESSORS[name].fit(x, y)
    graph = optimize(import_sklearn(estimator, x.shape[1:], name))
    actual, expected = run_float(graph, x), estimator.predict(x.astype(np.float64))
    assert actual.shape == (len(x), 1)
    assert np.abs(actual[:, 0] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_import_sklearn_joins_pca_and_model_when_that_takes_fewer_weights() -> None:
    x, y = samples("digits")
    estimator = make_pipeline(PCA(20), LogisticRegression(max_iter=20)).fit(x, y)
    graph = import_sklearn(estimator, (64,), "joined")
    assert [node.op for node in graph.nodes] == [Op.FULLY_CONNECTED]
    wide = make_pipeline(PCA(3), mlp("relu", 50))
    with pytest.warns(ConvergenceWarning):
        wide.fit(x, y)
    graph = import_sklearn(wide, (64,), "apart")
    assert [node.op for node in graph.nodes].count(Op.FULLY_CONNECTED) == 3


def test_import_sklearn_gives_zeros_when_normalized_sample_is_zero() -> None:
    x, y = samples("digits")
    estimator = make_pipeline(Normalizer(), LogisticRegression(max_iter=20)).fit(x, y)
    graph = import_sklearn(estimator, (64,), "zero")
    zero = np.zeros((1, 64), np.float32)
    assert np.abs(run_float(graph, zero) - estimator.decision_function(zero)).max() <= 1e-5


def _fit(estimator: Any) -> Any:
    x, y = samples("wine")
    return estimator.fit(x, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        (KNeighborsClassifier(), "estimator 'KNeighborsClassifier'"),
        (
            make_pipeline(QuantileTransformer(n_quantiles=10), LogisticRegression()),
            "step 'QuantileTransf",
        ),
        (make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), "clip=True"),
    ],
)
def test_import_sklearn_names_the_step_and_ways_out_when_it_is_unknown(
    estimator: Any, match: str
) -> None:
    with pytest.raises(UnsupportedOpError, match=match) as error:
        import_sklearn(_fit(estimator), (13,), "wine")
    assert "known are linear models (LogisticRegression" in str(error.value)


def test_import_sklearn_raises_one_line_when_not_fitted_or_of_another_width() -> None:
    with pytest.raises(ImportModelError, match="is not fitted; call fit first"):
        import_sklearn(LogisticRegression(), (13,), "raw")
    with pytest.raises(ImportModelError, match="takes 13 features"):
        import_sklearn(_fit(LogisticRegression(max_iter=3000)), (4, 3, 1), "wine")
