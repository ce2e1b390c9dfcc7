"""Features: the few numbers of a raw sample whose distribution is watched for drift.

Up to 128 scalars a sample, every scalar is a feature, named for its index (`image[3,4]`), beside
the sample's `mean` and `std`. Larger samples are summed up: mean, std, min and max per channel.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from .contract import Contract, FloatArray

ELEMENT_LIMIT = 128
CHANNEL_LIMIT = 16  # beyond it, a sample is summed up as one channel
Doubles = npt.NDArray[np.float64]

_CACHED = 1 << 14  # numbers that are worked on at a time
_SUMMARIES = ("mean", "std", "min", "max")


def feature_names(contract: Contract) -> tuple[str, ...]:
    """Names in the order of `extract_features`'s columns; unique."""
    spec = contract.input
    if spec.elements > ELEMENT_LIMIT:
        channels = _channels(contract)
        suffixes = [""] if channels == 1 else [f"[{channel}]" for channel in range(channels)]
        return tuple(f"{name}{suffix}" for name in _SUMMARIES for suffix in suffixes)
    elements = tuple(f"{spec.name}{_index(index)}" for index in _indices(spec.shape))
    return elements if spec.elements == 1 else (*elements, "mean", "std")


def extract_features(contract: Contract, raw: FloatArray) -> FloatArray:
    """Raw samples (n, *input.shape) to features (n, len(feature_names)), float32.

    Means are taken in float64, so that a sample gives the same features alone and in a batch.
    """
    count = len(raw)
    if contract.input.elements > ELEMENT_LIMIT:
        channels = _channels(contract)
        # Every channel of every sample as a row that lies together.
        rows = raw.reshape(count, -1, channels).transpose(0, 2, 1)
        values = rows.reshape(count * channels, contract.input.elements // channels)
        mean, std = _moments(values)
        parts = [mean, std, values.min(axis=1), values.max(axis=1)]
        return np.concatenate(
            [part.reshape(count, channels) for part in parts],
            axis=1,
            dtype=np.float32,
            casting="same_kind",
        )
    flat = raw.reshape(count, contract.input.elements).astype(np.float32, copy=False)
    if flat.shape[1] == 1:
        return flat
    mean, std = _moments(flat)
    moments = (mean[:, None], std[:, None])
    return np.concatenate((flat, *moments), axis=1, dtype=np.float32, casting="same_kind")


def _moments(rows: FloatArray) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of float32 rows (n, m), each (n,) in float64.

    Both from sums around each row's first value: a constant row deviates by 0, and one pass over
    the rows does where `ndarray.std` takes three. As many rows at a time as a cache holds.
    """
    count, width = rows.shape
    shift, squares = np.empty(count), np.empty(count)
    step = max(1, _CACHED // width)
    room = np.empty((min(step, count), width))
    for start in range(0, count, step):
        part = slice(start, start + step)
        block = rows[part]
        away = room[: len(block)]
        away[...] = block
        away -= block[:, :1]
        away.sum(axis=1, out=shift[part])
        np.vecdot(away, away, out=squares[part])
    shift /= width
    squares /= width
    mean: Doubles = rows[:, 0] + shift
    return mean, np.sqrt(np.maximum(squares - shift * shift, 0.0))


def _channels(contract: Contract) -> int:
    """The last axis of an image or a series, when it is short enough to watch each."""
    shape = contract.input.shape
    return shape[-1] if len(shape) > 1 and shape[-1] <= CHANNEL_LIMIT else 1


def _indices(shape: tuple[int, ...]) -> itertools.product[tuple[int, ...]]:
    axes = shape[:-1] if len(shape) == 3 and shape[-1] == 1 else shape
    return itertools.product(*(range(size) for size in axes))


def _index(index: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, index))}]" if index else ""
