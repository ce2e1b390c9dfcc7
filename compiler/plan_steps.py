"""The order in which the kernels of c/ read and write, as `Steps` in bytes of int8 tensors.

Each function names the loop it mirrors. A kernel whose loops change must change here too: the
tests run the C itself with its operands at the closest distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .ops import Pair
from .plan_overlap import NOTHING, Int64, Steps


@dataclass(frozen=True, slots=True)
class Slide:
    """How a window slides over an image (height, width, channels)."""

    image: tuple[int, int, int]
    out: tuple[int, int, int]
    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair  # padding at the top and at the left

    @property
    def plane(self) -> Pair:
        """Rows and columns that windows reach over, padding included."""
        height, width = (
            (size - 1) * stride + (taps - 1) * dilation + 1
            for size, stride, taps, dilation in zip(
                self.out[:2], self.stride, self.kernel, self.dilation, strict=True
            )
        )
        return height, width

    @property
    def transposed(self) -> Slide:
        """Rows and columns in each other's place."""
        (height, width, channels), (out_height, out_width, made) = self.image, self.out
        pairs = (pair[::-1] for pair in (self.kernel, self.stride, self.dilation, self.before))
        return Slide((width, height, channels), (out_width, out_height, made), *pairs)

    @property
    def upright(self) -> Slide:
        """An image of one row as one of one column, where that is the same memory."""
        if (self.image[0], self.out[0], self.kernel[0], self.before[0]) != (1, 1, 1, 0):
            return self
        (_, length, channels), (_, out_length, made) = self.image, self.out
        pairs = (pair[::-1] for pair in (self.kernel, self.stride, self.dilation, self.before))
        return Slide((length, 1, channels), (out_length, 1, made), *pairs)


def by_element(size: int) -> Steps:
    """Element i is written once all operands' element i was read last: ek_add, ek_softmax."""
    index = np.arange(size)
    return Steps(index, index + 1, index, index + 1)


def by_channels_of_windows(slide: Slide) -> Steps:
    """Pixel by pixel, one channel after the other: ek_average_pool2d, ek_max_pool2d."""
    start, last = _windows(slide)
    channel = np.arange(slide.out[2])
    write = np.arange(start.size * channel.size)
    seen = (last >= 0)[:, None]
    return Steps(
        np.where(seen, start[:, None] + channel, NOTHING[0]).reshape(-1),
        np.where(seen, last[:, None] + channel + 1, NOTHING[1]).reshape(-1),
        write,
        write + 1,
    )


def by_groups_of_windows(slide: Slide, group: int) -> Steps:
    """`group` pixels are gathered, then written; the rest one by one: ek_conv2d (2),
    ek_dsp_conv2d and ek_dsp_pointwise (4), ek_helium_conv2d and ek_helium_pointwise (1)."""
    start, last = _windows(slide)
    pixels = start.size
    whole = pixels // group * group
    first = np.concatenate([np.arange(0, whole, group), np.arange(whole, pixels)])
    end = np.append(first[1:], pixels)
    channels = slide.out[2]
    read_end = np.where(last >= 0, last + slide.image[2], NOTHING[1])
    return Steps(
        np.minimum.reduceat(np.where(last >= 0, start, NOTHING[0]), first),
        np.maximum.reduceat(read_end, first),
        first * channels,
        end * channels,
    )


def by_blocks_of_rows(
    rows: int, in_size: int, out_size: int, together: int, block: int = 4
) -> Steps:
    """`together` rows are read again for each `block` of their outputs, what is left of them one
    by one: ek_pointwise (2), ek_fully_connected (1)."""
    whole = rows // together * together
    firsts = np.concatenate([np.arange(0, whole, together), np.arange(whole, rows)])
    ends = np.append(firsts[1:], rows)
    blocks = out_size // block * block
    low = np.concatenate([np.arange(0, blocks, block), np.arange(blocks, out_size)])
    return _parts_of_rows(firsts, ends, in_size, out_size, low)


def by_fours_of_rows(rows: int, in_size: int, out_size: int) -> Steps:
    """A row is read again for each four of its outputs, and for what is left of them:
    ek_helium_fully_connected."""
    row = np.arange(rows)
    return _parts_of_rows(row, row + 1, in_size, out_size, np.arange(0, out_size, 4))


