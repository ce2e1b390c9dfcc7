"""Samples from a file: seeded order, every sample once a pass, replaced while running."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekiln.runtime.errors import SourceError
from edgekiln.runtime.source import NpzSource

X = np.arange(60, dtype=np.float32).reshape(20, 3)


def write(path: Path, **arrays: object) -> Path:
    temporary = path.with_suffix(".new.npz")
    np.savez(temporary, **arrays)
    return temporary.replace(path)


def take(source: NpzSource, count: int) -> list[float]:
    return [float(source.next()[0]) for _ in range(count)]


def test_every_sample_comes_once_a_pass_in_another_order(tmp_path: Path) -> None:
    source = NpzSource(write(tmp_path / "s.npz", x=X), rate_hz=50.0, seed=1)
    assert source.period_s == pytest.approx(0.02)
    first, second = take(source, 20), take(source, 20)
    assert sorted(first) == sorted(second) == sorted(X[:, 0].tolist())
    assert first != second


def test_order_depends_on_nothing_but_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "s.npz", x=X)
    assert take(NpzSource(path, 1.0, 7), 50) == take(NpzSource(path, 1.0, 7), 50)
    assert take(NpzSource(path, 1.0, 7), 50) != take(NpzSource(path, 1.0, 8), 50)


def test_replaced_file_is_read_again(tmp_path: Path) -> None:
    source = NpzSource(write(tmp_path / "s.npz", x=X), 1.0)
    take(source, 5)
    write(tmp_path / "s.npz", x=X + 1000)
    assert min(take(source, 40)[NpzSource.CHECK_EVERY :]) >= 1000


@pytest.mark.parametrize("harm", ["remove", "damage", "empty"])
def test_samples_in_hand_stay_when_the_replacement_is_unusable(tmp_path: Path, harm: str) -> None:
    path = write(tmp_path / "s.npz", x=X)
    source = NpzSource(path, 1.0)
    if harm == "remove":
        path.unlink()
    elif harm == "damage":
        path.write_bytes(path.read_bytes()[:100])
    else:
        write(path, x=X[:0])
    assert len(set(take(source, 60))) == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no .npz"),
        (b"rubbish", "no .npz"),
        (b"PK\x03\x04rubbish", "no .npz"),
        ({"y": X}, "no .npz with an array 'x'"),
        ({"x": X[:0]}, "not samples"),
        ({"x": X[:, 0]}, "not samples"),
        ({"x": np.array([["a", "b"]])}, "not samples"),
        ({"x": np.array([[object()]])}, "no .npz"),
    ],
)
def test_source_refuses_in_one_line_when_the_file_is_unusable(
    tmp_path: Path, content: bytes | dict[str, np.ndarray], message: str
) -> None:
    path = tmp_path / "s.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, **content)
    with pytest.raises(SourceError, match=message) as caught:
        NpzSource(path, 1.0)
    assert "\n" not in str(caught.value)


def test_source_refuses_when_the_file_is_missing_or_a_bare_array(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        NpzSource(tmp_path / "none.npz", 1.0)
    np.save(tmp_path / "bare.npy", X)
    with pytest.raises(SourceError, match=r"no \.npz"):
        NpzSource(tmp_path / "bare.npy", 1.0)


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan")])
def test_source_refuses_when_the_rate_is_not_above_zero(tmp_path: Path, rate_hz: float) -> None:
    with pytest.raises(SourceError, match="above 0"):
        NpzSource(write(tmp_path / "s.npz", x=X), rate_hz)
