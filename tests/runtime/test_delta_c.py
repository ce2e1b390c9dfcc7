"""The C decoder: written from the same definition, it must agree with Python's on every delta."""

from __future__ import annotations

import ctypes
import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.runtime.delta import WORKING_BYTES, apply_delta
from edgekiln.runtime.delta_codec import MODELS, Method, Segment
from edgekiln.runtime.delta_write import write_delta
from edgekiln.runtime.errors import DeltaError

SOURCES = Path(__file__).parents[2] / "runtime" / "c"
OK, IO, DAMAGED = 0, 1, 2
READ = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint32,
    ctypes.POINTER(ctypes.c_uint8),
    ctypes.c_uint32,
)
NEXT = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_uint8),
    ctypes.POINTER(ctypes.c_uint32),
)
WRITE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint32
)
SIZES = (
    '#include "ek_delta.h"\n'
    "unsigned ek_delta_size(void) { return sizeof(ek_delta); }\n"
    "unsigned ek_delta_models(void) { return EK_DELTA_MODELS; }\n"
)


class Files(ctypes.Structure):
    """`ek_delta_files`."""

    _fields_ = [
        ("context", ctypes.c_void_p),
        ("base", READ),
        ("delta", NEXT),
        ("written", READ),
        ("write", WRITE),
    ]


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]
) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("delta")
    (folder / "sizes.c").write_text(SIZES)
    flags = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-shared", "-fPIC")
    built = folder / "delta.so"
    sources = (str(SOURCES / "ek_delta.c"), str(folder / "sizes.c"))
    command = [require_tool("gcc"), *flags, f"-I{SOURCES}", *sources, "-o", str(built)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(built))


def rebuilt(
    library: ctypes.CDLL, base: bytes, delta: bytes, size: int, fails: str = ""
) -> tuple[int, bytes]:
    out, source = bytearray(), io.BytesIO(delta)

    def read_base(context: object, offset: int, data: object, count: int) -> int:
        assert offset + count <= len(base)
        ctypes.memmove(data, base[offset : offset + count], count)
        return int(fails == "base")

    def next_delta(context: object, data: object, count: ctypes.Array[ctypes.c_uint32]) -> int:
        found = source.read(count[0])
        ctypes.memmove(data, found, len(found))
        count[0] = len(found)
        return int(fails == "delta")

    def read_written(context: object, offset: int, data: object, count: int) -> int:
        assert offset + count <= len(out)
        ctypes.memmove(data, bytes(out[offset : offset + count]), count)
        return int(fails == "written")

    def write(context: object, data: ctypes.Array[ctypes.c_uint8], count: int) -> int:
        out.extend(data[:count])
        assert len(out) <= size
        return int(fails == "write")

    files = Files(None, READ(read_base), NEXT(next_delta), READ(read_written), WRITE(write))
    state = ctypes.create_string_buffer(library.ek_delta_size())
    end = library.ek_delta_apply(state, ctypes.byref(files), len(base), size)
    return end, bytes(out)


def by_python(base: bytes, delta: bytes, size: int) -> tuple[int, bytes]:
    out = io.BytesIO()
    try:
        apply_delta(io.BytesIO(base), io.BytesIO(delta).read, out, (len(base), size))
    except DeltaError:
        return DAMAGED, b""
    return OK, out.getvalue()


def sample(scale: int) -> tuple[bytes, bytes, bytes]:
    """A delta with every method and width, its base and what it gives."""
    rng = np.random.default_rng(scale)
    count = 120 * scale
    old = rng.integers(-60, 60, count).astype(np.int8)
    moved = (old + np.rint(rng.normal(0, 2.0, count))).astype(np.int8).tobytes()
    text = b'{"layer": "conv_1", "error": 0.0123}\n' * scale
    changed = text.replace(b"0.0123", b"0.9").replace(b"conv", b"dense")
    base = old.tobytes() + text
    turned = np.frombuffer(moved, np.uint8).reshape(-1, 4, 5, 2).transpose(0, 2, 1, 3).tobytes()
    noise = rng.bytes(40) * scale
    new = moved * 3 + turned + changed + base[3:50] + noise * 2
    plan = [
        *(Segment(Method.TENSOR, count, 0, count, width) for width in (1, 2, 4)),
        Segment(Method.TURNED, count, 0, count, 2, rows=4, columns=5),
        Segment(Method.TEXT, len(changed), count, len(text)),
        Segment(Method.BASE, 47, 3, 47),
        Segment(Method.LITERAL, len(noise), width=4),
        Segment(Method.LITERAL, len(noise), back=4),
    ]
    return base, new, write_delta(base, new, plan)


@pytest.mark.parametrize("scale", [1, 20])
def test_c_gives_the_same_file_when_the_delta_has_every_method(
    library: ctypes.CDLL, scale: int
) -> None:
    base, new, delta = sample(scale)
    assert rebuilt(library, base, delta, len(new)) == (OK, new) == by_python(base, delta, len(new))


def test_state_of_c_is_what_is_declared(library: ctypes.CDLL) -> None:
    assert library.ek_delta_models() == MODELS
    assert library.ek_delta_size() <= WORKING_BYTES


def test_c_says_so_when_a_file_cannot_be_read_or_written(library: ctypes.CDLL) -> None:
    base, new, delta = sample(2)
    for name in ("base", "delta", "written", "write"):
        assert rebuilt(library, base, delta, len(new), name)[0] == IO
    assert rebuilt(library, base, delta, len(new) + 1)[0] == DAMAGED
    assert rebuilt(library, base, delta + b"\0", len(new))[0] == DAMAGED


@pytest.mark.slow
def test_c_and_python_end_alike_when_deltas_are_damaged(library: ctypes.CDLL) -> None:
    base, new, delta = sample(1)
    rng = np.random.default_rng(5)
    ends = {OK: 0, DAMAGED: 0}
    change: Callable[[int], int] = lambda most: int(rng.integers(0, most))  # noqa: E731
    for _ in range(1000):
        mutant = bytearray(delta)
        for _ in range(1 + change(3)):
            mutant[12 + change(len(mutant) - 12)] = change(256)
        if change(5) == 0:
            del mutant[12 + change(len(mutant) - 12) :]
        wanted = by_python(base, bytes(mutant), len(new))
        found = rebuilt(library, base, bytes(mutant), len(new))
        assert found[0] == wanted[0]
        assert wanted[0] == DAMAGED or found[1] == wanted[1]
        ends[wanted[0]] += 1
    assert ends[DAMAGED] > 500
    assert ends[OK] > 10
