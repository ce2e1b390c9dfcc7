"""`load_calibration`: samples that set the ranges instead of the training split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.contract import Contract

from .data import dataset_sha256, readable
from .errors import CalibrationError, DataSourceError

_UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class Calibration:
    """Raw samples `x` (n, *input.shape) float32 and, where the file has them, class indices `y`."""

    name: str
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64] | None
    sha256: str


def load_calibration(path: Path, contract: Contract) -> Calibration:
    """The samples of an .npz file: `x` in the contract's raw units and shape, `y` optional.

    Raises:
        CalibrationError: no such file, no sound .npz, no samples, or samples of another shape,
            not finite, or labels that are no classes of the contract.
    """
    arrays = _read(path)
    if "x" not in arrays or set(arrays) - {"x", "y"}:
        raise CalibrationError(
            f"calibration '{path}' has the arrays {', '.join(sorted(arrays)) or 'none'}; it must "
            "have x, and may have y"
        )
    x = _samples(arrays["x"], contract, path)
    y = _labels(arrays["y"], len(x), contract, path) if "y" in arrays else None
    labels = np.full(len(x), _UNLABELLED, np.int64) if y is None else y
    return Calibration(path.stem, x, y, dataset_sha256(x, labels))


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with readable(str(path)), path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            with archive:
                return {key: archive[key] for key in archive.files}
    except DataSourceError as error:
        raise CalibrationError(str(error).replace("data ", "calibration ", 1)) from error


def _samples(x: npt.NDArray[Any], contract: Contract, path: Path) -> npt.NDArray[np.float32]:
    """`x` as float32 in the contract's shape; a channel axis of 1 may be left out."""
    shape = contract.input.shape
    if x.dtype.kind not in "fiub" or x.ndim == 0 or tuple(x.shape[1:]) not in _shapes(shape):
        raise CalibrationError(
            f"calibration '{path}': x is {x.dtype} of shape {x.shape}; it must be numbers of shape "
            f"{('n', *shape)}, as the data has them"
        )
    if len(x) == 0:
        raise CalibrationError(f"calibration '{path}': x has no samples; give 100 or more")
    with np.errstate(over="ignore"):  # what overflows float32 is reported as not finite
        values = np.ascontiguousarray(x, dtype=np.float32).reshape(len(x), *shape)
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(bad):
        raise CalibrationError(
            f"calibration '{path}': {len(bad)} of {len(values)} samples hold a value that is not "
            f"finite, the first is sample {bad[0]}; fill in or drop them"
        )
    return values


def _shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return (shape, shape[:-1]) if len(shape) > 1 and shape[-1] == 1 else (shape,)


def _labels(
    y: npt.NDArray[Any], samples: int, contract: Contract, path: Path
) -> npt.NDArray[np.int64]:
    """Class indices, from whole numbers or from the classes' names."""
    classes = contract.classes
    problem = f"calibration '{path}': y must be {samples} class indices or names of classes"
    if y.shape != (samples,) or y.dtype.kind not in "iuUS":
        raise CalibrationError(f"{problem}, it is {y.dtype} of shape {y.shape}")
    if y.dtype.kind in "US":
        names = {name: index for index, name in enumerate(classes)}
        found = [names.get(_text(label), _UNLABELLED) for label in y]
        y = np.array(found, np.int64)
    if y.min() < 0 or y.max() >= len(classes):
        raise CalibrationError(f"{problem}; one of its labels is none of the {len(classes)}")
    return y.astype(np.int64)


def _text(label: object) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
