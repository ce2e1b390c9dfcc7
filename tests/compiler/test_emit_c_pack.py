"""Packed weights give the sums of the plain ones when they are read as the kernels read them."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.emit_c_pack import (
    blocks_of_rows,
    fold,
    halves_fit,
    halves_of_rows,
    pair_count,
    pairs_of_rows,
    pairs_of_taps_fit,
    sixteens_of_rows,
    strips_of_rows,
    taps_3x3,
    vector_lanes,
)
from edgekiln.compiler.graph import Array

SHAPES = [(2, 4), (5, 7), (1, 3), (6, 16), (7, 1), (4, 27)]


def _rows(shape: tuple[int, int], low: int = -128) -> tuple[Array, Array]:
    """Weights and one column of inputs."""
    rng = np.random.default_rng(shape[0])
    rows = rng.integers(low, 128, shape).astype(np.int8)
    rows[0, 0] = low
    return rows, rng.integers(-128, 128, shape[1]).astype(np.int8)


def _column(x: Array) -> Array:
    """(pairs, 2) int16: bytes 0 and 2 of each four, then 1 and 3."""
    quads = np.pad(x, (0, -len(x) % 4)).reshape(-1, 2, 2).astype(np.int64)
    return quads.transpose(0, 2, 1).reshape(-1, 2)


def _bytes(words: Array) -> Array:
    return words.astype("<u4").view(np.int8).astype(np.int64).reshape(-1, 4)


@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_give_the_sums_when_even_and_odd_bytes_are_taken_apart(
    shape: tuple[int, int],
) -> None:
    rows, x = _rows(shape)
    words, column, pairs = pairs_of_rows(rows), _column(x), pair_count(shape[1])
    assert len(column) == pairs
    found = []
    for pair in range(shape[0] // 2):
        four = _bytes(words[pair * pairs : (pair + 1) * pairs])
        found += [int((four[:, channel::2] * column).sum()) for channel in range(2)]
    if shape[0] % 2:
        four = _bytes(words[shape[0] // 2 * pairs :])
        taken = np.stack([four[:, 0::2], four[:, 1::2]], axis=1).reshape(-1, 2)
        found.append(int((taken * column).sum()))
    assert found == (rows.astype(np.int64) @ x).tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_halves_give_both_sums_when_words_are_multiplied_whole(shape: tuple[int, int]) -> None:
    rows, x = _rows(shape, low=-127)
    words, column, pairs = halves_of_rows(rows), _column(x), pair_count(shape[1])
    wanted = rows.astype(np.int64) @ x
    for pair in range(shape[0] // 2):
        part = words[pair * pairs : (pair + 1) * pairs]
        a = int((_bytes(part)[:, 0::2] * column).sum())
        both = int((part.astype("<u4").view(np.int16).reshape(-1, 2) * column).sum())
        assert [a, (both - a) >> 8] == wanted[2 * pair : 2 * pair + 2].tolist()


def test_halves_do_not_fit_when_a_weight_or_a_sum_is_too_large() -> None:
    rows, _ = _rows((4, 8), low=-127)
    bias = np.zeros(4, np.int32)
    assert halves_fit(rows, fold(rows, bias, 0))
    assert not halves_fit(rows, fold(rows, bias + (1 << 23), 0))
    lowest, _ = _rows((4, 8))
    assert not halves_fit(lowest, fold(lowest, bias, 0))


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_hold_four_channels_of_a_tap_side_by_side_when_packed(
    shape: tuple[int, int],
) -> None:
    rows, _ = _rows(shape)
    packed, whole = blocks_of_rows(rows), shape[0] // 4 * 4
    taps = [rows[first : first + 4, tap] for first in range(0, whole, 4) for tap in range(shape[1])]
    expected = np.concatenate([*taps, rows[whole:].reshape(-1)]) if taps else rows.reshape(-1)
    np.testing.assert_array_equal(packed, expected)


@pytest.mark.parametrize("shape", [*SHAPES, (9, 37), (4, 16), (3, 40)])
def test_strips_give_the_sums_when_read_as_vectors(shape: tuple[int, int]) -> None:
    """As c/helium/ek_strips.h loads them: sixteen bytes at a time, also where taps end before."""
    rows, x = _rows(shape)
    packed, (channels, taps) = strips_of_rows(rows).astype(np.int64), shape
    at, found = 0, []
    for _ in range(channels // 4):
        sums = np.zeros(4, np.int64)
        for first in range(0, taps, 16):
            column = x[first : first + 16].astype(np.int64)
            filled = np.pad(column, (0, 16 - len(column)))
            for channel in range(4):
                start = at + channel * len(column)
                sums[channel] += packed[start : start + 16] @ filled
            at += 4 * len(column)
        found += sums.tolist()
    found += (packed[at : at + channels % 4 * taps].reshape(-1, taps) @ x).tolist()
    assert found == (rows.astype(np.int64) @ x).tolist()
    assert len(packed) - rows.size < 16


@pytest.mark.parametrize("channels", [1, 16, 21, 32])
def test_sixteens_hold_a_tap_of_each_channel_side_by_side_when_packed(channels: int) -> None:
    rows, _ = _rows((channels, 9))
    packed = sixteens_of_rows(rows)
    assert packed.shape == (-(-channels // 16), 9, 16)
    flat = packed.transpose(0, 2, 1).reshape(-1, 9)
    np.testing.assert_array_equal(flat[:channels], rows)
    assert not flat[channels:].any()


def test_lanes_are_those_of_even_and_odd_halves_when_taken_apart_twice() -> None:
    bytes_ = np.arange(16)
    even, odd = bytes_[0::2], bytes_[1::2]
    words = [half[start::2] for half in (even, odd) for start in (0, 1)]
    assert vector_lanes(16) == np.concatenate(words).tolist()
    assert vector_lanes(18)[16:] == [16, 18, 18, 18, 18, 18, 18, 18, 17, *[18] * 7]


def test_pairs_of_taps_do_not_fit_when_both_are_lowest() -> None:
    rows = np.array([[-128, 127, -128, 5, -128]], np.int8)
    assert pairs_of_taps_fit(rows)
    assert not pairs_of_taps_fit(np.roll(rows, 1))


def test_taps_keep_every_weight_when_ordered_for_3x3() -> None:
    rows = np.arange(9, dtype=np.int8)[None]
    assert taps_3x3(rows).tolist() == [[0, 3, 2, 5, 6, 1, 8, 4, 7]]


def test_sums_of_stored_inputs_equal_those_of_centred_ones_when_folded() -> None:
    rows, x = _rows((5, 9))
    bias = np.arange(5, dtype=np.int32)
    sums = fold(rows, bias, -7)
    wide = rows.astype(np.int64)
    np.testing.assert_array_equal(sums.bias + wide @ x, bias + wide @ (x.astype(np.int64) + 7))
    highest = sums.bias + wide @ np.where(wide[0] > 0, 127, -128)
    assert highest[0] == sums.high[0]
    assert (sums.low <= sums.bias + wide @ x).all()
    assert (sums.bias + wide @ x <= sums.high).all()
