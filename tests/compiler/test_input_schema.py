"""What is said of samples, what is found in them, and what is done to them before the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from edgekiln.compiler.data import Dataset, described, load_dataset
from edgekiln.compiler.errors import DataFormatError
from edgekiln.compiler.input_schema import InputSchema, kind_of


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Series of three channels whose sizes differ a thousandfold."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(90, 24, 3)) * (1.0, 30.0, 1000.0) + (0.0, 5.0, -200.0)).astype(np.float32)
    path = tmp_path / "imu.npz"
    np.savez(path, x=x, y=np.arange(90) % 3)
    return str(path)


def prepared(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The training split before and after, a row for each step of time."""
    raw = dataset.x[dataset.train]
    return raw.reshape(-1, raw.shape[-1]), dataset.contract.preprocess(raw).reshape(-1, 3)


@pytest.mark.parametrize(
    ("shape", "limits", "kind"),
    [
        ((12,), None, "features"),
        ((128, 3), None, "series"),
        ((64, 16), None, "series"),
        ((63, 16), None, "image"),
        ((8, 8), None, "image"),
        ((128, 17), None, "image"),
        ((128, 3), (0.0, 255.0), "image"),
        ((32, 32, 3), None, "image"),
    ],
)
def test_kind_follows_the_shape_when_nobody_says_it(
    shape: tuple[int, ...], limits: tuple[float, float] | None, kind: str
) -> None:
    assert kind_of(shape, limits) == kind


def test_channels_of_a_series_are_standardized_as_scikit_learn_does(source: str) -> None:
    dataset = load_dataset(source)
    assert (dataset.contract.input.name, dataset.contract.input.shape) == ("series", (24, 3))
    raw, found = prepared(dataset)
    np.testing.assert_allclose(found, StandardScaler().fit_transform(raw), atol=1e-4)


def test_series_goes_to_unit_range_as_scikit_learn_does_when_asked(source: str) -> None:
    dataset = load_dataset(source, schema=InputSchema(preprocessing="unit"))
    raw, found = prepared(dataset)
    wanted = MinMaxScaler().fit_transform(raw.reshape(-1, 1)).reshape(raw.shape)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_samples_stay_as_they_are_when_no_preprocessing_is_asked(source: str) -> None:
    dataset = load_dataset(source, schema=InputSchema(preprocessing="none"))
    raw, found = prepared(dataset)
    assert (found == raw).all()
    assert described(dataset).endswith("preprocessing: none")


def test_limits_that_are_said_count_when_they_differ_from_the_data(source: str) -> None:
    schema = InputSchema(preprocessing="unit", minimum=-5000.0, maximum=5000.0, unit="mg")
    spec = load_dataset(source, schema=schema).contract.input
    assert (spec.minimum, spec.maximum, spec.unit) == (-5000.0, 5000.0, "mg")
    _, found = prepared(load_dataset(source, schema=schema))
    assert 0.0 < found.min() < found.max() < 1.0


@pytest.mark.parametrize("factor", [(0.5,), (1.0, 0.1, 0.01)])
def test_affine_is_offset_then_factor_when_given(source: str, factor: tuple[float, ...]) -> None:
    schema = InputSchema(offset=(1.0, 2.0, 3.0), factor=factor)
    raw, found = prepared(load_dataset(source, schema=schema))
    np.testing.assert_allclose(found, (raw - np.array([1.0, 2.0, 3.0])) * factor, rtol=1e-4)


def test_series_is_an_image_when_said_so(source: str) -> None:
    contract = load_dataset(source, schema=InputSchema(kind="image", name="spectrum")).contract
    assert (contract.input.name, contract.input.shape) == ("spectrum", (24, 3, 1))


def test_hash_of_the_data_does_not_hang_on_what_is_said_of_them(source: str) -> None:
    said = InputSchema(kind="image", preprocessing="none")
    assert load_dataset(source).sha256 == load_dataset(source, schema=said).sha256


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (InputSchema(kind="features"), r"samples of shape \(24, 3\) are no features"),
        (InputSchema(minimum=1.0, maximum=1.0), "minimum 1 is not below maximum 1"),
        (InputSchema(preprocessing="affine"), "needs offset or factor"),
        (InputSchema(preprocessing="unit", factor=(2.0,)), "do not go with preprocessing 'unit'"),
        (InputSchema(offset=(1.0, 2.0), factor=(1.0, 2.0, 3.0)), "2 numbers and factor 3"),
        (InputSchema(factor=(1.0, 2.0)), "have 3 along their last axis"),
        (InputSchema(factor=(float("nan"),)), "not finite"),
    ],
)
def test_schema_is_refused_in_one_line_when_it_contradicts(
    source: str, schema: InputSchema, says: str
) -> None:
    with pytest.raises(DataFormatError, match=says) as caught:
        load_dataset(source, schema=schema)
    assert str(caught.value).startswith(f"data '{source}'")
    assert "\n" not in str(caught.value)
