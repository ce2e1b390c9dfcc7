"""Deltas between files: exact, bounded in memory, and one error for whatever is wrong with them."""

from __future__ import annotations

import hashlib
import io
import itertools
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.runtime.delta import MAGIC, WORKING_BYTES, apply_delta
from edgekiln.runtime.delta_codec import (
    CHUNK,
    HEADS,
    LARGEST_TURN,
    MODELS,
    RING,
    Method,
    Segment,
)
from edgekiln.runtime.delta_write import edits, write_delta
from edgekiln.runtime.errors import DeltaError
from edgekiln.runtime.range_coder import _CHUNK_BYTES, Models

RNG = np.random.default_rng(7)
BASE = RNG.integers(-60, 60, 6000).astype(np.int8).tobytes()
MOVED = (
    (np.frombuffer(BASE, np.int8).astype(int) + np.rint(RNG.normal(0, 1.5, 6000)).astype(int))
    .astype(np.int8)
    .tobytes()
)
TEXT = b'{"layer": "conv_1", "error": 0.0123, "digest": "0f3a"}\n' * 30


def applied(base: bytes, delta: bytes, new_bytes: int) -> bytes:
    out = io.BytesIO()
    apply_delta(io.BytesIO(base), io.BytesIO(delta).read, out, (len(base), new_bytes))
    return out.getvalue()


def tensor(length: int, width: int = 1) -> Segment:
    return Segment(Method.TENSOR, length, 0, length, width)


def sample() -> tuple[bytes, bytes, bytes]:
    """A delta with every method in it, its base and what it gives."""
    base = BASE + TEXT
    turned = np.frombuffer(MOVED, np.int8).reshape(10, 20, 30).transpose(0, 2, 1).tobytes()
    changed = TEXT.replace(b"0.0123", b"0.9").replace(b"0f3a", b"77aa00")
    new = MOVED + turned + changed + BASE[:100] + b"literal " * 9
    plan = [
        tensor(6000),
        Segment(Method.TURNED, 6000, 0, 6000, rows=20, columns=30),
        Segment(Method.TEXT, len(changed), 6000, len(TEXT)),
        Segment(Method.BASE, 100, 0, 100),
        Segment(Method.LITERAL, 72),
    ]
    return base, new, write_delta(base, new, plan)


def small_sample() -> tuple[bytes, bytes, bytes]:
    """The same methods on a file of 300 bytes."""
    base = bytes(range(60)) + TEXT[:80]
    moved = bytes((value * 7 % 5 + value) % 256 for value in range(60))
    turned = np.frombuffer(moved, np.uint8).reshape(2, 5, 6).transpose(0, 2, 1).tobytes()
    changed = TEXT[:80].replace(b"0.0123", b"0.9").replace(b"0f3a", b"77aa00")
    new = moved + turned + changed + base[:20] + b"literal " * 4
    plan = [
        tensor(60),
        Segment(Method.TURNED, 60, 0, 60, rows=5, columns=6),
        Segment(Method.TEXT, len(changed), 60, 80),
        Segment(Method.BASE, 20, 0, 20),
        Segment(Method.LITERAL, 32),
    ]
    return base, new, write_delta(base, new, plan)


def test_every_method_rebuilds_the_file_exactly() -> None:
    base, new, delta = sample()
    assert applied(base, delta, len(new)) == new
    assert len(delta) < 0.25 * len(new)


@settings(max_examples=25, deadline=None)
@given(
    st.binary(min_size=4, max_size=600),
    st.binary(min_size=4, max_size=600),
    st.sampled_from([1, 2, 4]),
)
def test_any_two_files_round_trip_by_any_method(old: bytes, new: bytes, width: int) -> None:
    shared = min(len(old), len(new)) // width * width
    rest = len(new) - shared
    plan = [tensor(shared, width)]
    if rest:
        plan.append(Segment(Method.TEXT, rest, 0, len(old)))
    assert applied(old, write_delta(old, new, plan), len(new)) == new
    alone = [Segment(Method.LITERAL, len(new), width=width)]
    assert applied(old, write_delta(old, new, alone), len(new)) == new


@settings(max_examples=40, deadline=None)
@given(st.text("ab1,\n", max_size=200), st.text("ab1,\n", max_size=200))
def test_edits_give_the_new_text(old: str, new: str) -> None:
    """Oracle: the definition of an edit, played back."""
    rest, found = iter(old.encode()), bytearray()
    expected = next(rest, None)
    for edit in edits(old.encode(), new.encode()):
        if edit.hit:
            assert expected is not None
            found.append(expected)
        elif edit.kind < 2:
            found.append(edit.byte)
        for _ in range(1 if edit.hit or edit.kind == 0 else max(edit.kind - 1, 0)):
            expected = next(rest, None)
    assert found == new.encode()


def test_differences_wrap_around_when_elements_overflow() -> None:
    old = np.array([127, -128, 0, 255 - 256], np.int8).tobytes()
    new = np.array([-128, 127, -128, 0], np.int8).tobytes()
    delta = write_delta(old, new, [tensor(4)])
    assert applied(old, delta, 4) == new
    old4 = np.array([0, 2**32 - 1, 2**31], "<u4").tobytes()
    new4 = np.array([2**31, 0, 2**32 - 1], "<u4").tobytes()
    assert applied(old4, write_delta(old4, new4, [tensor(12, 4)]), 12) == new4


