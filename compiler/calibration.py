"""What calibration data lacks, as sentences with numbers: nothing here stops a compile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.contract import Contract

ENOUGH_SAMPLES = 100  # with fewer, one sample in a hundred sets an end of a range by chance
ENOUGH_PER_CLASS = 10

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def check_calibration(x: Floats, y: Ints | None, contract: Contract) -> tuple[str, ...]:
    """Warnings about raw samples `x` (n, *input.shape) with class indices `y` (n,), if known."""
    return (
        *_too_few(x),
        *(() if y is None else _classes(y, contract)),
        *_constant_elements(x),
        *_out_of_range(x, contract),
    )


def _too_few(x: Floats) -> Iterator[str]:
    if len(x) < ENOUGH_SAMPLES:
        yield (
            f"calibration: {len(x)} samples set the ranges; {ENOUGH_SAMPLES} or more make them "
            "less a matter of chance"
        )


def _classes(y: Ints, contract: Contract) -> Iterator[str]:
    counts = np.bincount(y, minlength=len(contract.classes))
    for name, count in zip(contract.classes, counts.tolist(), strict=True):
        if count == 0:
            yield f"calibration: no sample of class '{name}': its activations were never seen"
        elif count < ENOUGH_PER_CLASS:
            yield f"calibration: {count} samples of class '{name}', fewer than {ENOUGH_PER_CLASS}"


def _constant_elements(x: Floats) -> Iterator[str]:
    flat = x.reshape(len(x), -1)
    constant = int(np.count_nonzero(flat.min(axis=0) == flat.max(axis=0)))
    if constant and len(x) > 1:
        yield (
            f"calibration: {constant} of {flat.shape[1]} input elements are the same in all "
            f"{len(x)} samples: nothing is known of their range"
        )


def _out_of_range(x: Floats, contract: Contract) -> Iterator[str]:
    spec = contract.input
    low = -np.inf if spec.minimum is None else spec.minimum
    high = np.inf if spec.maximum is None else spec.maximum
    flat = x.reshape(len(x), -1)
    outside = int(np.count_nonzero(((flat < low) | (flat > high)).any(axis=1)))
    if outside:
        yield (
            f"calibration: {outside} of {len(x)} samples leave the contract's range "
            f"[{low:g}, {high:g}] of '{spec.name}' (they reach from {x.min():g} to {x.max():g})"
        )
