"""Distribution functions with atoms, and the bins that they give."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.errors import MemberError
from edgekiln.runtime.reference import (
    BINS,
    KNOT_LIMIT,
    Binner,
    FeatureReference,
    Reference,
    build_reference,
    describe,
)

CONTRACT = Contract(TensorSpec("x", (3,)), ("a", "b", "c"))


def _reference() -> Reference:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(200, 3)).astype(np.float32)
    raw[:, 1] = 7.0
    return build_reference(
        CONTRACT, raw, rng.random(50).astype(np.float32), np.arange(50, dtype=np.int64) % 2
    )


def _shares(feature: FeatureReference, values: np.ndarray, seed: int = 0) -> np.ndarray:
    column = values.astype(np.float32)[:, None]
    u = np.random.default_rng(seed).random(column.shape, np.float32)
    return np.bincount(Binner([feature]).bins(column, u)[:, 0], minlength=BINS) / len(values)


@pytest.mark.parametrize(
    "sample",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.lognormal(0, 2, n),
        lambda rng, n: rng.integers(0, 17, n),
        lambda rng, n: rng.integers(0, 2, n),
        lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.normal(5, 1, n)),
        lambda rng, n: np.where(rng.random(n) < 0.3, 0.0, rng.integers(0, 300, n)),
    ],
    ids=["normal", "heavy tail", "pixels", "binary", "mostly zero", "atom and many"],
)
def test_bins_fill_evenly_when_the_data_is_the_reference(sample: object) -> None:
    rng = np.random.default_rng(3)
    reference = sample(rng, 20_000)  # type: ignore[operator]
    feature = describe("f", reference)
    assert len(feature.values) <= KNOT_LIMIT
    fresh = sample(rng, 20_000)  # type: ignore[operator]
    counts = _shares(feature, fresh) * len(fresh)
    # Two samples of one size: the expected counts carry the reference's own noise.
    assert (
        stats.chisquare(counts / np.sqrt(2), np.full(BINS, counts.mean() / np.sqrt(2))).pvalue
        > 1e-3
    )


def test_bins_equal_scipys_empirical_distribution_when_values_are_few() -> None:
    rng = np.random.default_rng(1)
    sample = rng.integers(0, 20, 500).astype(np.float32)
    feature = describe("f", sample)
    ecdf = stats.ecdf(sample).cdf
    np.testing.assert_allclose(np.add(feature.below, feature.at), ecdf.probabilities)
    np.testing.assert_array_equal(feature.values, ecdf.quantiles)


def test_bins_give_the_outermost_when_values_were_never_seen() -> None:
    feature = describe("f", np.linspace(-1, 1, 1000))
    assert _shares(feature, np.full(10, -9.0))[0] == 1.0
    assert _shares(feature, np.full(10, 9.0))[BINS - 1] == 1.0
    between = describe("f", np.array([0.0, 1.0]))
    assert _shares(between, np.full(10, 0.5))[BINS // 2] == 1.0


def test_bins_are_the_same_alone_and_in_a_batch_with_other_features() -> None:
    rng = np.random.default_rng(2)
    columns = np.stack(
        [rng.normal(size=300), rng.integers(0, 5, 300), np.zeros(300), rng.random(300) * 1e-30]
    ).T.astype(np.float32)
    features = [describe(str(index), column) for index, column in enumerate(columns.T)]
    u = rng.random(columns.shape, np.float32)
    together = Binner(features).bins(columns, u)
    for index, feature in enumerate(features):
        alone = Binner([feature]).bins(columns[:, [index]], u[:, [index]])
        np.testing.assert_array_equal(together[:, [index]], alone)
    one_by_one = [Binner(features).bins(columns[[row]], u[[row]])[0] for row in range(300)]
    np.testing.assert_array_equal(together, one_by_one)


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=200),
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=20),
)
def test_bins_grow_with_the_value_whatever_the_reference(
    reference: list[float], values: list[float]
) -> None:
    feature = describe("f", np.array(reference))
    ordered = np.sort(np.array(values + reference, np.float32))[:, None]
    found = Binner([feature]).bins(ordered, np.full(ordered.shape, 0.5, np.float32))
    assert (np.diff(found[:, 0]) >= 0).all()
    assert ((found >= 0) & (found < BINS)).all()


def test_build_reference_leaves_out_constants_and_gives_every_class_a_share() -> None:
    reference = _reference()
    assert [feature.name for feature in reference.features] == ["x[0]", "x[2]", "mean", "std"]
    assert (reference.samples, reference.answers) == (200, 50)
    np.testing.assert_allclose(sum(reference.classes), 1.0)
    assert 0 < reference.classes[2] < 0.02


def test_to_bytes_gives_the_same_bytes_and_reads_back() -> None:
    assert _reference().to_bytes() == _reference().to_bytes()
    assert Reference.from_bytes(_reference().to_bytes()) == _reference()


@pytest.mark.parametrize(
    "changed",
    [
        {"values": (2.0, 1.0), "below": (0.0, 0.5), "at": (0.5, 0.5)},
        {"values": (1.0,), "below": (0.0, 0.5), "at": (0.5, 0.5)},
        {"values": (), "below": (), "at": ()},
        {"values": (1.0, float("nan")), "below": (0.0, 0.5), "at": (0.5, 0.5)},
        {"values": (1.0, 2.0), "below": (0.0, 0.2), "at": (0.5, 0.5)},
        {"values": (1.0, 2.0), "below": (0.0, 0.5), "at": (0.5, 0.9)},
    ],
)
def test_from_bytes_names_the_feature_when_it_is_no_distribution(
    changed: dict[str, tuple[float, ...]],
) -> None:
    reference = _reference()
    broken = msgspec.structs.replace(reference.confidence, **changed)
    data = msgspec.structs.replace(reference, confidence=broken).to_bytes()
    with pytest.raises(MemberError, match=r"m\.ekb: reference\.bin .* 'confidence'"):
        Reference.from_bytes(data, "m.ekb")


def test_from_bytes_refuses_when_nothing_is_behind_it() -> None:
    reference = _reference()
    for broken in ({"samples": 0}, {"classes": ()}, {"classes": (1.0, 0.0)}):
        data = msgspec.structs.replace(reference, **broken).to_bytes()
        with pytest.raises(MemberError, match="no samples or no class shares"):
            Reference.from_bytes(data)
    with pytest.raises(MemberError, match="cannot be read"):
        Reference.from_bytes(b"\xc1")
