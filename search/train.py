"""Training one network, on one thread, the same way every time.

The result depends on the blueprint, the data, the epochs and the seed, and on nothing else: on one
machine two runs give the same weights bit for bit. Adam with a one-cycle learning rate (Smith and
Topin, arXiv 1708.07120). No augmentation: shifting 8×8 digits by a pixel cost accuracy at every
length that a search can afford.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.files import write_atomic

from .blueprint import Blueprint
from .build import build_module, parameter_count

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgekiln.compiler.data import Dataset

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Weights = dict[str, npt.NDArray[Any]]

LARGEST_BATCH = 64
_SMALLEST_BATCH = 8
_STEPS_WANTED = 16  # an epoch
PEAK_RATE = 0.02  # of networks up to _WIDE parameters; larger ones learn slower
_WIDE = 30_000
_WARM_UP = 0.25
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class TrainingSet:
    """Preprocessed samples: (n, channels, height, width) or (n, features). Never the test split."""

    x_train: Floats
    y_train: Labels
    x_validation: Floats
    y_validation: Labels

    @classmethod
    def of(cls, dataset: Dataset) -> TrainingSet:
        """The two open splits, through the contract's preprocessing, in torch's layout."""
        x = dataset.contract.preprocess(dataset.x)
        if x.ndim == 3:
            x = x[..., None]
        if x.ndim == 4:
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        train, validation = dataset.train, dataset.validation
        return cls(x[train], dataset.y[train], x[validation], dataset.y[validation])

    def save(self, path: Path) -> None:
        """Write for the workers, atomically."""
        save_arrays(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> TrainingSet:
        """Read what `save` wrote."""
        return cls(**load_arrays(path))


@dataclass(frozen=True)
class Fitted:
    """A trained network: its state by name, and its accuracy on the validation split."""

    weights: Weights
    accuracy: float


def training_seed(search_seed: int, candidate_id: str, rung: str) -> int:
    """One seed for one (candidate, rung) of a search, whatever ran before it."""
    digest = hashlib.sha256(f"{search_seed}/{candidate_id}/{rung}".encode()).digest()
    return int.from_bytes(digest[:4])


def train(blueprint: Blueprint, data: TrainingSet, epochs: int, seed: int) -> Fitted:
    """Train from scratch for `epochs` passes over the training split."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
    # Channels-last and the fused step save a quarter of the time of networks this small.
    module = build_module(blueprint)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    _descend(module, torch.from_numpy(data.x_train), torch.from_numpy(data.y_train), epochs)
    module.eval()
    weights = {name: value.numpy().copy() for name, value in module.state_dict().items()}
    return Fitted(weights, accuracy(module, data))


def accuracy(module: nn.Module, data: TrainingSet) -> float:
    """Share of the validation split whose largest logit is the right one."""
    import torch

    with torch.inference_mode():
        parts = torch.split(torch.from_numpy(data.x_validation), 256)
        guesses = torch.cat([module(part).argmax(1) for part in parts]).numpy()
    return float((guesses == data.y_validation).mean())


def save_arrays(path: Path, arrays: Weights) -> None:
    """Write an .npz, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def load_arrays(path: Path) -> Weights:
    """Read an .npz; pickled content is refused."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def one_cycle(progress: float) -> float:
    """Share of the peak rate after a share of all steps: up in a quarter, down to nothing."""
    if progress < _WARM_UP:
        return (1 - math.cos(math.pi * progress / _WARM_UP)) / 2 + 0.04
    return (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))) / 2


def _descend(module: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    import torch
    from torch import nn

    # Small sets take small batches: an epoch of one step would teach nothing.
    batch = min(max(len(x) // _STEPS_WANTED, _SMALLEST_BATCH), LARGEST_BATCH)
    steps = max(len(x) // batch, 1)
    peak = PEAK_RATE * min(1.0, math.sqrt(_WIDE / parameter_count(module)))
    optimizer = torch.optim.Adam(module.parameters(), peak, weight_decay=WEIGHT_DECAY, fused=True)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    module.train()
    for epoch in range(epochs):
        for step, picks in enumerate(torch.randperm(len(x)).tensor_split(steps)):
            optimizer.param_groups[0]["lr"] = peak * one_cycle((epoch + step / steps) / epochs)
            optimizer.zero_grad()
            loss = loss_of(module(x[picks]), y[picks])
            loss.backward()
            optimizer.step()
