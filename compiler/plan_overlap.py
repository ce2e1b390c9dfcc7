"""`Overlap`: at which distances a block that is written may lie from one that is read.

A kernel is a sequence of steps; in each it reads a range of its input, then writes a range of its
output. Output and input may share memory as long as no step writes what a later step reads. With
`delta` = offset of the output - offset of the input that holds where

    delta + end of what step t writes    <= start of what any later step reads, for all t, or
    delta + start of what step t writes  >= end of what any later step reads, for all t.

(The first is what TensorFlow Lite Micro's and TVM's planners know as overlapping or diagonal
allocation; here the distance is exact for the kernel's own order.) A kernel that works channel by
channel on pixels of equal size touches one residue of addresses at a time, so that any multiple
of the pixel is safe as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

_NEVER = 1 << 40  # beyond any address


@dataclass(frozen=True, slots=True)
class Overlap:
    """Allowed: delta <= `highest`, delta >= `lowest`, or delta a multiple of `modulus` (0: none).

    Distances are bytes.
    """

    highest: int
    lowest: int
    modulus: int = 0

    def allows(self, delta: int) -> bool:
        """Whether nothing is overwritten before its last read at this distance."""
        if delta <= self.highest or delta >= self.lowest:
            return True
        return self.modulus > 0 and delta % self.modulus == 0

    def times(self, count: int) -> Overlap:
        """The same where every byte of both is an element of `count` bytes."""
        if self == ANYWHERE:
            return self
        return Overlap(self.highest * count, self.lowest * count, self.modulus * count)

    def on_grid(self, grid: int) -> Overlap:
        """The part of it that the planner uses: multiples of `grid`, the output never higher than
        its input by less than `lowest`."""
        return Overlap(
            min(self.highest, 0) // grid * grid,
            -(-max(self.lowest, 0) // grid) * grid,
            math.lcm(self.modulus, grid) if self.modulus else 0,
        )


ANYWHERE = Overlap(0, 0, 1)
"""All is read before anything is written."""


def apart(read_bytes: int, written_bytes: int) -> Overlap:
    """No byte is shared."""
    return Overlap(-written_bytes, read_bytes)


@dataclass(frozen=True, slots=True)
class Steps:
    """Bytes [start, end) that each step reads and writes, as hulls; arrays (steps,).

    A step that reads nothing has `NOTHING` as its ends.
    """

    read_start: Int64
    read_end: Int64
    write_start: Int64
    write_end: Int64


NOTHING = (_NEVER, -_NEVER)


def overlap_of(steps: Steps) -> Overlap:
    """The distances that the order of reads and writes allows."""
    later_start = np.minimum.accumulate(steps.read_start[::-1])[::-1][1:]
    later_end = np.maximum.accumulate(steps.read_end[::-1])[::-1][1:]
    some = later_start < _NEVER
    if not some.any():
        return ANYWHERE
    highest = (later_start - steps.write_end[:-1])[some].min()
    lowest = (later_end - steps.write_start[:-1])[some].max()
    return Overlap(int(highest), int(lowest))
