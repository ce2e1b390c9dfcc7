"""Golden vectors in and out of their file."""

from __future__ import annotations

import io

import numpy as np
import pytest

from edgekiln.runtime.errors import MemberError
from edgekiln.runtime.files import stored_zip
from edgekiln.runtime.golden import Golden, pack_golden, unpack_golden


@pytest.fixture
def golden() -> Golden:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5, 4, 4, 1)).astype(np.float32)
    return Golden(inputs, rng.integers(-128, 128, (5, 3), np.int8), 0.25, -3)


def test_pack_golden_gives_the_same_bytes_and_reads_back(golden: Golden) -> None:
    packed = pack_golden(golden)
    assert packed == pack_golden(golden)
    read = unpack_golden(packed, "x.ekb")
    np.testing.assert_array_equal(read.inputs, golden.inputs)
    np.testing.assert_array_equal(read.expected, golden.expected)
    assert (read.scale, read.zero_point) == (0.25, -3)


def test_pack_golden_is_read_by_numpy_itself(golden: Golden) -> None:
    with np.load(io.BytesIO(pack_golden(golden))) as arrays:
        assert sorted(arrays.files) == ["expected", "inputs", "scale", "zero_point"]


def _npy(value: object, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value), allow_pickle=allow_pickle)
    return buffer.getvalue()


ARRAYS = {
    "inputs.npy": _npy(np.zeros((2, 3), np.float32)),
    "expected.npy": _npy(np.zeros((2, 2), np.int8)),
    "scale.npy": _npy(0.5),
    "zero_point.npy": _npy(0),
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"inputs.npy": _npy(np.zeros((2, 3)))}, "not float32"),
        ({"expected.npy": _npy(np.zeros((3, 2), np.int8))}, "2 inputs for 3"),
        ({"inputs.npy": _npy(np.zeros((0, 3), np.float32))}, "no vectors"),
        ({"scale.npy": _npy(0.0)}, "scale 0.0"),
        ({"scale.npy": _npy(np.nan)}, "scale nan"),
        ({"zero_point.npy": _npy(300)}, "zero point 300"),
        ({"scale.npy": _npy([1.0, 2.0])}, "cannot be read"),
        ({"scale.npy": _npy(object(), allow_pickle=True)}, "cannot be read"),
        ({"inputs.npy": b"\x93NUMPY"}, "cannot be read"),
    ],
)
def test_unpack_golden_says_what_is_wrong_when_arrays_do_not_fit(
    changed: dict[str, bytes], says: str
) -> None:
    with pytest.raises(MemberError, match=says) as caught:
        unpack_golden(stored_zip(ARRAYS | changed), "x.ekb")
    assert str(caught.value).startswith("x.ekb: golden.npz")


@pytest.mark.parametrize("data", [b"", b"garbage", stored_zip({}), _npy([1.0])])
def test_unpack_golden_refuses_when_the_file_is_no_npz(data: bytes) -> None:
    with pytest.raises(MemberError, match="cannot be read"):
        unpack_golden(data, "x.ekb")
