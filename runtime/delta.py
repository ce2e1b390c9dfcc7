"""A new bundle out of one that is there and a delta: streamed, in memory that does not grow.

    magic "EKD1" · u32 bytes of the base · u32 bytes of the new file (both little-endian) ·
    range-coded segments (`delta_codec`) until the new file is complete

Whoever applies a delta compares the digest of what came out with the signed one: nothing here
trusts a delta further than its bounds. Work is bounded too: every segment gives at least a byte.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from .delta_codec import (
    CHUNK,
    LARGEST_TURN,
    MODELS,
    MOST_BACK,
    WIDTHS,
    Edit,
    Method,
    Segment,
    code_head,
    literal,
    tensor_chunk,
    text,
)
from .errors import DeltaError
from .range_coder import Models, RangeDecoder

MAGIC = b"EKD1"
HEADER = struct.Struct("<4sII")
ELEMENTS = {1: "<u1", 2: "<u2", 4: "<u4"}
WORKING_BYTES = 64 << 10
"""What applying any delta takes at most, whatever the sizes of base and bundle: models, one chunk
of each file and their elements; the tests add them up."""


def apply_delta(
    base: BinaryIO,
    delta: Callable[[int], bytes],
    out: BinaryIO,
    sizes: tuple[int, int],
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Write the new file to `out`, open for reading and writing, from its beginning.

    `delta` reads that many bytes, fewer at the end. `sizes` are those of base and new file as they
    are signed. `pause` is called between chunks, and what it raises ends the work.

    Raises:
        DeltaError: the delta is damaged, or not one for files of these sizes.
        OSError: a file cannot be read or written.
    """
    head = delta(HEADER.size)
    if len(head) != HEADER.size or head[:4] != MAGIC:
        raise DeltaError("not a delta")
    if HEADER.unpack(head)[1:] != sizes:
        raise DeltaError("the delta is not one between files of these sizes")
    _Applying(base, RangeDecoder(Models(MODELS), delta), out, sizes, pause).run()


class _Applying:
    """One pass over the segments."""

    def __init__(
        self,
        base: BinaryIO,
        coder: RangeDecoder,
        out: BinaryIO,
        sizes: tuple[int, int],
        pause: Callable[[], None],
    ) -> None:
        self._base = base
        self._coder = coder
        self._out = out
        self._base_bytes, self._new_bytes = sizes
        self._pause = pause
        self._written = 0
        self._follows = 0

    def run(self) -> None:
        """Until the new file is complete."""
        nothing = Segment(Method.BASE, 0)
        try:
            while self._written < self._new_bytes:
                segment = code_head(self._coder, nothing, self._follows)
                self._check(segment)
                for data in _METHODS[segment.method](self, segment):
                    self._out.seek(self._written)
                    self._out.write(data)
                    self._written += len(data)
                    self._pause()
                if segment.follows:
                    self._follows = segment.offset + segment.extent
        except ValueError as error:  # no such method, or more left out than there is
            raise DeltaError(f"the delta is damaged: {error}") from error
        self._coder.finish()

    def _check(self, segment: Segment) -> None:
        """Raise DeltaError where a segment leaves its files or is no whole number of elements."""
        element = segment.width * segment.rows * segment.columns
        known = self._written if segment.method is Method.TURNED else self._base_bytes
        sound = (
            0 < segment.length <= self._new_bytes - self._written
            and 0 <= segment.offset <= known
            and 0 <= segment.extent <= known - segment.offset
            and segment.width in WIDTHS
            and 0 < element <= LARGEST_TURN
            and 0 <= segment.back <= MOST_BACK
            and (segment.length % element == 0 or segment.method is Method.LITERAL)
        )
        if not sound:
            raise DeltaError("the delta is damaged: a segment leaves its files")

    def _from_base(self, segment: Segment) -> Iterator[bytes]:
        for start, count in _chunks(segment.length, CHUNK):
            yield self._old(segment.offset + start, count)

    def _turned(self, segment: Segment) -> Iterator[bytes]:
        element = segment.width * segment.rows * segment.columns
        for start, count in _chunks(segment.length, element):
            self._out.seek(segment.offset + start)
            array = np.frombuffer(self._out.read(count), ELEMENTS[segment.width])
            yield array.reshape(segment.rows, segment.columns).T.tobytes()

    def _tensor(self, segment: Segment) -> Iterator[bytes]:
        kind, lately = ELEMENTS[segment.width], 0
        for start, count in _chunks(segment.length, CHUNK):
            old = np.frombuffer(self._old(segment.offset + start, count), kind).tolist()
            new, lately = tensor_chunk(self._coder, segment, lately, old, old)
            yield np.array(new, kind).tobytes()

    def _text(self, segment: Segment) -> Iterator[bytes]:
        base = self._bytes_of_base(segment)
        return _in_chunks(text(self._coder, segment.length, base, itertools.repeat(Edit())))

    def _literal(self, segment: Segment) -> Iterator[bytes]:
        return _in_chunks(literal(self._coder, segment, ()))

    def _bytes_of_base(self, segment: Segment) -> Iterator[int]:
        for start, count in _chunks(segment.extent, CHUNK):
            yield from self._old(segment.offset + start, count)

    def _old(self, offset: int, count: int) -> bytes:
        self._base.seek(offset)
        data = self._base.read(count)
        if len(data) != count:
            raise DeltaError("the base is shorter than it was")
        return data


_METHODS: dict[Method, Callable[[_Applying, Segment], Iterator[bytes]]] = {
    Method.BASE: _Applying._from_base,
    Method.TURNED: _Applying._turned,
    Method.TENSOR: _Applying._tensor,
    Method.TEXT: _Applying._text,
    Method.LITERAL: _Applying._literal,
}


def _chunks(length: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, size):
        yield start, min(size, length - start)


def _in_chunks(data: Iterator[int]) -> Iterator[bytes]:
    while chunk := bytes(itertools.islice(data, CHUNK)):
        yield chunk
