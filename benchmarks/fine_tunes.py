"""Models and what becomes of them: a network for each data set, fine-tuned on drifted data.

`digits` are scikit-learn's, drifted by noise and less contrast; `imu` are strokes drawn in the air
with a motion sensor (`imu` of the data folder), drifted by holding the sensor turned by 25 degrees.
Networks are trained here; both data sets are split as `load_dataset` splits them.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.data import Dataset, load_dataset
from edgekiln.compiler.input_schema import InputSchema

DATA = Path(os.environ.get("EDGEKILN_DATA", Path(__file__).parents[2] / "shared" / "data"))
POINTS = 64  # of a stroke, evenly spaced in time
TURN = np.deg2rad(25.0)
BATCH = 32
TRAINING_RATE = 2e-3
AS_IT_IS = InputSchema(preprocessing="none")

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Update:
    """How a model is fine-tuned: learning rate, epochs, and which layers (their last, or all)."""

    name: str
    rate: float
    epochs: int
    head_only: bool = False


UPDATES = (
    Update("light", 1e-4, 10),
    Update("heavy", 1e-3, 10),
    Update("head", 1e-3, 10, head_only=True),
)


@dataclass(frozen=True)
class Task:
    """Data before and after the drift, and the network for them."""

    name: str
    before: Dataset
    after: Dataset
    network: Any


def tasks(folder: Path, seed: int) -> list[Task]:
    """Every task whose data are here; files of samples are written to `folder`."""
    found = [_digits(folder, seed)]
    if (DATA / "imu").is_dir():
        found.append(_imu(folder, seed))
    return found


def fit(
    network: Any, data: Dataset, rate: float, epochs: int, seed: int, head_only: bool = False
) -> None:
    """Train in place on the training rows; with `head_only` nothing but the last layer moves."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    last = list(network.children())[-1]
    moving = list((last if head_only else network).parameters())
    optimizer = torch.optim.Adam(moving, rate)
    x, y = channels_first(data.x[data.train]), torch.from_numpy(data.y[data.train].copy())
    # Statistics of batch normalization belong to the layers that stay.
    network.train(not head_only)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    network.eval()


def export(network: Any, data: Dataset, path: Path) -> Path:
    """The network as a `.pt2` file."""
    import torch

    sample = channels_first(data.x[:2])
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(network.eval(), (sample,), dynamic_shapes=(batch,))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())
    return path


def channels_first(x: Floats) -> Any:
    """Samples (n, height, width, channels) as torch takes them."""
    import torch

    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


def _digits(folder: Path, seed: int) -> Task:
    import torch
    from sklearn.datasets import load_digits

    nn = torch.nn
    torch.manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    images = (x / 16.0).astype(np.float32).reshape(-1, 8, 8, 1)
    rng = np.random.default_rng(seed)
    dim = 0.7 * images + 0.15 * rng.normal(size=images.shape).astype(np.float32) + 0.1
    network = nn.Sequential(
        *_conv(1, 32, 3),
        *_conv(32, 64, 3, stride=2),
        *_conv(64, 64, 3),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    return Task(
        "digits",
        _dataset(folder / "digits.npz", images, y, seed),
        _dataset(folder / "digits-dim.npz", np.clip(dim, 0.0, 1.5), y, seed),
        network,
    )


def _imu(folder: Path, seed: int) -> Task:
    import torch

    nn = torch.nn
    torch.manual_seed(seed)
    x, y = _strokes()
    turn = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]], dtype=np.float32)
    blocks: list[Any] = [*_conv(2, 96, (1, 9), stride=(1, 2))]
    for _ in range(4):
        blocks += [*_conv(96, 96, (1, 5), groups=96), *_conv(96, 96, 1)]
    network = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))
    return Task(
        "imu",
        _dataset(folder / "imu.npz", x, y, seed),
        _dataset(folder / "imu-turned.npz", (x @ turn).astype(np.float32), y, seed),
        network,
    )


def _strokes() -> tuple[Floats, Ints]:
    """Strokes (n, 1, POINTS, 2) in the sensor's units, and the digit that each draws."""
    x, y = [], []
    at = np.linspace(0.0, 1.0, POINTS)
    for digit in range(10):
        found = json.loads((DATA / "imu" / f"petewarden_{digit}.json").read_text())
        for stroke in found["strokes"]:
            points = np.array([(p["x"], p["y"]) for p in stroke["strokePoints"]])
            time = np.linspace(0.0, 1.0, len(points))
            x.append(np.stack([np.interp(at, time, points[:, axis]) for axis in (0, 1)], axis=1))
            y.append(digit)
    return np.array(x, np.float32)[:, None], np.array(y, np.int64)


def _dataset(path: Path, x: Floats, y: Ints, seed: int) -> Dataset:
    np.savez(path, x=x.astype(np.float32), y=y)
    return load_dataset(str(path), seed, AS_IT_IS)


def _conv(
    inputs: int, outputs: int, kernel: Any, stride: Any = 1, groups: int = 1
) -> Sequence[Any]:
    import torch

    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = tuple(extent // 2 for extent in kernel)
    return (
        torch.nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        torch.nn.BatchNorm2d(outputs),
        torch.nn.ReLU(),
    )
