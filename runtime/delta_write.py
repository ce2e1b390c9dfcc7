"""Writing a delta: segments that were planned, coded as small as their methods allow."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np

from .delta import ELEMENTS, HEADER, MAGIC
from .delta_codec import (
    CHUNK,
    MODELS,
    Edit,
    Method,
    Segment,
    code_head,
    literal,
    tensor_chunk,
    text,
)
from .range_coder import Models, RangeEncoder

_TOKENS = re.compile(rb"[0-9A-Za-z_]+|.", re.DOTALL)
_MOST_PAIRS = 4_000_000  # of tokens that are compared; longer texts are laid side by side
_HIT = Edit(hit=True)
_LITERALS = ((1, 0), (4, 0), (1, 4))  # widths and bytes back that are tried
_SAMPLE = 16384  # bytes of a segment by which its forms are compared
_WORTH_COMPARING = 0.2  # of its bytes, that TEXT may take before other methods are tried


def write_delta(base: bytes, new: bytes, segments: Sequence[Segment]) -> bytes:
    """The delta that rebuilds `new` from `base` by `segments`, which cover it in order.

    A planned TENSOR becomes steady, and TEXT or LITERAL one of another width, where that is
    smaller.
    """
    writer = _Writer(base, new)
    for segment in segments:
        writer.add(segment)
    return HEADER.pack(MAGIC, len(base), len(new)) + writer.coder.finish()


class _Writer:
    """Segments so far."""

    def __init__(self, base: bytes, new: bytes) -> None:
        self.coder = RangeEncoder(Models(MODELS))
        self._base = base
        self._new = new
        self._written = 0
        self._follows = 0

    def add(self, segment: Segment) -> None:
        """The next bytes of the new file."""
        forms = tuple(_forms(segment))
        if len(forms) > 1:
            segment = self._smallest(forms)
        self._code(self.coder, segment)
        self._written += segment.length
        if segment.follows:
            self._follows = segment.offset + segment.extent

    def _smallest(self, forms: Sequence[Segment]) -> Segment:
        """The form that takes the fewest bytes for a sample from the beginning."""
        best, least = forms[0], math.inf
        for form in forms:
            sample = replace(
                form, length=min(form.length, _SAMPLE), extent=min(form.extent, _SAMPLE)
            )
            coder = self.coder.fork()
            self._code(coder, sample)
            taken = len(coder.out) - len(self.coder.out)
            if taken < least:
                best, least = form, taken
            if form.method is Method.TEXT and taken < _WORTH_COMPARING * sample.length:
                break
        return best

    def _code(self, coder: RangeEncoder, segment: Segment) -> None:
        code_head(coder, segment, self._follows)
        new = self._new[self._written : self._written + segment.length]
        old = self._base[segment.offset : segment.offset + segment.extent]
        if segment.method is Method.TENSOR:
            _code_tensor(coder, segment, old, new)
        elif segment.method is Method.TEXT:
            steps = edits(old, new)
            _run(text(coder, len(new), iter(old), steps))
        elif segment.method is Method.LITERAL:
            _run(literal(coder, segment, new))


def _forms(segment: Segment) -> Iterator[Segment]:
    """Segments for the same bytes, of which the smallest is taken."""
    if segment.method is Method.TENSOR:
        yield segment
        yield replace(segment, steady=True)
        return
    if segment.method is not Method.LITERAL:
        yield segment
    if segment.method in (Method.LITERAL, Method.TEXT):
        for width, back in _LITERALS:
            yield Segment(Method.LITERAL, segment.length, width=width, back=back)


def _code_tensor(coder: RangeEncoder, segment: Segment, old: bytes, new: bytes) -> None:
    kind, lately = ELEMENTS[segment.width], 0
    for start in range(0, len(new), CHUNK):
        part = slice(start, start + CHUNK)
        pair = (np.frombuffer(data[part], kind).tolist() for data in (old, new))
        _, lately = tensor_chunk(coder, segment, lately, *pair)


def edits(old: bytes, new: bytes) -> Iterator[Edit]:
    """Steps of TEXT that give `new`: lines are matched, then words, then bytes one by one."""
    return _matched(old.splitlines(keepends=True), new.splitlines(keepends=True), _by_words)


Level = Callable[[Sequence[bytes], Sequence[bytes]], Iterator[Edit]]


def _matched(before: Sequence[bytes], after: Sequence[bytes], differing: Level) -> Iterator[Edit]:
    """Hits where parts are equal, `differing` for the parts between."""
    if len(before) * len(after) > _MOST_PAIRS:
        yield from differing(before, after)
        return
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            yield from itertools.repeat(_HIT, sum(map(len, after[j1:j2])))
        else:
            yield from differing(before[i1:i2], after[j1:j2])


def _by_words(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[Edit]:
    were, are = (_TOKENS.findall(b"".join(parts)) for parts in (before, after))
    return _by_bytes(were, are) if len(were) == len(are) else _matched(were, are, _by_bytes)


def _by_bytes(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[Edit]:
    if len(before) == len(after):
        for pair in zip(before, after, strict=True):
            yield from _beside(*pair)
    else:
        yield from _beside(b"".join(before), b"".join(after))


def _beside(old: bytes, new: bytes) -> Iterator[Edit]:
    """Byte by byte; what is longer is put in, or left out, at the end."""
    common = min(len(old), len(new))
    for was, byte in zip(old, new, strict=False):
        yield _HIT if was == byte else Edit(kind=0, byte=byte)
    for byte in new[common:]:
        yield Edit(kind=1, byte=byte)
    if len(old) > common:
        yield Edit(kind=len(old) - common + 1)


def _run(steps: Iterator[int]) -> None:
    for _ in steps:
        pass
