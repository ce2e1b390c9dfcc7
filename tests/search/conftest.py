"""A data set that a search gets through in seconds, and devices with prices made up for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.data import Dataset, load_dataset
from edgekiln.targets import Budget, CostTable, Memory, OpCost, Runtime, Target, Tier

OPS = ("conv2d", "depthwise_conv2d", "fully_connected", "add", "mean", "pad", "reshape")


def make_target(name: str = "board", budget: Budget | None = None, without: str = "") -> Target:
    """A device that prices every operator but `without`."""
    ops = {op: OpCost(1.0, 2.0, 0.5) for op in OPS if op != without}
    table = CostTable(ops, "tflm", "int8", Tier.T1, "invented-for-tests", 0.8, 1.25)
    return Target(
        id=name,
        title=name,
        device_class="mcu",
        core="test",
        clock_hz=1,
        memory=Memory(ram=1 << 20, flash=1 << 22),
        runtime=Runtime("c"),
        formats=("tflite",),
        ops=dict.fromkeys(OPS, ("int8",)),
        costs=(table,),
        budget=budget or Budget(),
    )


@pytest.fixture(scope="session")
def bars(bars_path: Path) -> Dataset:
    """What `bars_path` holds."""
    return load_dataset(str(bars_path))


@pytest.fixture(scope="session")
def bars_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 noisy 6×6 images: a bar above, in the middle or below."""
    rng = np.random.default_rng(5)
    y = np.arange(240) % 3
    x = rng.normal(0.0, 0.6, (240, 6, 6)).astype(np.float32)
    for label in range(3):
        x[y == label, 2 * label : 2 * label + 2] += 1.0
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, x=x, y=y)
    return path


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """180 samples of 5 features around three centres."""
    rng = np.random.default_rng(6)
    y = np.arange(180) % 3
    x = rng.normal(0.0, 0.5, (180, 5)) + rng.normal(0.0, 3.0, (3, 5))[y]
    path = tmp_path_factory.mktemp("data") / "blobs.npz"
    np.savez(path, x=x, y=y)
    return load_dataset(str(path))


@pytest.fixture(scope="session")
def board() -> Target:
    """A device without limits of its own."""
    return make_target()


@pytest.fixture(scope="session")
def addless() -> Target:
    """A device that cannot price additions."""
    return make_target("addless", without="add")


@pytest.fixture(scope="session")
def target_maker() -> Callable[..., Target]:
    """`make_target`: pytest imports test modules alone, so helpers come as fixtures."""
    return make_target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for one search."""
    return tmp_path / "search"