def _parts_of_rows(firsts: Int64, ends: Int64, in_size: int, out_size: int, low: Int64) -> Steps:
    """Rows first..end are read for each part of their outputs, which begin at `low`."""
    high = np.append(low[1:], out_size)
    ones = np.ones_like(low)
    return Steps(
        np.outer(firsts * in_size, ones).reshape(-1),
        np.outer(ends * in_size, ones).reshape(-1),
        np.add.outer(firsts * out_size, low).reshape(-1),
        np.add.outer((ends - 1) * out_size, high).reshape(-1),
    )


def by_rows(rows: int, in_size: int, out_size: int) -> Steps:
    """A row is read whole, then written: ek_dsp_fully_connected."""
    row = np.arange(rows)
    return Steps(row * in_size, (row + 1) * in_size, row * out_size, (row + 1) * out_size)


def to_column(rows: int, in_size: int) -> Steps:
    """Four bytes of each row become eight of one column: ek_dense_column, and its scratch."""
    start = np.arange(0, in_size, 4)
    read = np.add.outer(np.arange(rows) * in_size, start).reshape(-1)
    end = np.add.outer(np.arange(rows) * in_size, np.minimum(start + 4, in_size)).reshape(-1)
    write = np.tile(2 * start, rows)
    return Steps(read, end, write, write + 8)


def by_bands(slide: Slide) -> Steps:
    """Rows are copied when a window reaches them, then a row of outputs is written:
    ek_helium_depthwise."""
    height, width, channels = slide.image
    out_height, out_width, _ = slide.out
    first = np.arange(out_height) * slide.stride[0] - slide.before[0]
    after = first + (slide.kernel[0] - 1) * slide.dilation[0] + 1
    start = np.maximum(np.maximum(first, np.append(0, after[:-1])), 0)
    end = np.minimum(after, height)
    columns = min(width, max(slide.plane[1] - slide.before[1], 0))
    some = start < end
    row = np.arange(out_height) * out_width * channels
    return Steps(
        np.where(some, start * width * channels, NOTHING[0]),
        np.where(some, ((end - 1) * width + columns) * channels, NOTHING[1]),
        row,
        row + out_width * channels,
    )


def by_padded_rows(image: tuple[int, int, int], top: int, left: int, right: int) -> Steps:
    """Zeros and copies in the order of the output, byte by byte: ek_pad.

    Zeros are written before the byte that follows them is read, so the last ones, after all reads,
    do not matter."""
    height, width, channels = image
    row, outer = width * channels, (left + width + right) * channels
    index = np.arange(height * row)
    write = top * outer + left * channels + index // row * outer + index % row
    # The step before a row's first byte writes the zeros that stand before it.
    fill = np.concatenate([np.zeros(1, np.int64), write[:-1] + 1])
    ends = np.stack([write, write + 1], 1).reshape(-1)
    starts = np.stack([fill, write], 1).reshape(-1)
    reads = np.stack([np.full_like(index, NOTHING[0]), index], 1).reshape(-1)
    read_ends = np.stack([np.full_like(index, NOTHING[1]), index + 1], 1).reshape(-1)
    return Steps(reads, read_ends, starts, ends)


def _windows(slide: Slide) -> tuple[Int64, Int64]:
    """Offsets of the first and the last pixel that each window sees; last is -1 where none."""
    rows = [_inside(slide, axis) for axis in (0, 1)]
    (top, bottom), (left, right) = rows
    width, channels = slide.image[1], slide.image[2]
    start = (top[:, None] * width + left) * channels
    last = (bottom[:, None] * width + right) * channels
    seen = (bottom >= 0)[:, None] & (right >= 0)
    return start.reshape(-1), np.where(seen, last, -1).reshape(-1)


def _inside(slide: Slide, axis: int) -> tuple[Int64, Int64]:
    """First and last row (or column) of each window that lies in the image; -1 where none."""
    taps = np.arange(slide.kernel[axis]) * slide.dilation[axis] - slide.before[axis]
    at = np.arange(slide.out[axis])[:, None] * slide.stride[axis] + taps
    within = (at >= 0) & (at < slide.image[axis])
    first = np.where(within, at, 1 << 30).min(axis=1)
    last = np.where(within, at, -1).max(axis=1)
    return np.where(last >= 0, first, -1), last
