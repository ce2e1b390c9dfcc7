"""Training and the baseline: repeatable, and blind to the test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgekiln.compiler.data import Dataset
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.workload import workload
from edgekiln.search.baseline import BASELINE, fit_baseline
from edgekiln.search.build import build_module
from edgekiln.search.lower import lower
from edgekiln.search.mlp_space import MlpSpace
from edgekiln.search.perform import export_module
from edgekiln.search.space import Block, BlockKind, ConvCandidate
from edgekiln.search.train import TrainingSet, accuracy, train, training_seed

SMALL = ConvCandidate(6, 3, 1, (Block(BlockKind.SEPARABLE, 8, 3, 2),)).blueprint((6, 6, 1), 3)


def test_train_repeats_bit_for_bit_when_the_seed_repeats(bars: Dataset) -> None:
    data = TrainingSet.of(bars)
    first, again, other = (train(SMALL, data, 2, seed) for seed in (1, 1, 2))
    assert first.accuracy == again.accuracy
    assert all(np.array_equal(first.weights[k], again.weights[k]) for k in first.weights)
    assert not all(np.array_equal(first.weights[k], other.weights[k]) for k in first.weights)


def test_train_learns_and_never_opens_the_test_split(bars: Dataset) -> None:
    data = TrainingSet.of(bars)
    fitted = train(SMALL, data, 12, 0)
    assert fitted.accuracy > 0.9
    assert bars.test_openings == 0
    assert len(data.x_train) + len(data.x_validation) == len(bars.x)


def test_training_set_returns_when_saved(bars: Dataset, tmp_path: Path) -> None:
    data = TrainingSet.of(bars)
    data.save(tmp_path / "training.npz")
    again = TrainingSet.load(tmp_path / "training.npz")
    assert data.x_train.shape[1:] == (1, 6, 6)
    assert all(np.array_equal(vars(data)[name], vars(again)[name]) for name in vars(data))


def test_training_seed_differs_by_candidate_rung_and_search() -> None:
    seeds = {
        training_seed(search, name, rung)
        for search in (0, 1)
        for name in ("a", "b")
        for rung in ("short", "long")
    }
    assert len(seeds) == 8


def test_mlp_learns_flat_inputs(blobs: Dataset) -> None:
    space = MlpSpace((5,), 3)
    fitted = train(space.blueprint(space.smallest()), TrainingSet.of(blobs), 12, 0)
    assert fitted.accuracy > 0.9


def test_export_gives_what_the_module_gives(bars: Dataset, tmp_path: Path) -> None:
    data = TrainingSet.of(bars)
    fitted = train(SMALL, data, 2, 0)
    export_module(SMALL, fitted.weights, tmp_path / "small.pt2")
    module = build_module(SMALL)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in fitted.weights.items()})
    assert accuracy(module.eval(), data) == fitted.accuracy
    graph = import_model(tmp_path / "small.pt2")
    nhwc = np.ascontiguousarray(data.x_validation.transpose(0, 2, 3, 1))
    with torch.inference_mode():
        expected = module(torch.from_numpy(data.x_validation)).numpy()
    assert np.allclose(run_float(graph, nhwc), expected, atol=1e-4)


def test_baseline_as_torch_equals_its_graph_when_there_are_channels(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(90, 2, 4, 5)).astype(np.float32), np.arange(90) % 3
    x[y == 1, 0, 2, 3] += 3
    x[y == 2, 1, 0, 1] += 3
    data = TrainingSet(x[:60], y[:60], x[60:], y[60:])
    baseline = fit_baseline(data, (4, 5, 2))
    blueprint = BASELINE.blueprint((4, 5, 2), 3)
    assert workload(baseline.graph) == workload(lower(blueprint, baseline.graph.name))
    module = build_module(blueprint)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in baseline.weights.items()})
    assert accuracy(module, data) == baseline.accuracy > 0.6
    export_module(blueprint, baseline.weights, tmp_path / "baseline.pt2")
    nhwc = np.ascontiguousarray(data.x_validation.transpose(0, 2, 3, 1))
    logits = run_float(import_model(tmp_path / "baseline.pt2"), nhwc)
    assert float((logits.argmax(1) == data.y_validation).mean()) == baseline.accuracy
