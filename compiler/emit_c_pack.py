"""Weights in the order in which each family's kernels read them, zero points folded into biases.

Nothing grows but by the zeros that fill a row up to a multiple of four taps (dsp), depthwise
weights up to sixteen channels, and others by less than a vector at their end (helium).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

BLOCK = 4  # channels that the portable kernels work on at once
QUAD = 4  # taps in two words of a column
VECTOR = 16  # bytes of a vector
# The channels of sixteen whose sums each four words hold, as even and odd lanes are taken apart.
_LANES = (0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15)
# Bytes of a 3 x 3 window, as (row, column), in the order of c/dsp/ek_dsp_depthwise.h.
_TAPS_3X3 = ((0, 0), (1, 0), (0, 2), (1, 2), (2, 0), (0, 1), (2, 2), (1, 1), (2, 1))


@dataclass(frozen=True, slots=True)
class Sums:
    """What a layer's sums can be: folded biases, and bounds of the sums, one for each channel."""

    bias: Int64
    low: Int64
    high: Int64

    @property
    def largest(self) -> int:
        """The largest magnitude that any of them reaches."""
        return int(max(np.abs(self.low).max(), np.abs(self.high).max()))


def fold(rows: Int8, bias: npt.NDArray[np.int32], zero_point: int) -> Sums:
    """`rows` (channels, taps) meet stored int8 inputs: bias - zero_point · sum of weights."""
    wide = rows.astype(np.int64)
    folded = bias.astype(np.int64) - zero_point * wide.sum(axis=1)
    positive, negative = np.maximum(wide, 0).sum(axis=1), np.minimum(wide, 0).sum(axis=1)
    return Sums(
        folded,
        folded - 128 * positive + 127 * negative,
        folded + 127 * positive - 128 * negative,
    )


def blocks_of_rows(rows: Int8) -> Int8:
    """(channels, taps) as [channels / 4][taps][4], then whole rows: c/portable/ek_portable.h."""
    whole = len(rows) // BLOCK * BLOCK
    blocks = rows[:whole].reshape(-1, BLOCK, rows.shape[1]).transpose(0, 2, 1)
    return np.concatenate([blocks.reshape(-1), rows[whole:].reshape(-1)])


def pairs_of_rows(rows: Int8) -> Words:
    """(channels, taps) as words of two channels by two taps: c/dsp/ek_dot.h.

    A last single channel keeps its taps in order.
    """
    filled = np.pad(rows, ((0, 0), (0, -rows.shape[1] % QUAD)))
    whole = len(rows) // 2 * 2
    # (pair of rows, channel, quad, tap j, tap i) -> (pair of rows, quad, i, j, channel)
    pairs = filled[:whole].reshape(-1, 2, filled.shape[1] // QUAD, 2, 2).transpose(0, 2, 4, 3, 1)
    ordered = np.concatenate([pairs.reshape(-1), filled[whole:].reshape(-1)])
    return np.ascontiguousarray(ordered).view("<u4").astype(np.uint32)


def halves_of_rows(rows: Int8) -> Words:
    """The words of `pairs_of_rows` whose halves are a + 256 b: c/dsp/ek_dsp_fully_connected.h.

    Where a row's weight a is negative, that of the row after it is one less; b = -128 has no room.
    """
    borrowed = rows.copy()
    whole = len(rows) // 2 * 2
    borrowed[1:whole:2] -= rows[0:whole:2] < 0
    return pairs_of_rows(borrowed)


def halves_fit(rows: Int8, sums: Sums) -> bool:
    """Whether sums can be told from halves: 24 bits for those of every second row."""
    return int(rows.min()) > -128 and sums.largest < 1 << 23


def strips_of_rows(rows: Int8) -> Int8:
    """(channels, taps) as [channels / 4][taps / 16][4][16], and rests: c/helium/ek_strips.h."""
    whole, taps = len(rows) // BLOCK * BLOCK, rows.shape[1]
    strips = np.split(rows[:whole].reshape(-1, BLOCK, taps), range(VECTOR, taps, VECTOR), axis=2)
    sizes = ((len(strip), BLOCK * strip.shape[2]) for strip in strips)
    blocks = [strip.reshape(size) for strip, size in zip(strips, sizes, strict=True)]
    read_on = np.zeros(-taps % VECTOR, np.int8)
    flat = np.concatenate(blocks, axis=1).reshape(-1)
    return np.concatenate([flat, rows[whole:].reshape(-1), read_on])


def sixteens_of_rows(rows: Int8) -> Int8:
    """(channels, taps) as [channels / 16][taps][16], filled up: c/helium/ek_helium_depthwise.h."""
    filled = np.pad(rows, ((0, -len(rows) % VECTOR), (0, 0)))
    return np.ascontiguousarray(filled.reshape(-1, VECTOR, rows.shape[1]).transpose(0, 2, 1))


def vector_lanes(channels: int) -> list[int]:
    """The channel of each place in the vectors' order, whole sixteens; `channels` where none is."""
    starts = range(0, channels, VECTOR)
    return [min(start + lane, channels) for start in starts for lane in _LANES]


def pairs_of_taps_fit(rows: Int8) -> bool:
    """Whether the sum of two products fits 16 bits: not where both weights are -128."""
    even, odd = rows[:, 0::2], rows[:, 1::2]
    return not ((even[:, : odd.shape[1]] == -128) & (odd == -128)).any()


def pair_count(taps: int) -> int:
    """Pairs of taps in a column that holds `taps`."""
    return -(-taps // QUAD) * 2


def taps_3x3(rows: Int8) -> Int8:
    """(channels, 9) in the order that the dsp kernel of 3 by 3 windows takes apart."""
    order = [3 * row + column for row, column in _TAPS_3X3]
    return rows[:, order]
