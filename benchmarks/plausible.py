"""Inputs that look like a sensor's: smooth fields with edges and some noise, in a model's range.

Noise alone saturates layers that real data never saturates, and smooth inputs alone leave most
codes unused: byte equality is counted on both.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.graph import Array, Graph

MODELS = ("ad_fc", "ic_resnet8", "kws_dscnn", "vww_mbv1")
_COARSE = 5  # points of a smooth field along an axis


def models_folder() -> Path | None:
    """The folder of MLPerf Tiny models (`EDGEKILN_DATA`), or None."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EDGEKILN_DATA", default)) / "mlperf_tiny"
    return folder if folder.is_dir() else None


def random_codes(graph: Graph, count: int, rng: np.random.Generator) -> Array:
    """Noise over all of int8: (count, …)."""
    return rng.integers(-128, 128, (count, *graph.input.shape[1:])).astype(np.int8)


def plausible_codes(graph: Graph, count: int, rng: np.random.Generator) -> Array:
    """Plausible inputs of an int8 graph as codes: (count, …)."""
    fields = plausible(graph.input.shape[1:], -128.0, 127.0, count, rng)
    return np.rint(fields).astype(np.int8)


def plausible(
    shape: tuple[int, ...], low: float, high: float, count: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Samples (count, *shape) between `low` and `high`; the last axis of images is channels."""
    axes = shape[:-1] if len(shape) > 1 else shape
    channels = shape[-1] if len(shape) > 1 else 1
    samples = np.stack([_sample(axes, channels, rng) for _ in range(count)])
    scaled = low + (high - low) * np.clip(samples, 0.0, 1.0)
    return scaled.reshape(count, *shape).astype(np.float32)


def _sample(
    axes: tuple[int, ...], channels: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """One sample (*axes, channels) around the middle of 0 to 1; channels look alike."""
    shared = _smooth(axes, rng)
    own = [0.7 * shared + 0.3 * _smooth(axes, rng) for _ in range(channels)]
    field = np.stack(own, axis=-1)
    field += rng.normal(0, 0.03, field.shape)
    spread = float(np.ptp(field)) or 1.0
    contrast, middle = rng.uniform(0.4, 1.0), rng.uniform(0.3, 0.7)
    return (field - field.min() - spread / 2) * contrast / spread + middle


def _smooth(axes: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A coarse random field, drawn out linearly, with one edge across it."""
    field = rng.normal(size=tuple(min(_COARSE, size) for size in axes))
    for axis, size in enumerate(axes):
        known = np.linspace(0.0, 1.0, field.shape[axis])
        wanted = np.linspace(0.0, 1.0, size)
        field = np.apply_along_axis(partial(np.interp, wanted, known), axis, field)
    edge = np.arange(axes[0]) > rng.uniform(0, axes[0])
    return field + rng.normal() * edge.reshape(-1, *(1 for _ in axes[1:]))
