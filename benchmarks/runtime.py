"""What runs on a device: inference, telemetry, drift, updates, all parts in one run.

Each part can be run alone by its own name.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from .figure import Figure, Scale

PARTS = (
    "runtime_predict",
    "runtime_telemetry",
    "runtime_drift",
    "runtime_delta",
    "runtime_idle",
    "runtime_fleet",
    "runtime_crash",
    "runtime_firmware",
)


def run(scale: Scale) -> Iterator[Figure]:
    """All parts."""
    for name in PARTS:
        yield from importlib.import_module(f".{name}", __package__).run(scale)
