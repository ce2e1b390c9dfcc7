"""What a delta is made of: segments that rebuild a file out of another, coded bit by bit.

A file is rebuilt from its beginning in segments, each by one method:

- BASE: bytes of the base, as they are.
- TURNED: bytes that the new file already has, read as an array (outer, rows, columns) of elements
  and written as (outer, columns, rows): one format's weights out of another's.
- TENSOR: elements of 1, 2 or 4 bytes (little-endian), each the base's plus a difference, modulo
  2^8, 2^16 or 2^32. A difference's magnitude is a number whose models are chosen by how large
  differences were lately; its sign has models by the sign of the base's element.
- TEXT: bytes that follow a stretch of the base. Each is the next one there (a hit), or it
  replaces that, or is put before it; or some of the base are left out.
- LITERAL: bytes of their own, with models by their place in an element and what stood there before
  (or by a byte some way back), or hits of what followed the same four bytes earlier in the segment.

The functions serve reading and writing: see `range_coder`. None holds more than it is given.
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .range_coder import BYTE_MODELS, NUMBER_LENGTHS, NUMBER_PREFIXES, Coder

CHUNK = 512  # bytes held at once
MOST_BACK = 16  # bytes
RING = 8192  # bytes of a LITERAL that it looks back upon
HEADS = 2048  # places in them that are found again
MISSES = 8  # in a row, after which a place is given up
LARGEST_TURN = 8192  # bytes of one outer element of TURNED
WIDTHS = (1, 2, 4)  # bytes of an element


class Method(enum.IntEnum):
    """How a segment comes to its bytes; the number is its code."""

    BASE = 0
    TURNED = 1
    TENSOR = 2
    TEXT = 3
    LITERAL = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` bytes of the new file.

    `offset`: where BASE, TENSOR and TEXT begin in the base, TURNED in the new file. `extent`: bytes
    read there: for TEXT any number, for LITERAL none, else `length`. `width`: bytes of an element.
    `steady`: a TENSOR whose models do not look at what came lately. `rows`, `columns`: of TURNED.
    `back`: a LITERAL whose models look at the byte that many before, not at its place; 0: none.
    """

    method: Method
    length: int
    offset: int = 0
    extent: int = 0
    width: int = 1
    steady: bool = False
    rows: int = 1
    columns: int = 1
    back: int = 0

    @property
    def follows(self) -> bool:
        """Whether it reads the base, so that the next segment is told from where it ended."""
        return self.method in (Method.BASE, Method.TENSOR, Method.TEXT)


@dataclass(frozen=True, slots=True)
class Edit:
    """One step of TEXT: a hit; or else `kind` 0 replaces a byte, 1 puts one in, n > 1 leaves out
    n - 1 bytes of the base."""

    hit: bool = False
    kind: int = 0
    byte: int = 0


# Where the models of each purpose begin -----------------------------------------------------------

_FIELDS = 9  # numbers in a segment's head that have models of their own
_CLASSES = 35  # of recent magnitudes; the last one is for steady tensors
_MOST_HITS = 15  # in a row that a LITERAL tells apart
_HISTORIES = 16  # of the last four hits and misses
_BYTE_CLASSES = 4  # of a byte by its two highest bits

_HEADS = 0
_METHODS = _HEADS + _FIELDS * (NUMBER_LENGTHS + NUMBER_PREFIXES)
_HITS = _METHODS + BYTE_MODELS
_KINDS = _HITS + _HISTORIES * 8
_ECHOES = _KINDS + NUMBER_LENGTHS + NUMBER_PREFIXES
_LITERALS = _ECHOES + _MOST_HITS + 1 + MISSES
_TEXTS = _LITERALS + max(WIDTHS) * _BYTE_CLASSES * BYTE_MODELS
_TENSORS = _TEXTS + _BYTE_CLASSES * BYTE_MODELS
_TENSOR_MODELS = _CLASSES * NUMBER_LENGTHS + NUMBER_PREFIXES + 2
MODELS = _TENSORS + len(WIDTHS) * _TENSOR_MODELS


def code_head(coder: Coder, segment: Segment, follows: int) -> Segment:
    """A segment's description; `follows` is where the last one ended in the base.

    A method that there is not comes back as a ValueError of `Method`.
    """
    method = Method(coder.byte(_METHODS, segment.method) & 7)
    length = _field(coder, 0, segment.length)
    offset = extent = 0
    width, steady, rows, columns, back = 1, False, 1, 1, 0
    if method is Method.TURNED:
        offset = _field(coder, 1, segment.offset)
    elif method is not Method.LITERAL:
        offset = follows + _signed(_field(coder, 2, _unsigned(segment.offset - follows)))
    if method is Method.TEXT:
        extent = length + _signed(_field(coder, 3, _unsigned(segment.extent - segment.length)))
    elif method is not Method.LITERAL:
        extent = length
    if method not in (Method.BASE, Method.TEXT):
        width = _field(coder, 4, segment.width)
    if method is Method.TENSOR:
        steady = bool(_field(coder, 5, int(segment.steady)))
    if method is Method.TURNED:
        rows = _field(coder, 6, segment.rows)
        columns = _field(coder, 7, segment.columns)
    if method is Method.LITERAL:
        back = _field(coder, 8, segment.back)
    return Segment(method, length, offset, extent, width, steady, rows, columns, back)


