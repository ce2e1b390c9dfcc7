"""A workspace of good and bad files, and a way to run the real command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
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
    x = rng.normal(size=(n, 4)).astype(np.float32) + 4 * y[:, None]
    return x, y


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that commands are pointed at; each name says what is wrong with it."""
    folder = tmp_path_factory.mktemp("workspace")
    make_files(folder)
    return folder


@pytest.fixture(scope="session")
def built(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace's files, and a model, bundles, a fleet with one release and a device."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(workspace, folder, dirs_exist_ok=True)
    export_model(folder / "tiny.pt2")
    data = ("--data", "good.npz", "--format", "tflite")
    for arguments in (
        ("compile", "tiny.pt2", *data, "-o", "good.ekb"),
        ("fleet", "init", "farm"),
        ("release", "good.ekb", "--fleet", "farm", "--alias", "prod"),
        ("fleet", "enroll", "sensor", "--fleet", "farm", "--factory", "prod", "-o", "sensor"),
    ):
        ran = run_cli(arguments, folder)
        assert ran.code == 0, ran.err
    spoil_bundle(folder)
    spoil_device(folder)
    return folder


def export_model(path: Path) -> None:
    """Four features to three classes, by nearest mean: right on `good.npz`."""
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.Linear(4, 3)
    means = 4.0 * torch.arange(3)
    # The data set's own preprocessing standardizes each feature: its mean is 4, its spread 3.4.
    z = ((means - 4.0) / 3.4)[:, None].expand(3, 4)
    layer.weight.data, layer.bias.data = z.clone(), -(z * z).sum(dim=1) / 2
    torch.export.save(torch.export.export(layer.eval(), (torch.zeros(1, 4),)), path)


def spoil_bundle(folder: Path) -> None:
    from edgekiln.runtime import open_bundle
    from edgekiln.runtime.bundle import write_bundle
    from edgekiln.runtime.manifest import Gate, GateCheck

    data = bytearray((folder / "good.ekb").read_bytes())
    data[data.index(b"TFL3") + 40] ^= 1
    (folder / "tampered.ekb").write_bytes(data)
    bundle = open_bundle(folder / "good.ekb")
    members = {m.path: bundle.read(m.path) for m in bundle.manifest.members}
    check = GateCheck("accuracy", 0.9, 0.5, passed=False, message="accuracy 0.5 is below 0.9")
    manifest = msgspec.structs.replace(
        bundle.manifest, members=(), gate=Gate(passed=False, checks=(check,))
    )
    write_bundle(folder / "refused.ekb", manifest, members)


def spoil_device(folder: Path) -> None:
    for name in ("garbled", "locked"):
        shutil.copytree(folder / "sensor", folder / name)
        (folder / name / "password").unlink()
    (folder / "garbled" / "password").write_bytes(b"\xff\xfe")
    (folder / "locked" / "password").mkdir()


def make_files(folder: Path) -> None:
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
    (folder / "bad_recipe.toml").write_text('observer = "best"\n')
    (folder / "lost_recipe.toml").write_text('keep = ["conv_of_another_model"]\n')
    (folder / "recipe.toml").write_text('observer = "mse"\nsteps = ["equalize", "bias_correct"]\n')
    (folder / "recipe_project.toml").write_text('[compile]\nrecipe = "bad_recipe.toml"\n')
    (folder / "bad_profile").mkdir()
    (folder / "bad_profile" / "mine.toml").write_text('id = "mine"\nclock_hz = "fast"\n')
    (folder / "profiles.toml").write_text('profiles = ["bad_profile"]\n')
    (folder / "a_file").write_text("")
    (folder / "a_folder").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "edgekiln.toml").write_text("")
    (folder / "impossible.toml").write_text(
        '[data]\nsource = "good.npz"\n[targets.cortex-m4]\nram_bytes = 10\n'
    )
    (folder / "tight.toml").write_text(
        '[data]\nsource = "good.npz"\n[targets.raspberry-pi-4]\nlatency_ms = 0.000_1\n'
    )
    (folder / "empty.ekb").write_bytes(b"")
