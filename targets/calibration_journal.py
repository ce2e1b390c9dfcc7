"""`CalibrationJournal`: what a calibration has measured, one JSON line each, append-only.

A line counts once it ends in a newline; a torn tail is cut off when the journal is opened. The
first line names the calibration (target, seed, versions of what measures): figures of another one,
or of another engine, are never taken over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .errors import MeasurementError

Figures = tuple[float, ...]


class _Opened(msgspec.Struct, frozen=True, tag="opened", forbid_unknown_fields=True):
    calibration: str
    schema: int = 1


class _Measured(msgspec.Struct, frozen=True, tag="measured", forbid_unknown_fields=True):
    key: str
    figures: Figures


class CalibrationJournal:
    """Figures by key. Without a path it remembers nothing beyond this process."""

    def __init__(self, path: Path | None, calibration: str) -> None:
        """Open, or begin, the journal of `calibration`.

        Raises:
            MeasurementError: a whole line is damaged, the file belongs to another calibration, or
                it cannot be read or written.
        """
        self._path = path
        self._figures: dict[str, Figures] = {}
        if path is None:
            return
        try:
            self._open(path, calibration)
        except OSError as error:
            msg = f"journal {path}: {error.strerror or error}; name another one"
            raise MeasurementError(msg) from error

    def figures(self, key: str) -> Figures | None:
        """What was measured under `key`, or None."""
        return self._figures.get(key)

    def append(self, key: str, figures: Sequence[float]) -> None:
        """Keep `figures`; they are on the disk when this returns."""
        self._figures[key] = tuple(figures)
        if self._path is not None:
            self._write(self._path, _Measured(key, tuple(figures)))

    def _open(self, path: Path, calibration: str) -> None:
        data = path.read_bytes() if path.exists() else b""
        whole = data.rfind(b"\n") + 1
        events = [_event(path, i, line) for i, line in enumerate(data[:whole].splitlines(), 1)]
        if events and events[0] != _Opened(calibration):
            found = events[0].calibration if isinstance(events[0], _Opened) else "no calibration"
            msg = f"journal {path}: holds {found}, this is {calibration}; remove it or name another"
            raise MeasurementError(msg)
        if whole < len(data):
            os.truncate(path, whole)
        if not events:
            self._write(path, _Opened(calibration))
        self._figures = {e.key: e.figures for e in events if isinstance(e, _Measured)}

    def _write(self, path: Path, event: _Opened | _Measured) -> None:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(event) + b"\n")
            file.flush()
            os.fsync(file.fileno())


_DECODER: msgspec.json.Decoder[_Opened | _Measured] = msgspec.json.Decoder(_Opened | _Measured)


def _event(path: Path, number: int, line: bytes) -> _Opened | _Measured:
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError as error:
        msg = f"journal {path}: line {number} is damaged ({error}); remove the file to begin anew"
        raise MeasurementError(msg) from error
