"""The range coder: what is written is read, close to what information theory allows."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.runtime.errors import DeltaError
from edgekiln.runtime.range_coder import (
    BYTE_MODELS,
    NUMBER_LENGTHS,
    NUMBER_PREFIXES,
    Models,
    RangeDecoder,
    RangeEncoder,
)

COUNT = NUMBER_LENGTHS + NUMBER_PREFIXES + BYTE_MODELS
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("bit"), st.integers(0, 1)),
        st.tuples(st.just("even"), st.integers(0, 2**29 - 1)),
        st.tuples(st.just("number"), st.integers(0, 2**32)),
        st.tuples(st.just("byte"), st.integers(0, 255)),
    ),
    max_size=200,
)


def code(coder: RangeEncoder | RangeDecoder, kind: str, value: int) -> int:
    if kind == "bit":
        return coder.bit(0, value)
    if kind == "even":
        return coder.even(29, value)
    if kind == "number":
        return coder.number(0, NUMBER_LENGTHS, value)
    return coder.byte(NUMBER_LENGTHS + NUMBER_PREFIXES, value)


def written(steps: list[tuple[str, int]]) -> bytes:
    encoder = RangeEncoder(Models(COUNT))
    for kind, value in steps:
        assert code(encoder, kind, value) == value
    return encoder.finish()


def decoder_of(data: bytes) -> RangeDecoder:
    return RangeDecoder(Models(COUNT), io.BytesIO(data).read)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_everything_written_is_read_back_to_the_last_byte(steps: list[tuple[str, int]]) -> None:
    decoder = decoder_of(written(steps))
    assert [code(decoder, kind, 0) for kind, _ in steps] == [value for _, value in steps]
    decoder.finish()


@pytest.mark.parametrize("share", [0.5, 0.05, 0.002])
def test_size_is_near_the_entropy_when_bits_are_independent(share: float) -> None:
    bits = (np.random.default_rng(1).random(15_000) < share).astype(int).tolist()
    found = len(written([("bit", bit) for bit in bits]))
    mean = sum(bits) / len(bits)
    entropy = -len(bits) * (mean * math.log2(mean) + (1 - mean) * math.log2(1 - mean)) / 8
    assert entropy < found < 1.05 * entropy + 12


def test_reading_ends_in_an_error_when_bytes_are_missing_or_left() -> None:
    steps = [("number", value) for value in range(500)]
    data = written(steps)
    short = decoder_of(data[:-6])
    with pytest.raises(DeltaError, match="too early"):
        [code(short, kind, 0) for kind, _ in steps]
    decoder = decoder_of(data + b"\0")
    for kind, _ in steps:
        code(decoder, kind, 0)
    with pytest.raises(DeltaError, match="after its end"):
        decoder.finish()


def test_bytes_of_a_known_stream_never_change() -> None:
    """Devices in the field read what this version wrote."""
    steps = [("number", value * value) for value in range(12)] + [("byte", 65), ("even", 12345)]
    assert written(steps).hex() == "8b0edd90845b6c187c5c777eb8e79a354b53410cff"
