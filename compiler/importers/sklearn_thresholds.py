"""Thresholds of trees as float32 numbers of the raw features, exact for every float32 sample.

scikit-learn compares scaled float32 features with float64 thresholds. Scalers keep the order of
numbers, so for each test there is a largest float32 that still goes left: it is searched by
bisection through the fitted scalers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Array

_LARGEST = float(np.finfo(np.float32).max)
_AT_ONCE = 1 << 22  # numbers in one batch of samples for the scalers


def raw_thresholds(feature: Array, threshold: Array, scalers: Sequence[Any]) -> Array:
    """float32 t with x ≤ t exactly where the scaled x ≤ `threshold` (float64), for finite x."""
    if not scalers:
        return round_down(threshold)
    size = max(1, _AT_ONCE // int(scalers[0].n_features_in_))
    parts = [
        _search(feature[start : start + size], threshold[start : start + size], scalers)
        for start in range(0, len(feature), size)
    ]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def round_down(threshold: Array) -> Array:
    """The largest finite float32 that is not above each threshold."""
    clipped = np.clip(threshold, -_LARGEST, _LARGEST)
    nearest = clipped.astype(np.float32)
    above = nearest.astype(np.float64) > clipped
    nearest[above] = np.nextafter(nearest[above], np.float32(-np.inf))
    return nearest


def _search(feature: Array, threshold: Array, scalers: Sequence[Any]) -> Array:
    def goes_left(values: Array) -> Array:
        return _scaled(values, feature, scalers).astype(np.float64) <= threshold

    return largest_where(goes_left, len(feature))


def largest_where(holds: Callable[[Array], Array], count: int) -> Array:
    """The largest finite float32 of each of `count` tests that hold up to some number.

    The smallest finite number where a test never holds.
    """
    low = np.full(count, _key(np.float32(-_LARGEST)), np.int64)
    high = np.full(count, _key(np.float32(_LARGEST)), np.int64)
    while np.any(low < high):
        middle = (low + high + 1) >> 1
        left = holds(_number(middle))
        low, high = np.where(left, middle, low), np.where(left, high, middle - 1)
    return _number(low)


def _scaled(values: Array, feature: Array, scalers: Sequence[Any]) -> Array:
    samples: Array = np.zeros((len(values), int(scalers[0].n_features_in_)), np.float32)
    rows = np.arange(len(values))
    samples[rows, feature] = values
    with np.errstate(over="ignore", invalid="ignore"):
        for scaler in scalers:
            samples = np.clip(scaler.transform(samples), -_LARGEST, _LARGEST)
    scaled: Array = samples[rows, feature].astype(np.float32)
    return scaled


def _key(number: np.float32) -> int:
    """An integer for each float32, in the same order."""
    bits = int(np.float32(number).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _number(keys: Array) -> Array:
    """What `_key` came from."""
    magnitude = np.abs(keys).astype(np.uint32).view(np.float32)
    return np.where(keys < 0, -magnitude, magnitude).astype(np.float32)
