"""A workspace of good and bad files, and a way to run the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


@dataclass(frozen=True)
class Ran:
    """What a user would see."""

    code: int
    out: str
    err: str


def run_cli(arguments: tuple[str, ...], cwd: Path, timeout_s: float = 120.0) -> Ran:
    done = subprocess.run(
        [sys.executable, "-m", "edgekiln.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def cli() -> Callable[..., Ran]:
    return run_cli


def _samples(rng: np.random.Generator, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n) % 3
    x = rng.normal(size=(n, 4)).astype(np.float32) + y[:, None]
    return x, y


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that commands are pointed at; each name says what is wrong with it."""
    folder = tmp_path_factory.mktemp("workspace")
    rng = np.random.default_rng(0)
    x, y = _samples(rng)
    np.savez(folder / "good.npz", x=x, y=y)
    np.savez(folder / "no_y.npz", x=x)
    np.savez(folder / "short_y.npz", x=x, y=y[:-1])
    np.savez(folder / "one_class.npz", x=x, y=np.zeros_like(y))
    spoiled = x.copy()
    spoiled[3, 2] = np.nan
    np.savez(folder / "nan.npz", x=spoiled, y=y)
    np.savez(folder / "text.npz", x=np.array(["a", "b"] * 30), y=y)
    np.savez(folder / "empty.npz", x=x[:0], y=y[:0])
    np.savez(folder / "wide.npz", x=rng.normal(size=(60, 7)).astype(np.float32), y=y)
    good = (folder / "good.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(good[: len(good) // 2])
    for name in ("noise.npz", "noise.ekb", "noise.pt2", "noise.tflite", "noise.onnx", "noise.xyz"):
        (folder / name).write_bytes(rng.bytes(512))
    (folder / "broken.toml").write_text("[data\nsource = ")
    (folder / "unknown_key.toml").write_text('[data]\nsourc = "sklearn:digits"\n')
    (folder / "wrong_type.toml").write_text('[search]\ncandidates = "many"\n')
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00\x80")
    (folder / "bad_profile").mkdir()
    (folder / "bad_profile" / "mine.toml").write_text('id = "mine"\nclock_hz = "fast"\n')
    (folder / "profiles.toml").write_text('profiles = ["bad_profile"]\n')
    (folder / "a_file").write_text("")
    (folder / "a_folder").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "edgekiln.toml").write_text("")
    (folder / "impossible.toml").write_text(
        '[data]\nsource = "sklearn:digits"\n[targets.cortex-m4]\nram_bytes = 10\n'
    )
    return folder
