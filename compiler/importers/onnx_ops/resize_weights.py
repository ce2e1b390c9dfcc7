"""Along one axis a resize is a matrix: what each output element takes of each input element.

Definitions: the ONNX operator specification, Resize.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...graph import Array
from ..layout import NoWordError

_MOST_WEIGHTS = 1 << 24


@dataclass(frozen=True, slots=True)
class Scheme:
    """mode, coordinate transformation, rounding of nearest, and the cubic's constants."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def weights(
    before: int, after: int, scale: float, scheme: Scheme, places: Array | None = None
) -> Array:
    """(after, before) float64; `places` says where each output element lies on the input's axis."""
    if before * after > _MOST_WEIGHTS:
        raise NoWordError(f"a resize of {before} to {after}")
    if places is None:
        places = _places(before, after, scale, scheme.coordinates)
    if scheme.mode == "nearest":
        return _one_each(_rounded(places, scheme.rounding), before)
    shrink = min(scale, 1.0) if scheme.antialias else 1.0
    kernels = {
        "linear": (1.0, _triangle),
        "cubic": (2.0, lambda distance: _cubic(distance, scheme.cubic)),
    }
    if scheme.mode not in kernels:
        raise NoWordError(f"a resize of mode '{scheme.mode}'")
    width, kernel = kernels[scheme.mode]
    return _kernel_weights(
        places, before, width / shrink, lambda distance: kernel(distance * shrink), scheme
    )


def _places(before: int, after: int, scale: float, mode: str) -> Array:
    line = np.arange(after, dtype=np.float64)
    if mode == "asymmetric":
        return line / scale
    if mode == "half_pixel":
        return (line + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (line + 0.5) / scale - 0.5 if after > 1 else np.zeros(1)
    if mode == "align_corners":
        length = scale * before
        return line * ((before - 1) / (length - 1)) if length != 1 else np.zeros(after)
    if mode == "half_pixel_symmetric":
        shift = before / 2 * (1 - after / (scale * before))
        return shift + (line + 0.5) / scale - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (line + 0.5) / scale
    raise NoWordError(f"a resize of coordinates '{mode}'")


def _rounded(places: Array, mode: str) -> Array:
    if mode == "floor":
        return np.floor(places)
    if mode == "ceil":
        return np.ceil(places)
    if mode == "round_prefer_floor":
        return np.ceil(places - 0.5)
    if mode == "round_prefer_ceil":
        return np.floor(places + 0.5)
    raise NoWordError(f"a resize of rounding '{mode}'")


def _one_each(rows: Array, before: int) -> Array:
    chosen = np.clip(rows, 0, before - 1).astype(np.int64)
    return np.eye(before)[chosen]


def _kernel_weights(
    places: Array, before: int, width: float, kernel: Callable[[Array], Array], scheme: Scheme
) -> Array:
    """Every input element's share by its distance; those beyond the ends are the ends again."""
    reach = math.ceil(width)
    if reach * len(places) > _MOST_WEIGHTS:
        raise NoWordError(f"a resize of {before} to {len(places)}")
    taps = np.floor(places)[:, None] + np.arange(-reach, reach + 1)
    shares = kernel(taps - places[:, None])
    if scheme.exclude_outside:
        shares = np.where((taps < 0) | (taps >= before), 0.0, shares)
    shares = shares / shares.sum(axis=1, keepdims=True)
    matrix = np.zeros((len(places), before))
    rows = np.broadcast_to(np.arange(len(places))[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, before - 1).astype(np.int64)), shares)
    return matrix


def _triangle(distance: Array) -> Array:
    return np.maximum(1.0 - np.abs(distance), 0.0)


def _cubic(distance: Array, a: float) -> Array:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
