"""The document of `edgekiln fleet latency --json`, which `edgekiln targets refit` reads."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .errors import MeasurementError
from .field import histogram_problem


class LatencyRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bundle on the devices of one target. `counts` as in `field.FieldLatency`.

    `median_ms` and `p95_ms` are None where they lie outside the bins.
    """

    bundle_id: str
    name: str  # empty: no release of the fleet
    target: str
    engine: str  # of the bundle's best format there; empty where there is no release to look into
    devices: int
    samples: int
    counts: tuple[int, ...]
    median_ms: float | None
    p95_ms: float | None
    tier: str = "T4"
    edges_ms: tuple[float, ...] = ()  # of its own counts; empty: the document's
    rank_error: float = 0.0  # as in `field.FieldLatency`


class LatencyDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rows; `left_out` reports had other bins, or came from a device that is not enrolled."""

    edges_ms: tuple[float, ...]
    latencies: tuple[LatencyRow, ...]
    left_out: int = 0
    schema: int = 1


def read_field(path: Path) -> LatencyDocument:
    """The document in a file.

    Raises:
        MeasurementError: the file cannot be read, or is no such document; says what is wrong.
    """
    try:
        document = msgspec.json.decode(path.read_bytes(), type=LatencyDocument)
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: {error}; make it with: edgekiln fleet latency --json"
        raise MeasurementError(msg) from error
    for row in document.latencies:
        problem = histogram_problem(row.edges_ms or document.edges_ms, row.counts)
        if not problem and not 0 <= row.rank_error < 0.5:
            problem = f"its rank error is {row.rank_error:g}, not from 0 to 0.5"
        if problem:
            raise MeasurementError(f"{path}: bundle {row.bundle_id[:12]}: {problem}")
    return document
