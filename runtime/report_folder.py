"""`ReportFolder`: reports as JSON files, for a device without a fleet."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .files import write_atomic
from .protocol import Report

KEPT = 1000


class ReportFolder:
    """Keeps the newest `kept` reports in a folder, one file each, named for the window's end.

    Sketches are in base64. A report that cannot be written, because the disk is full for one, is
    counted in `dropped` of the next that can.
    """

    def __init__(self, folder: Path | str, kept: int = KEPT) -> None:
        """Make the folder where it is missing.

        Raises:
            OSError: it cannot be made.
        """
        self._folder = Path(folder)
        self._kept = kept
        self._dropped = 0
        self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def drift(self) -> bytes:
        """The state of the drift detectors after the last report; empty where there is none."""
        try:
            return (self._folder / "drift.bin").read_bytes()
        except OSError:
            return b""

    def post(self, report: Report, drift: bytes) -> None:
        """Write a report and the state of the detectors; see `Watch`."""
        counted = msgspec.structs.replace(report, dropped=report.dropped + self._dropped)
        path = self._folder / f"report-{round(report.end_s * 1000):015d}.json"
        try:
            write_atomic(path, msgspec.json.encode(counted))
            write_atomic(self._folder / "drift.bin", drift)
        except OSError:
            self._dropped += 1
            return
        self._dropped = 0
        # Names from the future are of a clock that was set back since: the oldest of all.
        files = self._folder.glob("report-*.json")
        for old in sorted(files, key=lambda f: (f.name <= path.name, f.name))[: -self._kept]:
            old.unlink(missing_ok=True)
