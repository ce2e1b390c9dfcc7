"""Calibration files: what may set the ranges, and one line for everything that may not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.calibration_file import load_calibration
from edgekiln.compiler.errors import CalibrationError
from edgekiln.runtime.contract import Contract, TensorSpec

IMAGES = Contract(TensorSpec("image", (4, 3, 1)), ("cat", "dog"))
X = np.random.default_rng(0).normal(size=(6, 4, 3, 1)).astype(np.float32)


def saved(folder: Path, arrays: Mapping[str, Any]) -> Path:
    path = folder / "own.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "labels"),
    [
        ({"x": X}, None),
        ({"x": X[..., 0]}, None),  # a channel axis of one may be left out
        ({"x": X.astype(np.float64), "y": np.array([0, 1] * 3)}, [0, 1] * 3),
        ({"x": X, "y": np.array(["dog", "cat"] * 3)}, [1, 0] * 3),
    ],
)
def test_samples_are_taken_when_they_fit_the_contract(
    tmp_path: Path, arrays: dict[str, Any], labels: list[int] | None
) -> None:
    found = load_calibration(saved(tmp_path, arrays), IMAGES)
    np.testing.assert_array_equal(found.x, X)
    assert found.x.dtype == np.float32
    assert labels == (None if found.y is None else found.y.tolist())


def test_digest_differs_when_samples_or_labels_differ(tmp_path: Path) -> None:
    arrays = [{"x": X}, {"x": X[::-1]}, {"x": X, "y": np.zeros(6, int)}]
    digests = [load_calibration(saved(tmp_path, each), IMAGES).sha256 for each in arrays]
    assert len(set(digests)) == 3
    assert digests[0] == load_calibration(saved(tmp_path, arrays[0]), IMAGES).sha256


BAD = {
    "other shape": ({"x": X[:, :2]}, r"float32 of shape \(6, 2, 3, 1\); it must be numbers"),
    "no samples": ({"x": X[:0]}, "x has no samples"),
    "text": ({"x": np.array(["a"])}, "it must be numbers"),
    "scalar": ({"x": np.float32(1)}, "it must be numbers"),
    "other arrays": ({"data": X}, "has the arrays data; it must have x"),
    "not finite": ({"x": np.where(X > 1, np.nan, X)}, "samples hold a value that is not finite"),
    "beyond float32": ({"x": np.full((1, 4, 3, 1), 1e300)}, "1 of 1 samples hold"),
    "short labels": ({"x": X, "y": np.zeros(5, int)}, r"it is int64 of shape \(5,\)"),
    "unknown index": ({"x": X, "y": np.full(6, 2)}, "none of the 2"),
    "unknown name": ({"x": X, "y": np.array(["cow"] * 6)}, "none of the 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_line_is_said_when_the_samples_do_not_fit(tmp_path: Path, name: str) -> None:
    arrays, text = BAD[name]
    with pytest.raises(CalibrationError, match=text) as caught:
        load_calibration(saved(tmp_path, arrays), IMAGES)
    assert "\n" not in str(caught.value)
    assert "own.npz" in str(caught.value)


def test_one_line_is_said_when_the_file_is_none(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"calibration '.*gone\.npz': no such file"):
        load_calibration(tmp_path / "gone.npz", IMAGES)
    whole = saved(tmp_path, {"x": X}).read_bytes()
    for data in (whole[: len(whole) // 2], b"junk", b""):
        (tmp_path / "own.npz").write_bytes(data)
        with pytest.raises(CalibrationError, match=r"calibration .* is no sound \.npz file"):
            load_calibration(tmp_path / "own.npz", IMAGES)
