"""From two bundles to the segments of a delta: what is taken from where.

A member that both bundles have is laid beside the base's of the same name, tensor by tensor where
the maps of both name it. A tensor that an earlier member of the new bundle has is taken from there,
so that the second format of a model costs next to nothing.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .bundle import parse_bundle
from .delta import ELEMENTS
from .delta_codec import LARGEST_TURN, Method, Segment
from .delta_write import write_delta
from .tensor_map import TensorSpan, tensors_of

_LOCAL_HEADER = 30  # bytes before a member's name; stored bundles have no extra fields


def make_delta(base: bytes, new: bytes) -> bytes:
    """The delta from one bundle's bytes to another's.

    Raises:
        BundleError: one of them is no bundle.
    """
    return write_delta(base, new, plan_delta(base, new))


def make_file_delta(base: SpannedFile, new: SpannedFile) -> bytes:
    """The delta between two files whose tensors are known, such as two artifacts."""
    layouts = [
        _Layout(file.data, {"": list(_stretches(0, 0, len(file.data), file.spans))}, _Stretch(0, 0))
        for file in (base, new)
    ]
    return write_delta(base.data, new.data, _merged(_Planner(*layouts).segments()))


def plan_delta(base: bytes, new: bytes) -> list[Segment]:
    """Segments that cover `new` in order. Raises BundleError as `make_delta`."""
    return _merged(_Planner(_laid_out(base, "base"), _laid_out(new, "bundle")).segments())


@dataclass(frozen=True)
class SpannedFile:
    """A file and where its tensors are, in the order of their offsets."""

    data: bytes
    spans: tuple[TensorSpan, ...]


@dataclass(frozen=True)
class _Stretch:
    """Bytes of a file; `span` where they are a tensor."""

    start: int
    end: int
    span: TensorSpan | None = None

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class _Layout:
    """A bundle's file: for each member its header and data in stretches; what follows them all."""

    data: bytes
    members: dict[str, list[_Stretch]]
    rest: _Stretch


def _laid_out(data: bytes, source: str) -> _Layout:
    bundle = parse_bundle(data, source)
    spans = tensors_of(bundle)
    members = {}
    end = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            start = info.header_offset + _LOCAL_HEADER + len(info.filename)
            end = start + info.file_size
            inside = spans.get(info.filename, ())
            members[info.filename] = list(_stretches(info.header_offset, start, end, inside))
    return _Layout(data, members, _Stretch(end, len(data)))


def _stretches(
    header: int, start: int, end: int, spans: Sequence[TensorSpan]
) -> Iterator[_Stretch]:
    """One before, between and after tensors each, so that they alternate."""
    at = header
    for span in spans:
        yield _Stretch(at, start + span.offset)
        at = start + span.offset + span.bytes
        yield _Stretch(start + span.offset, at, span)
    yield _Stretch(at, end)


class _Planner:
    """Goes through the new file once."""

    def __init__(self, base: _Layout, new: _Layout) -> None:
        self._base = base
        self._new = new
        self._made: dict[str, _Stretch] = {}  # tensors of the new file so far, by name

    def segments(self) -> Iterator[Segment]:
        for name, stretches in self._new.members.items():
            yield from self._member(stretches, self._base.members.get(name, []))
        if self._new.rest.length:
            yield self._text(self._new.rest, self._base.rest)

    def _member(self, stretches: list[_Stretch], before: list[_Stretch]) -> Iterator[Segment]:
        known = {old.span.name: at for at, old in enumerate(before) if old.span is not None}
        at = -1  # of the base's last tensor that was met
        for stretch in stretches:
            if stretch.length == 0:
                continue
            if stretch.span is not None:
                index = known.get(stretch.span.name)
                old = None if index is None else before[index]
                at = at if index is None else index
                yield from self._tensor(stretch, stretch.span, old)
                self._made.setdefault(stretch.span.name, stretch)
            elif at + 1 < len(before):
                yield self._text(stretch, before[at + 1])
            else:
                yield Segment(Method.LITERAL, stretch.length)

    def _tensor(
        self, stretch: _Stretch, span: TensorSpan, old: _Stretch | None
    ) -> Iterator[Segment]:
        made = self._made.get(span.name)
        if old is not None and self._bytes(stretch) == self._old_bytes(old):
            yield Segment(Method.BASE, stretch.length, old.start, old.length)
        elif made is not None and (turned := self._from_made(made, stretch)):
            yield from turned
        elif old is not None and old.length == stretch.length and old.span is not None:
            yield Segment(Method.TENSOR, stretch.length, old.start, old.length, span.width)
        else:
            yield Segment(Method.LITERAL, stretch.length, width=span.width)

    def _from_made(self, made: _Stretch, stretch: _Stretch) -> list[Segment]:
        """The same tensor as another member of the new file has it; none where it cannot be had."""
        assert made.span is not None
        assert stretch.span is not None
        there, here = made.span.turn, stretch.span.turn
        width, length = stretch.span.width, stretch.length
        if made.length != length or made.span.width != width:
            return []
        if self._bytes(made) == self._bytes(stretch):
            return _copies(made.start, length)
        if there[0] and here[0]:
            return []
        outer, rows, columns = here if here[0] else (there[0], there[2], there[1])
        if rows * columns * width > LARGEST_TURN or outer * rows * columns * width != length:
            return []
        array = np.frombuffer(self._bytes(made), ELEMENTS[width]).reshape(outer, rows, columns)
        if array.transpose(0, 2, 1).tobytes() != self._bytes(stretch):
            return []
        return [
            Segment(Method.TURNED, length, made.start, length, width, rows=rows, columns=columns)
        ]

    def _text(self, stretch: _Stretch, old: _Stretch) -> Segment:
        if self._bytes(stretch) == self._old_bytes(old):
            return Segment(Method.BASE, stretch.length, old.start, old.length)
        return Segment(Method.TEXT, stretch.length, old.start, old.length)

    def _bytes(self, stretch: _Stretch) -> bytes:
        return self._new.data[stretch.start : stretch.end]

    def _old_bytes(self, stretch: _Stretch) -> bytes:
        return self._base.data[stretch.start : stretch.end]


def _copies(offset: int, length: int) -> list[Segment]:
    """Bytes that the new file has already, in whole turns of one row and a rest."""
    found = []
    whole = length - length % LARGEST_TURN
    for start, count, step in ((0, whole, LARGEST_TURN), (whole, length - whole, length - whole)):
        if count:
            found.append(Segment(Method.TURNED, count, offset + start, count, columns=step))
    return found


def _merged(segments: Iterator[Segment]) -> list[Segment]:
    """Copies that follow each other in the base become one."""
    found: list[Segment] = []
    for segment in segments:
        last = found[-1] if found else None
        joined = (
            last is not None
            and last.method is segment.method is Method.BASE
            and last.offset + last.length == segment.offset
        )
        if joined and last is not None:
            length = last.length + segment.length
            found[-1] = replace(last, length=length, extent=length)
        else:
            found.append(segment)
    return found
