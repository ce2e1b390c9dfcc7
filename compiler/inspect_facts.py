"""What inspection finds out, whatever the format: records that readers fill and pages show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

HISTOGRAM_BINS = 32
_MOST_COUNTED = 1 << 20  # of larger weights every n-th element is counted


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a layer's weights spread: counts of equal bins from `low` to `high`.

    `unit` is `codes` where the file holds integers, else `values`.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    unit: str


@dataclass(frozen=True, slots=True)
class LayerDescription:
    """One operator: `shape` and `dtype` are its output's, `quantization` is empty for floats.

    `inputs` names the activations that it reads, `output` the one that it writes; `weights` is the
    quantization of its weights as text, `histogram` their spread.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    macs: int
    weight_bytes: int
    quantization: str
    inputs: tuple[str, ...] = ()
    output: str = ""
    weights: str = ""
    histogram: Histogram | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """`headline` is for people, one fact a line; the rest is the same as data.

    `ram_bytes` is the planned arena of activations and all variables, where the file can be
    planned.
    """

    path: str
    kind: str  # ekb | tflite | onnx | pt2 | npz
    headline: tuple[str, ...]
    layers: tuple[LayerDescription, ...]
    ram_bytes: int | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants that the layers read."""
        return sum(layer.weight_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a format's reader finds: tensors as text, layers in order, and remarks."""

    input: str
    output: str
    layers: tuple[LayerDescription, ...]
    remarks: tuple[str, ...] = ()
    ram_bytes: int | None = None


def model_lines(facts: ModelFacts) -> tuple[str, ...]:
    """The headline of a model."""
    macs = sum(layer.macs for layer in facts.layers)
    weight_bytes = sum(layer.weight_bytes for layer in facts.layers)
    ram = f", {facts.ram_bytes:,} bytes of RAM at the peak" if facts.ram_bytes is not None else ""
    return (
        f"input {facts.input}",
        f"output {facts.output}",
        f"{len(facts.layers)} layers, {macs:,} MACs, {weight_bytes:,} bytes of weights{ram}",
        *facts.remarks,
    )


def quantization_text(scales: Iterable[float], zero_points: Iterable[int]) -> str:
    """One scale in full, several as their number and range."""
    scale, zero = tuple(scales), tuple(zero_points)
    if not scale:
        return ""
    if len(scale) == 1:
        return f"scale {scale[0]:.6g}, zero point {zero[0] if zero else 0}"
    return f"{len(scale)} scales {min(scale):.3g} to {max(scale):.3g}"


def tensor_text(name: str, shape: Iterable[int | str], dtype: str, quantization: str) -> str:
    """A tensor in one line."""
    dims = "×".join(str(size) for size in shape)
    return f"{name} {dims} {dtype}" + (f", {quantization}" if quantization else "")


def histogram(data: npt.NDArray[Any] | None) -> Histogram | None:
    """Of a constant's elements; None where there are none to count, or they are no numbers."""
    if data is None or data.dtype.kind not in "fiu" or data.size < 2:
        return None
    step = -(-data.size // _MOST_COUNTED)
    values = data.reshape(-1)[::step].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low) or high == low:
        return None
    counts = np.histogram(values, HISTOGRAM_BINS, (low, high))[0]
    unit = "values" if data.dtype.kind == "f" else "codes"
    return Histogram(low, high, tuple(counts.tolist()), unit)
