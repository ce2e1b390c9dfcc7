"""A KLL sketch as bytes, in the layout of Apache DataSketches' `kll_floats_sketch`.

Little-endian. Eight bytes say what follows: words in front of the items (2 or 5), version, family,
flags, k, m. Empty sketches end there and a single value follows at once; else n, the smallest k,
the number of levels, where each begins among a full sketch's items, minimum, maximum, then the
items, lowest level first.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Sequence

import numpy as np

from .contract import FloatArray
from .errors import ProtocolError
from .kll import MAX_K, MIN_K, MIN_WIDTH, KllSketch, capacity

MAX_LEVELS = 60
MAX_N = 1 << 53  # nobody has seen more, and sums of many such still fit into 64 bits
_FAMILY = 15
_EMPTY, _ZERO_SORTED, _SINGLE = 1, 2, 4
_HEAD = struct.Struct("<BBBBHBB")
_FULL = struct.Struct("<QHBB")
_ENDS = struct.Struct("<ff")
_SHORT_WORDS, _FULL_WORDS = 2, 5


def encode_sketch(sketch: KllSketch) -> bytes:
    """The bytes; the same for the same sketch."""
    flags = _ZERO_SORTED * sketch.zero_sorted
    if sketch.n == 0:
        return _HEAD.pack(_SHORT_WORDS, 1, _FAMILY, flags | _EMPTY, sketch.k, MIN_WIDTH, 0)
    items = b"".join(level.astype("<f4").tobytes() for level in sketch.levels)
    if sketch.n == 1:
        head = _HEAD.pack(_SHORT_WORDS, 2, _FAMILY, flags | _SINGLE, sketch.k, MIN_WIDTH, 0)
        return head + items
    count = len(sketch.levels)
    starts, at = [], capacity(sketch.k, count) - sketch.retained
    for level in sketch.levels:
        starts.append(at)
        at += len(level)
    return b"".join(
        (
            _HEAD.pack(_FULL_WORDS, 1, _FAMILY, flags, sketch.k, MIN_WIDTH, 0),
            _FULL.pack(sketch.n, sketch.min_k, count, 0),
            struct.pack(f"<{count}I", *starts),
            _ENDS.pack(sketch.minimum, sketch.maximum),
            items,
        )
    )


def decode_sketch(data: bytes) -> KllSketch:
    """The sketch in bytes of ours or of DataSketches.

    Raises:
        ProtocolError: they are no such sketch, or one that no stream can have.
    """
    try:
        return _decode(data)
    except (struct.error, ValueError) as error:
        raise _bad("it is cut off") from error


def _decode(data: bytes) -> KllSketch:
    words, version, family, flags, k, width, _ = _HEAD.unpack_from(data)
    if family != _FAMILY or width != MIN_WIDTH or not MIN_K <= k <= MAX_K:
        raise _bad("it is of another kind")
    zero_sorted = bool(flags & _ZERO_SORTED)
    if flags & _EMPTY:
        nothing = (np.empty(0, np.float32),)
        return _whole(data, 8, KllSketch(k, k, 0, math.nan, math.nan, nothing, zero_sorted))
    if flags & _SINGLE:
        item = np.frombuffer(data, "<f4", 1, 8).astype(np.float32)
        value = float(item[0])
        if math.isnan(value):
            raise _bad("it holds what is no number")
        return _whole(data, 12, KllSketch(k, k, 1, value, value, (item,), zero_sorted))
    if (words, version) != (_FULL_WORDS, 1):
        raise _bad(f"its version is {version}")
    n, min_k, count, _ = _FULL.unpack_from(data, _HEAD.size)
    if not 1 <= count <= MAX_LEVELS:
        raise _bad(f"it has {count} levels")
    at = _HEAD.size + _FULL.size
    starts = (*struct.unpack_from(f"<{count}I", data, at), capacity(k, count))
    minimum, maximum = _ENDS.unpack_from(data, at + 4 * count)
    at += 4 * count + _ENDS.size
    places = [start - starts[0] for start in starts]
    if any(end < start for start, end in itertools.pairwise(places)):
        raise _bad("its levels overlap")
    items = np.frombuffer(data, "<f4", places[-1], at).astype(np.float32)
    levels = tuple(items[start:end] for start, end in itertools.pairwise(places))
    found = KllSketch(k, min_k, n, minimum, maximum, levels, zero_sorted)
    _check_items(found, items, places)
    return _whole(data, at + 4 * len(items), found)


def _whole(data: bytes, size: int, sketch: KllSketch) -> KllSketch:
    if len(data) != size:
        raise _bad(f"it has {len(data)} bytes where {size} were meant")
    return sketch


def _check_items(sketch: KllSketch, items: FloatArray, places: Sequence[int]) -> None:
    """What DataSketches takes on trust. `places`: where levels begin, and the end."""
    if not len(items) or not MIN_K <= sketch.min_k <= sketch.k:
        raise _bad("it has no items, or a smallest k that it cannot have")
    # Of items with a nan the least is nan, which is at least nothing.
    if not (items.min() >= sketch.minimum and items.max() <= sketch.maximum):
        raise _bad("an item lies outside its range, or is no number")
    weight = sum(len(level) << height for height, level in enumerate(sketch.levels))
    if weight != sketch.n or weight >= MAX_N:
        raise _bad("its items do not stand for as many values as it says")
    free = 0 if sketch.zero_sorted else places[1]  # as many may be in any order
    falls = np.flatnonzero(items[free + 1 :] < items[free:-1]) + free + 1
    if not set(falls.tolist()).issubset(places):
        raise _bad("a level is not in order")


def _bad(why: str) -> ProtocolError:
    return ProtocolError(f"a sketch cannot be read: {why}")
