"""Trees and ensembles answer as scikit-learn does, at the thresholds themselves too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from edgekiln.compiler.data import load_dataset
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import ImportModelError, UnsupportedOpError
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType
from edgekiln.compiler.importers.sklearn import import_sklearn
from edgekiln.compiler.importers.sklearn_thresholds import raw_thresholds, round_down
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.recipe import (
    DEFAULT_RECIPE,
    FLOAT_RECIPE,
    DenseScales,
    Recipe,
    suited_recipe,
)
from edgekiln.compiler.request import CompileRequest, TargetRequest
from edgekiln.targets.profiles import load_target


def answers(estimator: Any, x: Array) -> Array:
    graph = import_sklearn(estimator, x.shape[1:], "trees")
    check(graph)
    return run_float(optimize(graph), x)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "stump": lambda: DecisionTreeClassifier(max_depth=1),
    "leaf": lambda: DecisionTreeClassifier(min_samples_split=1000),
    "forest": lambda: RandomForestClassifier(12, random_state=0),
    "shallow_forest": lambda: RandomForestClassifier(7, max_depth=3, random_state=0),
    "extra": lambda: ExtraTreesClassifier(9, min_samples_leaf=4, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=8, random_state=0),
    "boosting_zero": lambda: GradientBoostingClassifier(n_estimators=4, init="zero"),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=8),
    "scaled_tree": lambda: make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)),
    "scaled_twice": lambda: make_pipeline(
        RobustScaler(), MinMaxScaler(clip=True), RandomForestClassifier(6, random_state=0)
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_import_sklearn_gives_the_probabilities_of_trees_when_samples_are_real(
    name: str, load: Callable[..., Any]
) -> None:
    x, y = load(return_X_y=True)
    x = x.astype(np.float32)
    estimator = CLASSIFIERS[name]().fit(x, y)
    # Samples from outside the training data, between its points.
    more = np.concatenate([x, (x + x[::-1]) / 2, x * np.float32(1.3)])
    expected = estimator.predict_proba(more)
    actual = softmax(answers(estimator, more))
    assert np.abs(actual - expected).max() <= 2e-6
    clear = np.sort(expected, axis=1)
    clear_rows = clear[:, -1] - clear[:, -2] > 1e-6
    assert (actual.argmax(axis=1) == estimator.predict(more))[clear_rows].all()


def test_import_sklearn_doubles_the_decision_when_loss_is_exponential() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    estimator = GradientBoostingClassifier(loss="exponential", n_estimators=5).fit(x, y)
    assert np.abs(softmax(answers(estimator, x)) - estimator.predict_proba(x)).max() <= 1e-6


REGRESSORS: dict[str, Callable[[], Any]] = {
    "tree": lambda: DecisionTreeRegressor(random_state=0),
    "forest": lambda: RandomForestRegressor(9, random_state=0),
    "extra": lambda: ExtraTreesRegressor(9, max_depth=6, random_state=0),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=20, random_state=0),
    "boosting_huber": lambda: GradientBoostingRegressor(loss="huber", n_estimators=5),
    "histogram": lambda: HistGradientBoostingRegressor(max_iter=9),
    "histogram_poisson": lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=5),
    "scaled": lambda: make_pipeline(StandardScaler(), DecisionTreeRegressor(random_state=0)),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_import_sklearn_gives_the_prediction_of_trees_when_they_are_regressors(name: str) -> None:
    x, y = load_diabetes(return_X_y=True)
    x = x.astype(np.float32)
    estimator = REGRESSORS[name]().fit(x, y)
    more = np.concatenate([x, (x + x[::-1]) / 2])
    actual, expected = answers(estimator, more), estimator.predict(more)
    assert actual.shape == (len(more), 1)
    assert np.abs(actual[:, 0] - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("scaled", [False, True])
def test_import_sklearn_takes_the_same_leaf_when_features_lie_on_thresholds(scaled: bool) -> None:
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(300, 4)) * [1e-3, 1, 50, 1e5]).astype(np.float32)
    y = rng.normal(size=300)
    steps = [StandardScaler(), RobustScaler()] if scaled else []
    estimator = make_pipeline(*steps, DecisionTreeRegressor(random_state=0)).fit(x, y)
    tree = estimator[-1].tree_
    inner = tree.children_left >= 0
    features = tree.feature[inner]
    edges = raw_thresholds(features, tree.threshold[inner], estimator[:-1] if scaled else [])
    rows = x[rng.integers(0, len(x), 3 * len(features))]
    around = [edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, -np.inf)]
    rows[np.arange(len(rows)), np.tile(features, 3)] = np.concatenate(around)
    assert np.array_equal(
        answers(estimator, rows)[:, 0], estimator.predict(rows).astype(np.float32)
    )


finite = st.floats(allow_nan=False, allow_infinity=False)
finite32 = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(threshold=finite, sample=finite32)
@settings(max_examples=3 * settings().max_examples)
def test_round_down_decides_the_same_when_samples_are_float32(
    threshold: float, sample: float
) -> None:
    rounded = round_down(np.array([threshold]))
    assert rounded.dtype == np.float32
    with np.errstate(over="ignore"):
        above = np.nextafter(rounded[0], np.float32(np.inf))
    for x in (np.float32(sample), above, rounded[0]):
        if np.isfinite(x) and abs(threshold) <= float(np.finfo(np.float32).max):
            assert (x <= rounded[0]) == (float(x) <= threshold)


@given(
    rows=st.lists(
        st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.3, 1.0, 7.0]), min_size=3, max_size=3),
        min_size=8,
        max_size=30,
    ),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=15, deadline=None)
def test_import_sklearn_answers_as_the_forest_when_data_is_arbitrary(
    rows: list[list[float]], seed: int
) -> None:
    x = np.array(rows, np.float32)
    y = np.random.default_rng(seed).integers(0, 3, len(x))
    estimator = RandomForestClassifier(4, random_state=seed).fit(x, y)
    # Midpoints of the values are the thresholds: exact ties.
    ties = np.concatenate([x, (x + np.roll(x, 1, axis=0)) / 2])
    expected = estimator.predict_proba(ties)
    logits = answers(estimator, ties)
    assert np.abs(softmax(logits) - expected).max() <= 1e-6


def test_import_sklearn_flattens_and_projects_when_pca_stands_before_trees() -> None:
    x, y = load_wine(return_X_y=True)
    x = x.astype(np.float32)
    estimator = make_pipeline(
        StandardScaler(), PCA(4), MinMaxScaler(), DecisionTreeClassifier(max_depth=3)
    ).fit(x, y)
    same = answers(estimator, x).argmax(axis=1) == estimator.predict(x)
    assert same.mean() >= 0.99  # float32 products may fall on the other side of a threshold


def test_import_sklearn_writes_primitives_alone_when_estimator_is_a_forest() -> None:
    x, y = load_wine(return_X_y=True)
    graph = optimize(import_sklearn(RandomForestClassifier(3).fit(x, y), (13,), "forest"))
    assert [node.op for node in graph.nodes][:5] == [
        Op.GATHER,
        Op.LESS_EQUAL,
        Op.BATCH_MATMUL,
        Op.LESS_EQUAL,
        Op.BATCH_MATMUL,
    ]


def test_import_sklearn_says_the_size_when_forest_is_too_large() -> None:
    rng = np.random.default_rng(0)
    estimator = RandomForestRegressor(20, random_state=0)
    estimator.fit(rng.normal(size=(1600, 2)), rng.normal(size=1600))
    with pytest.raises(ImportModelError, match=r"20 trees of up to 1\d+ tests .* MiB.*max_depth"):
        import_sklearn(estimator, (2,), "large")


def test_import_sklearn_names_the_part_when_boosting_is_not_all_numbers() -> None:
    x, y = load_diabetes(return_X_y=True)
    own_init = GradientBoostingRegressor(init=LinearRegression(), n_estimators=2).fit(x, y)
    with pytest.raises(UnsupportedOpError, match="init of its own"):
        import_sklearn(own_init, (10,), "own")
    x[:, 1] = (x[:, 1] > 0).astype(float)
    categorical = HistGradientBoostingRegressor(max_iter=2, categorical_features=[1]).fit(x, y)
    with pytest.raises(UnsupportedOpError, match="categorical features"):
        import_sklearn(categorical, (10,), "categories")
    many = DecisionTreeRegressor().fit(x, np.stack([y, -y], axis=1))
    with pytest.raises(UnsupportedOpError, match="of several outputs"):
        import_sklearn(many, (10,), "many")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImportModelError, match="is not fitted"):
            import_sklearn(RandomForestClassifier(), (10,), "raw")


def test_emitted_forest_answers_the_same_when_it_runs_in_litert_and_onnx_runtime() -> None:
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    x, y = load_wine(return_X_y=True)
    x = x.astype(np.float32)
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(x, y)
    graph = optimize(import_sklearn(estimator, (13,), "forest"))
    tree = estimator[-1].estimators_[0].tree_
    edges = raw_thresholds(tree.feature[:1], tree.threshold[:1], estimator[:-1])
    rows = x[:20].copy()
    rows[:, tree.feature[0]] = edges[0]  # on the threshold of a root
    expected = run_float(graph, rows)

    session = onnxruntime.InferenceSession(emit_onnx(graph), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    interpreter = Interpreter(model_content=emit_tflite(graph))
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for row, wanted in zip(rows, expected, strict=True):
        assert np.abs(session.run(None, {name: row[None]})[0][0] - wanted).max() <= 1e-6
        interpreter.set_tensor(source["index"], row[None])
        interpreter.invoke()
        assert np.abs(interpreter.get_tensor(result["index"])[0] - wanted).max() <= 1e-6
    assert np.abs(softmax(expected) - estimator.predict_proba(rows)).max() <= 2e-6


def test_compile_model_keeps_trees_in_float32_when_the_recipe_is_the_default() -> None:
    data = load_dataset("sklearn:wine")
    x = data.contract.preprocess(data.x[data.train])
    estimator = RandomForestClassifier(8, max_depth=4, random_state=0).fit(x, data.y[data.train])
    target = TargetRequest(load_target("raspberry-pi-4"), formats=("tflite",))
    result = compile_model(CompileRequest("wine", estimator, data, (target,)))
    validation = data.contract.preprocess(data.x[data.validation])
    score = estimator.score(validation, data.y[data.validation])
    assert result.accuracies[0].accuracy == pytest.approx(score)
    assert result.model.graph.input.dtype is DType.FLOAT32


def test_suited_recipe_changes_nothing_when_recipe_is_chosen_or_graph_has_no_trees() -> None:
    x, y = load_wine(return_X_y=True)
    trees = import_sklearn(RandomForestClassifier(3).fit(x, y), (13,), "forest")
    chosen = Recipe(dense_scales=DenseScales.TENSOR)
    assert suited_recipe(chosen, trees) == chosen
    assert suited_recipe(DEFAULT_RECIPE, trees) == FLOAT_RECIPE
    layers = import_sklearn(LinearRegression().fit(x, y), (13,), "linear")
    assert suited_recipe(DEFAULT_RECIPE, layers) == DEFAULT_RECIPE
