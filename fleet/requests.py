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
MAX_ADDRESS = 500  # characters
DaySecond = Annotated[float, msgspec.Meta(ge=0, lt=86400)]

_ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


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
    window_s: tuple[DaySecond, DaySecond] | None = None  # of the day (UTC), for tests on devices


def why_mirrors_are_wrong(request: StartRollout) -> str:
    """Why a mirror cannot be one; empty where all can."""
    for mirror in request.mirrors:
        if not _ADDRESS.fullmatch(mirror) or len(mirror) > MAX_ADDRESS:
            known = "give http://… or https://…, above the folder targets/"
            return f"mirror '{mirror[:80]}' is no address; {known}"
    return ""


def why_window_is_too_short(request: StartRollout) -> str:
    """Why devices that wait for the window would count as silent; empty when they do not."""
    if request.window_s is None:
        return ""
    start_s, end_s = request.window_s
    if start_s == end_s:
        return "the window has no length; leave it out for any time"
    wait_s = (start_s - end_s) % 86400
    if request.deadline_s > wait_s:
        return ""
    return (
        f"devices may wait {wait_s:.0f} s for the window and count as silent after "
        f"{request.deadline_s:.0f} s; give a longer deadline"
    )


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