def tensor_chunk(
    coder: Coder, segment: Segment, lately: int, old: Sequence[int], new: Sequence[int]
) -> tuple[list[int], int]:
    """Elements of the new file from as many of the base, both without sign, and `lately` anew.

    `lately` begins at 0 in each segment.
    """
    bits = 8 * segment.width
    mask, sign_bit = (1 << bits) - 1, bits - 1
    lengths = _TENSORS + WIDTHS.index(segment.width) * _TENSOR_MODELS
    prefixes = lengths + _CLASSES * NUMBER_LENGTHS
    signs = prefixes + NUMBER_PREFIXES
    steady = lengths + (_CLASSES - 1) * NUMBER_LENGTHS
    found = []
    for before, after in zip(old, new, strict=True):
        difference = after - before & mask
        negative = difference >> sign_bit
        first = steady if segment.steady else lengths + _class_of(lately) * NUMBER_LENGTHS
        size = coder.number(first, prefixes, (mask + 1 - difference) if negative else difference)
        if size:
            negative = coder.bit(signs + (before >> sign_bit), negative)
            found.append(before - size & mask if negative else before + size & mask)
        else:
            found.append(before)
        lately += (min(size, 255) << 4) - (lately >> 4)
    return found, lately


def text(coder: Coder, length: int, base: Iterator[int], edits: Iterable[Edit]) -> Iterator[int]:
    """`length` bytes that follow `base`, of which no more than it has is taken.

    Raises ValueError where more of the base is left out than there is.
    """
    history = produced = 0
    steps = iter(edits)
    expected = next(base, None)
    while produced < length:
        step = next(steps)
        if expected is not None:
            hit = coder.bit(_HITS + (history << 3 | expected >> 5), int(step.hit))
            history = (history << 1 | hit) & _HISTORIES - 1
            if hit:
                yield expected
                produced += 1
                expected = next(base, None)
                continue
            kind = coder.number(_KINDS, _KINDS + NUMBER_LENGTHS, step.kind)
            if kind > 1:
                expected = _left_out(base, kind - 1)
                continue
        else:
            kind = 1
        yield coder.byte(_TEXTS + ((expected or 0) >> 6) * BYTE_MODELS, step.byte)
        produced += 1
        if kind == 0:
            expected = next(base, None)


def literal(coder: Coder, segment: Segment, data: Sequence[int]) -> Iterator[int]:
    """Bytes of their own; what they repeat of themselves is a hit."""
    width, back = segment.width, segment.back
    before, echo = [0] * width, _Echo()
    for index in range(segment.length):
        place, byte = index % width, data[index] if data else 0
        expected = echo.expected
        hit = expected >= 0 and coder.bit(_ECHOES + echo.luck, int(byte == expected))
        if hit:
            byte = expected
        else:
            plane = echo.byte(back) >> 4 if back else place * _BYTE_CLASSES + (before[place] >> 6)
            byte = coder.byte(_LITERALS + plane * BYTE_MODELS, byte)
        before[place] = byte
        echo.put(byte, bool(hit))
        yield byte


class _Echo:
    """The last RING bytes of a LITERAL, and which byte follows where its last four stood before.

    A place is found by its hash, held to the bytes themselves, and followed until it misses.
    """

    def __init__(self) -> None:
        self.expected = -1  # the next byte, where there is a place to follow
        self._ring = bytearray(RING)
        self._heads = array("H", [0]) * HEADS
        self._at = self._follow = self._word = 0
        self.luck = _MOST_HITS + MISSES  # hits in a row up to _MOST_HITS, misses above that

    def byte(self, back: int) -> int:
        """The byte that came `back` before the next one, up to MOST_BACK; 0 where none did."""
        return self._ring[self._at - back]

    def put(self, byte: int, hit: bool) -> None:
        """The byte that came, and whether it was the expected one."""
        self._ring[self._at] = byte
        self._at = (self._at + 1) % RING
        self._word = self._word << 8 & 0xFFFFFFFF | byte
        head = (self._word * 0x9E3779B1 & 0xFFFFFFFF) >> 32 - HEADS.bit_length() + 1
        if self.expected >= 0:
            self._follow = (self._follow + 1) % RING
        if hit:
            self.luck = 1 if self.luck > _MOST_HITS else min(self.luck + 1, _MOST_HITS)
        else:
            self.luck = max(self.luck, _MOST_HITS) + 1
            if self._four_before(self._heads[head]) == self._word:
                self._follow, self.luck = self._heads[head], 0
        self._heads[head] = self._at
        known = self.luck <= _MOST_HITS + MISSES
        self.expected = self._ring[self._follow] if known else -1

    def _four_before(self, place: int) -> int:
        ring = self._ring
        return (
            ring[place - 4] << 24 | ring[place - 3] << 16 | ring[place - 2] << 8 | ring[place - 1]
        )


def _left_out(base: Iterator[int], count: int) -> int | None:
    """What the base has after `count` bytes, the one at hand among them."""
    for _ in range(count - 1):
        if next(base, None) is None:
            raise ValueError("more is left out than there is")
    return next(base, None)


def _class_of(lately: int) -> int:
    """Two classes for each power of two of sixteen times the mean of some sixteen magnitudes."""
    length = lately.bit_length()
    return 2 * length + (lately >> length - 2 & 1) if length > 1 else length


def _field(coder: Coder, index: int, value: int) -> int:
    first = _HEADS + index * (NUMBER_LENGTHS + NUMBER_PREFIXES)
    return coder.number(first, first + NUMBER_LENGTHS, value)


def _unsigned(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _signed(value: int) -> int:
    return value >> 1 if not value & 1 else -(value + 1 >> 1)
