"""`Golden`: raw inputs and the logits that every artifact of a bundle must give for them.

The logits' dtype is the bundle's number format: int8 or int16 codes, or float32.
"""

from __future__ import annotations

import ast
import io
import math
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import MemberError
from .files import stored_zip
from .quant import FloatArray, Logits

LOGITS = ("int8", "int16", "float32")
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
# What zipfile, Python's literals and numpy raise over damaged or deceitful bytes.
_UNSOUND = (
    *(ValueError, KeyError, TypeError, OSError, EOFError, SyntaxError, RecursionError),
    *(MemoryError, OverflowError, NotImplementedError, RuntimeError, struct.error),
    zipfile.BadZipFile,
)
_ARRAYS = ("expected", "inputs", "scale", "zero_point")


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden vectors. `scale` and `zero_point` are those of the output of the graph.

    A float32 output has no codes: `scale` is then the step that an int8 output would have, the
    measure of distances, and `zero_point` 0.
    """

    inputs: FloatArray  # (n, *input.shape), raw units, before preprocessing
    expected: Logits  # (n, classes), logits of the numpy reference
    scale: float
    zero_point: int

    def steps(self, found: Logits) -> int:
        """The largest distance of `found` (n, classes) from `expected`, in whole steps.

        Codes differ by whole steps; floats by fractions, which are rounded.
        """
        distance = np.abs(found.astype(np.float64) - self.expected.astype(np.float64))
        unit = self.scale if self.expected.dtype.kind == "f" else 1.0
        return int(np.rint(distance.max(initial=0.0) / unit))


def pack_golden(golden: Golden) -> bytes:
    """`golden.npz`: the same vectors give the same bytes; `numpy.load` reads it."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "inputs": golden.inputs.astype("<f4"),
        "expected": golden.expected.astype(golden.expected.dtype.newbyteorder("<")),
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
        arrays = _read_arrays(data)
        expected, inputs, scale, zero_point = (arrays[name] for name in _ARRAYS)
        golden = Golden(inputs, expected, float(scale), int(zero_point))
    except _UNSOUND as error:
        reason = "".join(c if c.isprintable() else "?" for c in str(error))[:200]
        raise MemberError(f"{source}: golden.npz cannot be read: {reason}") from error
    problem = _problem(golden)
    if problem:
        raise MemberError(f"{source}: golden.npz {problem}")
    return golden


def _problem(golden: Golden) -> str:
    """What is wrong with the arrays, or an empty string."""
    if golden.inputs.dtype != np.float32 or golden.expected.dtype.name not in LOGITS:
        return (
            f"holds {golden.inputs.dtype} and {golden.expected.dtype}, not float32 and one of "
            f"{', '.join(LOGITS)}"
        )
    if golden.expected.dtype.kind == "f" and not np.isfinite(golden.expected).all():
        return "holds an expected output that is not finite"
    if golden.expected.ndim != 2 or golden.inputs.ndim < 1 or not len(golden.inputs):
        return "holds no vectors"
    if len(golden.inputs) != len(golden.expected):
        return f"has {len(golden.inputs)} inputs for {len(golden.expected)} expected outputs"
    zero_points = range(-128, 128) if golden.expected.dtype == np.int8 else (0,)
    if not 0 < golden.scale < np.inf or golden.zero_point not in zero_points:
        return f"has output scale {golden.scale} and zero point {golden.zero_point}"
    return ""


def _read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an archive of stored members; nothing is allocated that is not in `data`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("a member is compressed")
        if sum(info.file_size for info in infos) > len(data):
            raise ValueError("its members declare more bytes than there are")
        return {info.filename.removesuffix(".npy"): _array(archive.read(info)) for info in infos}


def _array(data: bytes) -> npt.NDArray[Any]:
    """A version 1.0 `.npy` file, as `_npy` writes it.

    numpy's own reader allocates what the header claims, and repairs headers by other means.
    """
    if data[:8] != _NPY_MAGIC:
        raise ValueError("a member is no .npy file of version 1.0")
    start = 10 + int.from_bytes(data[8:10], "little")
    header = ast.literal_eval(data[10:start].decode("latin-1").strip())
    dtype, shape = np.dtype(header["descr"]), header["shape"]
    if header["fortran_order"] or dtype.kind not in "fi" or not _is_shape(shape):
        raise ValueError("a member is no plain array of numbers")
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError("an array has other bytes than its shape says")
    return np.frombuffer(data, dtype, offset=start).reshape(shape)


def _is_shape(shape: object) -> bool:
    return isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)


def _npy(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
