"""What the HTTP API takes and gives beside the shared words of `model.py`."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from edgekiln.runtime.protocol import SelfTestLimits

from .model import Rollout, RolloutEvent, Wave
from .twin import Exposure

# A year at most: sums of such times stay numbers that JSON can hold.
Seconds = Annotated[float, msgspec.Meta(ge=0, le=365 * 86400)]
Mirrors = Annotated[tuple[str, ...], msgspec.Meta(max_length=8)]  # as many as a device tries
ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


class StartRollout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /api/rollouts. `release` is a bundle id, its unique prefix, or an alias."""

    release: str
    cohort: str
    waves: tuple[Wave, ...]
    soak_s: Seconds = 600.0
    deadline_s: Seconds = 3600.0
    holdback_permille: Annotated[int, msgspec.Meta(ge=0, le=500)] = 0  # the control group
    mirrors: Mirrors = ()  # web servers that hold `targets/`, tried before the broker
    limits: SelfTestLimits = msgspec.field(default_factory=SelfTestLimits)


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of the POSTs that overrule the engine: why, for the audit log."""

    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=500)]


class RolloutDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout, its decision log (oldest first) and how every device that it reached fared."""

    rollout: Rollout
    events: tuple[RolloutEvent, ...]
    exposures: tuple[Exposure, ...]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the chart; `values` stand beside the series' `time_s`."""

    name: str
    values: tuple[float | None, ...]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A chart: one value per line and time."""

    unit: str
    time_s: tuple[float, ...]
    lines: tuple[Line, ...]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """GET /health: which broker runs, and where."""

    tenant: str
    broker: str  # mosquitto | amqtt
    broker_port: int
    revision: int  # grows with every change of the store
    malformed: int = 0  # messages that could not be read
