"""Features and their names."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.features import extract_features, feature_names


def _contract(*shape: int) -> Contract:
    return Contract(TensorSpec("x", shape), ("a", "b"))


@pytest.mark.parametrize(
    ("shape", "first", "last", "count"),
    [
        ((1,), "x[0]", "x[0]", 1),
        ((4,), "x[0]", "std", 6),
        ((8, 8, 1), "x[0,0]", "std", 66),
        ((3, 3, 2), "x[0,0,0]", "std", 20),
        ((2, 5), "x[0,0]", "std", 12),
        ((200,), "mean", "max", 4),
        ((32, 32, 1), "mean", "max", 4),
        ((32, 32, 3), "mean[0]", "max[2]", 12),
        ((128, 6), "mean[0]", "max[5]", 24),
        ((4, 4, 64), "mean", "max", 4),
    ],
)
def test_feature_names_stand_for_the_columns_when_shapes_differ(
    shape: tuple[int, ...], first: str, last: str, count: int
) -> None:
    contract = _contract(*shape)
    names = feature_names(contract)
    found = extract_features(contract, np.ones((3, *shape), np.float32))
    assert (names[0], names[-1], len(names)) == (first, last, count)
    assert len(set(names)) == count
    assert found.shape == (3, count)
    assert found.dtype == np.float32


def test_extract_features_finds_the_named_element() -> None:
    contract = _contract(8, 8, 1)
    raw = np.arange(2 * 64, dtype=np.float32).reshape(2, 8, 8, 1)
    column = feature_names(contract).index("x[3,4]")
    np.testing.assert_array_equal(extract_features(contract, raw)[:, column], raw[:, 3, 4, 0])


@pytest.mark.parametrize("shape", [(8, 8, 1), (30, 30, 3)])
def test_extract_features_agrees_with_numpy_and_with_itself_sample_by_sample(
    shape: tuple[int, ...],
) -> None:
    contract = _contract(*shape)
    raw = np.random.default_rng(0).normal(3, 2, (20, *shape)).astype(np.float32)
    found = extract_features(contract, raw)
    alone = np.concatenate([extract_features(contract, sample[None]) for sample in raw])
    np.testing.assert_array_equal(found, alone)
    axes = tuple(range(1, 4 if shape[-1] == 1 else 3))
    std = raw.astype(np.float64).std(axes).reshape(20, -1).astype(np.float32)
    columns = [name.startswith("std") for name in feature_names(contract)]
    np.testing.assert_allclose(found[:, columns], std, rtol=1e-6)
