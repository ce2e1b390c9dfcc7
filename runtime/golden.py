"""`Golden`: raw inputs and the int8 logits that every artifact of a bundle must give for them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import MemberError
from .files import stored_zip
from .quant import FloatArray, Int8Array

_ARRAYS = ("expected", "inputs", "scale", "zero_point")


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden vectors. `scale` and `zero_point` are those of the int8 output of the graph."""

    inputs: FloatArray  # (n, *input.shape), raw units, before preprocessing
    expected: Int8Array  # (n, classes), logits of the numpy reference
    scale: float
    zero_point: int


def pack_golden(golden: Golden) -> bytes:
    """`golden.npz`: the same vectors give the same bytes; `numpy.load` reads it."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "inputs": golden.inputs.astype("<f4"),
        "expected": golden.expected.astype(np.int8),
        "scale": np.array(golden.scale, "<f8"),
        "zero_point": np.array(golden.zero_point, "<i4"),
    }
    return stored_zip({f"{name}.npy": _npy(array) for name, array in arrays.items()})


def unpack_golden(data: bytes, source: str) -> Golden:
    """Read `golden.npz`; `source` names the bundle in errors.

    Raises:
        MemberError: the arrays are missing, or of a wrong shape or dtype.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            expected, inputs, scale, zero_point = (arrays[name] for name in _ARRAYS)
        golden = Golden(inputs, expected, float(scale), int(zero_point))
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise MemberError(f"{source}: golden.npz cannot be read: {error}") from error
    problem = _problem(golden)
    if problem:
        raise MemberError(f"{source}: golden.npz {problem}")
    return golden


def _problem(golden: Golden) -> str:
    """What is wrong with the arrays, or an empty string."""
    if golden.inputs.dtype != np.float32 or golden.expected.dtype != np.int8:
        return f"holds {golden.inputs.dtype} and {golden.expected.dtype}, not float32 and int8"
    if golden.expected.ndim != 2 or golden.inputs.ndim < 1 or not len(golden.inputs):
        return "holds no vectors"
    if len(golden.inputs) != len(golden.expected):
        return f"has {len(golden.inputs)} inputs for {len(golden.expected)} expected outputs"
    if not golden.scale > 0 or not -128 <= golden.zero_point <= 127:
        return f"has output scale {golden.scale} and zero point {golden.zero_point}"
    return ""


def _npy(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
