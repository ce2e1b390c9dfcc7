"""Captured samples on their way out of the fleet."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from edgekiln.fleet.capture_file import capture_row, sample_of, write_captures
from edgekiln.fleet.captures import Captured
from edgekiln.runtime.protocol import Capture, CaptureReason


def captured(array: np.ndarray, device: str = "a", confidence: float | None = 0.5) -> Captured:
    capture = Capture(
        boot_id="boot",
        seq=1,
        at_s=90.0,
        bundle_id="b",
        reason=CaptureReason.RANDOM,
        dtype=array.dtype.name,
        shape=array.shape,
        sample=array.astype(array.dtype.newbyteorder("<")).tobytes(),
        ttl_s=1.0,
        label="yes",
        confidence=confidence,
    )
    return Captured(device, 100.0, capture)


@pytest.mark.parametrize("dtype", ["float32", "int16", "bool", "float64"])
def test_sample_is_the_array_that_was_sent(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    found = sample_of(captured(array).capture)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_commonest_shape_is_written_for_its_owner_only_and_others_are_counted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "captures.npz"
    samples = [captured(np.full(3, at, np.float32), f"d{at}") for at in range(4)]
    odd = captured(np.zeros(7), confidence=None)
    assert write_captures(path, [samples[0], odd, *samples[1:]]) == 1
    with np.load(path) as saved:
        assert saved["x"].tolist() == [[at] * 3 for at in range(4)]
        assert saved["device"].tolist() == ["d0", "d1", "d2", "d3"]
        assert saved["answer"].tolist() == ["yes"] * 4
        assert saved["confidence"].tolist() == [0.5] * 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert capture_row(odd).shape == (7,)


def test_file_is_empty_when_nothing_was_captured(tmp_path: Path) -> None:
    path = tmp_path / "captures.npz"
    assert write_captures(path, []) == 0
    with np.load(path) as saved:
        assert len(saved["x"]) == 0
