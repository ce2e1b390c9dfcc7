"""HTTP GET with bounds: few redirects, no step down from https, no compression, limited waits.

Nothing that comes this way is trusted for where it came from: blocks are checked against signed
hashes, metadata by its signatures. The bounds keep a server from holding the device up.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urljoin, urlsplit

from .errors import AbsentFileError, MirrorError

TIMEOUT_S = 10.0  # of one wait for bytes
TOTAL_S = 120.0  # of a small file, however steadily it drips
MAX_REDIRECTS = 3
CHUNK_BYTES = 64 * 1024
FOUND = 302
REDIRECTS = frozenset((301, 302, 303, 307, 308))
ABSENT = frozenset((403, 404, 410))  # storage services say 403 for what is not there
SCHEMES = ("http", "https")


class HttpClient:
    """One connection at a time, kept open between requests to one server.

    `abort` may be called from another thread; everything else from one.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`tls`: None verifies servers against the certificates of the system."""
        self._tls = tls
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._socket: socket.socket | None = None  # http.client lets go of one that will close
        self._place = ("", "")  # scheme and host of the connection
        self._aborted = False

    def get(self, url: str, first: int = 0, last: int | None = None) -> http.client.HTTPResponse:
        """Ask for bytes `first` to `last` (inclusive; None: to the end, no range).

        The answer's status is 200 or 206; its body is still to be read, whole, before the next
        request, else `close`.

        Raises:
            MirrorError: the server cannot be reached or answers with anything else.
        """
        start = url
        for _ in range(MAX_REDIRECTS + 1):
            try:
                answer = self._ask(_split(url), first, last)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                raise MirrorError(f"{start}: {_reason(error)}") from error
            if answer.status not in REDIRECTS:
                return self._checked(start, answer)
            url = _redirected(url, answer)
            self.close()
        raise MirrorError(f"{start}: redirects more than {MAX_REDIRECTS} times", FOUND)

    def fetch_bytes(self, url: str, max_bytes: int, total_s: float = TOTAL_S) -> bytes:
        """A small file, whole.

        Raises:
            AbsentFileError: the server has no such file.
            MirrorError: it does not come within `total_s`, or is larger than `max_bytes`.
        """
        watch = threading.Timer(total_s, self.abort)
        watch.daemon = True
        watch.start()
        try:
            return self._read(url, max_bytes)
        except MirrorError as error:
            if error.status in ABSENT:
                raise AbsentFileError(str(error)) from error
            raise
        finally:
            watch.cancel()

    def abort(self) -> None:
        """End whatever is under way: its call raises `MirrorError`, and so does every later one."""
        self._aborted = True
        opened = self._socket
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Drop the connection; the next request opens another."""
        for opened in (self._answer, self._connection):
            if opened is not None:
                opened.close()
        self._answer = self._connection = self._socket = None

    def _ask(self, url: SplitResult, first: int, last: int | None) -> http.client.HTTPResponse:
        if self._aborted:
            raise TimeoutError("took too long")
        place = (url.scheme, url.netloc)
        kept = self._connection is not None and place == self._place
        if not kept:
            self.close()
            self._connection, self._place = self._open(url), place
        headers = {"Accept-Encoding": "identity"}
        if last is not None:
            headers["Range"] = f"bytes={first}-{last}"
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection = self._connection
        if connection is None:
            raise OSError("not connected")
        try:
            if connection.sock is None:
                connection.connect()
            self._socket = connection.sock
            if self._aborted:  # while the name was looked up, when there was no socket to shut
                raise TimeoutError("took too long")
            connection.request("GET", path, headers=headers)
            self._answer = connection.getresponse()
            return self._answer
        except (ConnectionError, http.client.BadStatusLine):
            if not kept:
                raise
            self.close()  # a kept connection that the server has closed since: once more
            return self._ask(url, first, last)

    def _open(self, url: SplitResult) -> http.client.HTTPConnection:
        host = url.hostname or ""
        if url.scheme == "http":
            return http.client.HTTPConnection(host, url.port, timeout=self._timeout_s)
        tls = self._tls or ssl.create_default_context()
        return http.client.HTTPSConnection(host, url.port, timeout=self._timeout_s, context=tls)

    def _checked(self, url: str, answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
        coding = answer.getheader("Content-Encoding", "identity").strip().lower()
        if answer.status in (200, 206) and coding == "identity":
            return answer
        self.close()
        if answer.status in (200, 206):
            told = f"{url}: answers in coding '{coding[:32]}', which nobody asked for"
            raise MirrorError(told, answer.status)
        raise MirrorError(f"{url}: answers {answer.status}", answer.status, _retry_after_s(answer))

    def _read(self, url: str, max_bytes: int) -> bytes:
        answer = self.get(url)
        data = bytearray()
        try:
            while chunk := answer.read1(CHUNK_BYTES):
                data += chunk
                if len(data) > max_bytes:
                    self.close()
                    raise MirrorError(f"{url}: larger than {max_bytes} bytes")
                if self._aborted:
                    raise TimeoutError("took too long")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise MirrorError(f"{url}: {_reason(error)}") from error
        if self._aborted or answer.length:  # what was announced and did not come
            self.close()
            raise MirrorError(f"{url}: ended before its end")
        answer.close()  # all of it was read: the connection is free for the next request
        return bytes(data)


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError("no http or https address")
    return parts


def _redirected(url: str, answer: http.client.HTTPResponse) -> str:
    location = urljoin(url, answer.getheader("Location", ""))
    try:
        before, after = _split(url), _split(location)
    except ValueError as error:
        told = f"{url}: redirects to no http or https address"
        raise MirrorError(told, answer.status) from error
    if before.scheme == "https" and after.scheme == "http":
        raise MirrorError(f"{url}: redirects from https to http", answer.status)
    return after._replace(fragment="").geturl()


def _retry_after_s(answer: http.client.HTTPResponse) -> float | None:
    """Seconds to wait, as the server asks (RFC 9110, 10.2.3); None where it does not say."""
    text = answer.getheader("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _reason(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text[:200] or type(error).__name__
