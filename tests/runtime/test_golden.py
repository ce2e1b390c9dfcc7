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


def _claiming(shape: str) -> bytes:
    """An .npy file whose header claims a shape, without the data."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "shape", ["(1099511627776, 4)", "(4294967296,)", "(-1, 4)", "(" * 90, "((1,),)", "(True,)"]
)
def test_unpack_golden_allocates_nothing_when_a_header_claims_too_much(shape: str) -> None:
    with pytest.raises(MemberError, match="cannot be read"):
        unpack_golden(stored_zip(ARRAYS | {"inputs.npy": _claiming(shape)}), "x.ekb")


def test_unpack_golden_refuses_when_a_member_is_compressed() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        inputs=np.zeros((1 << 20, 8), np.float32),
        expected=np.zeros((1 << 20, 2), np.int8),
        scale=0.5,
        zero_point=0,
    )
    with pytest.raises(MemberError, match="a member is compressed"):
        unpack_golden(buffer.getvalue(), "x.ekb")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_pack_golden_keeps_the_format_of_outputs_when_it_is_no_int8(dtype: type) -> None:
    expected = np.array([[300, -2]], dtype)
    read = unpack_golden(pack_golden(Golden(np.zeros((1, 3), np.float32), expected, 0.5, 0)), "x")
    assert read.expected.dtype == dtype
    np.testing.assert_array_equal(read.expected, expected)


@pytest.mark.parametrize("data", [b"", b"garbage", stored_zip({}), _npy([1.0])])
def test_unpack_golden_refuses_when_the_file_is_no_npz(data: bytes) -> None:
    with pytest.raises(MemberError, match="cannot be read"):
        unpack_golden(data, "x.ekb")