def test_tensor_costs_what_its_differences_tell_when_they_are_gaussian() -> None:
    """Oracle: the entropy of a rounded normal distribution."""
    differences = np.rint(np.random.default_rng(3).normal(0, 2.0, 15_000)).astype(int)
    base = np.random.default_rng(4).integers(-100, 100, 15_000)
    old, new = (a.astype(np.int8).tobytes() for a in (base, base + differences))
    shares = np.unique(differences, return_counts=True)[1] / 15_000
    entropy = -(shares * np.log2(shares)).sum() * 15_000 / 8
    assert len(write_delta(old, new, [tensor(15_000)])) < 1.02 * entropy + 20


def test_unchanged_tensor_costs_next_to_nothing() -> None:
    assert len(write_delta(BASE, BASE, [tensor(6000)])) < 40


def test_memory_is_what_is_declared_however_large_the_tensor() -> None:
    """The sum of everything that one segment holds; models are there throughout."""
    integers = max(
        sys.getsizeof([0] * count) + count * own
        for count, own in ((CHUNK, 0), (CHUNK // 2, 28), (CHUNK // 4, 32))
    )
    echo = RING + 2 * HEADS
    segment = max(2 * integers + 2 * CHUNK, 3 * LARGEST_TURN, echo + CHUNK)
    assert Models(MODELS).nbytes + _CHUNK_BYTES + segment <= WORKING_BYTES
    size = 6_000
    old = np.random.default_rng(5).integers(0, 50, size).astype(np.int8)
    new = old.copy()
    new[::7] += 1
    delta = write_delta(old.tobytes(), new.tobytes(), [tensor(size)])
    base, source, out = io.BytesIO(old.tobytes()), io.BytesIO(delta), _Counter()
    tracemalloc.start()
    apply_delta(base, source.read, out, (size, size))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert out.written == size
    assert peak <= WORKING_BYTES + (16 << 10)  # the interpreter's own objects come on top


class _Counter:
    """A file that keeps nothing."""

    def __init__(self) -> None:
        self.written = 0

    def seek(self, place: int) -> None:
        assert place == self.written

    def write(self, data: bytes) -> None:
        self.written += len(data)


def test_delta_is_refused_when_it_is_for_other_files() -> None:
    base, new, delta = sample()
    with pytest.raises(DeltaError, match="not a delta"):
        applied(base, b"EKD2" + delta[4:], len(new))
    for sizes in ((len(base) + 1, len(new)), (len(base), len(new) - 1)):
        with pytest.raises(DeltaError, match="files of these sizes"):
            apply_delta(io.BytesIO(base), io.BytesIO(delta).read, io.BytesIO(), sizes)
    with pytest.raises(DeltaError, match="shorter than it was"):
        apply_delta(
            io.BytesIO(base[:50]), io.BytesIO(delta).read, io.BytesIO(), (len(base), len(new))
        )


def test_delta_is_refused_when_it_is_cut_off_or_longer() -> None:
    base, new, delta = sample()
    for end in (0, 3, 11, 12, 15, 40, len(delta) // 2, len(delta) - 1):
        with pytest.raises(DeltaError):
            applied(base, delta[:end], len(new))
    with pytest.raises(DeltaError, match="after its end"):
        applied(base, delta + b"\0", len(new))


@pytest.mark.slow
def test_mutants_end_in_one_error_or_in_other_bytes_of_the_signed_length() -> None:
    base, new, delta = small_sample()
    rng = np.random.default_rng(11)
    ends = {"refused": 0, "other": 0}
    for _ in range(3000):
        mutant = bytearray(delta)
        for _ in range(rng.integers(1, 4)):
            mutant[rng.integers(12, len(mutant))] = rng.integers(0, 256)
        if rng.random() < 0.2:
            del mutant[rng.integers(12, len(mutant)) :]
        out = _Bounded(len(new))
        try:
            apply_delta(
                io.BytesIO(base), io.BytesIO(bytes(mutant)).read, out, (len(base), len(new))
            )
        except DeltaError:
            ends["refused"] += 1
        else:
            assert len(out.getvalue()) == len(new)
            ends["other"] += bytes(mutant) != delta
    assert ends["refused"] > 2000


class _Bounded(io.BytesIO):
    """Fails where more than the signed length is written."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: bytes) -> int:  # type: ignore[override]
        assert self.tell() + len(data) <= self._limit
        return super().write(data)


def test_work_stops_when_the_pause_says_so() -> None:
    base, new, delta = sample()
    calls = itertools.count()

    def pause() -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt

    out = io.BytesIO()
    with pytest.raises(KeyboardInterrupt):
        apply_delta(io.BytesIO(base), io.BytesIO(delta).read, out, (len(base), len(new)), pause)
    assert 0 < len(out.getvalue()) < len(new)


def test_known_delta_gives_the_same_file_for_ever() -> None:
    """Devices in the field read what this version wrote."""
    base, new, delta = small_sample()
    assert delta[:4] == MAGIC
    assert (
        hashlib.sha256(delta).hexdigest()
        == "54f6ef6cbf609abe0e5070c867dbabe4679a1e3a753b4475c53033150f582d59"
    )
    assert applied(base, delta, len(new)) == new
