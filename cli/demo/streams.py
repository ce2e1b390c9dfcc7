"""What the demo's sensors see: samples of the training population, healthy or drifted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.files import write_atomic

DIM = np.float32(0.55)  # a lens that has gone dull
SHIFT_PIXELS = 1  # and a camera that was knocked


def write_stream(path: Path, samples: npt.NDArray[np.float32]) -> None:
    """Samples (n, height, width, channels) in raw units, as a device's source reads them."""
    buffer = io.BytesIO()
    np.savez(buffer, x=samples)
    write_atomic(path, buffer.getvalue())


def dim_and_shift(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same scenes through a sensor that dims and shifts; values stay in the valid range."""
    moved: npt.NDArray[np.float32] = np.roll(samples, SHIFT_PIXELS, axis=2)
    moved[:, :, :SHIFT_PIXELS] = 0
    dimmed: npt.NDArray[np.float32] = np.rint(moved * DIM).astype(np.float32)
    return dimmed
