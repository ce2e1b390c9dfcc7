"""An .npz file of samples as a headline: arrays, classes, ranges."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .data import readable
from .errors import DataSourceError, ImportModelError

_MOST_ARRAYS = 64
_LARGEST = 1 << 30  # bytes of one array


def read_arrays(path: Path) -> tuple[str, ...]:
    """One line for each array, and the counts of labels.

    Raises:
        ImportModelError: no sound .npz file of plain arrays.
    """
    try:
        with readable(str(path)), path.open("rb") as file:
            with zipfile.ZipFile(file) as members:
                sizes = [info.file_size for info in members.infolist()]
            if len(sizes) > _MOST_ARRAYS or sum(sizes) > _LARGEST:
                raise ValueError("too large to be described")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            with archive:
                return tuple(_line(key, archive[key]) for key in sorted(archive.files))
    except DataSourceError as error:
        raise ImportModelError(str(error).removeprefix("data ")) from error


def _line(key: str, array: npt.NDArray[Any]) -> str:
    text = f"array {key}: {array.dtype} of shape {array.shape}"
    if array.dtype.kind not in "fiu" or not array.size:
        return text
    text += f", {array.min():g} to {array.max():g}"
    if array.ndim == 1 and array.dtype.kind in "iu":
        values, counts = np.unique(array, return_counts=True)
        text += f", {len(values)} different, {counts.min()} to {counts.max()} of each"
    return text
