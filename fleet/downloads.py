"""The repository over HTTP, with byte ranges: what a reverse proxy or a test may stand before.

The same files as over MQTT and no others. Nothing here is secret and nothing is trusted: devices
check every block against signed hashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.response import Stream

from .block_files import resolve

CHUNK_BYTES = 256 * 1024
MEDIA_TYPE = "application/octet-stream"
UNSATISFIABLE = 416

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `first` to `last`, both included; `last` < `first` names none."""

    first: int
    last: int


def asked_span(header: str | None, total: int) -> Span | None:
    """The one range of a Range header (RFC 9110, 14.1.2), cut to the file; None for the whole file.

    Several ranges and other units are answered with the whole file, as the RFC allows. A span that
    the file does not have is empty.
    """
    found = _RANGE.fullmatch((header or "").strip())
    if found is None or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if not first:  # the last bytes
        count = min(int(last), total)
        return Span(total - count, total - 1) if count else Span(0, -1)
    if last and int(last) < int(first):
        return None  # no valid range at all
    if int(first) >= total:
        return Span(0, -1)
    return Span(int(first), min(int(last), total - 1) if last else total - 1)


@get("/repository/{path:path}", sync_to_thread=True)
def download(
    request: Request,  # type: ignore[type-arg]
    state: State,
    path: str,
) -> Response[bytes] | Stream:
    """A file below `metadata/` or `targets/`, or a range of it."""
    repository: Path = state.services.repository
    file = resolve(repository, str(path).lstrip("/"))
    if file is None:
        raise NotFoundException("the repository has no such file")
    total = file.stat().st_size
    # If-Range names a version of the file; ours have none, so only the whole file is right.
    wanted = None if "If-Range" in request.headers else request.headers.get("Range")
    span = asked_span(wanted, total)
    headers = {"Accept-Ranges": "bytes"}
    if span is None:
        span, status = Span(0, total - 1), 200
    elif span.last < span.first:
        headers["Content-Range"] = f"bytes */{total}"
        return Response(b"", status_code=UNSATISFIABLE, headers=headers, media_type=MEDIA_TYPE)
    else:
        headers["Content-Range"] = f"bytes {span.first}-{span.last}/{total}"
        status = 206
    headers["Content-Length"] = str(span.last + 1 - span.first)
    return Stream(_read(file, span), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def _read(file: Path, span: Span) -> Iterator[bytes]:
    with file.open("rb") as data:
        data.seek(span.first)
        left = span.last + 1 - span.first
        while left > 0 and (chunk := data.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
