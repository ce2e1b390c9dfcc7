"""A device's twin: what was agreed with it, what it said last, and what people see of both."""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass

import msgspec

from edgekiln.runtime.errors import ProtocolError
from edgekiln.runtime.kll_bytes import decode_sketch
from edgekiln.runtime.protocol import Birth, DeviceState, Report, State
from edgekiln.runtime.telemetry import p95_from_histogram

from .model import DeviceView


@dataclass(frozen=True, slots=True)
class Twin:
    """The last birth and state of a device. `last_seen_s` is the server's clock."""

    device: str
    online: bool
    last_seen_s: float
    birth: Birth | None
    state: State | None

    @property
    def running(self) -> str:
        """Bundle id of the live session, from whichever of birth and state is of this boot."""
        if self.state is None or (self.birth and self.birth.boot_id != self.state.boot_id):
            return self.birth.running if self.birth else ""
        return self.state.running


class Arm(enum.StrEnum):
    """Which side of the comparison a device is on."""

    CANARY = "canary"
    HOLDBACK = "holdback"


class Outcome(enum.StrEnum):
    """How a device fared in a rollout; everything but PENDING and COMMITTED is final."""

    PENDING = "pending"
    COMMITTED = "committed"  # runs the release, its soak is not over
    HEALTHY = "healthy"
    FAILED = "failed"
    REJECTED = "rejected"  # refused the release before trying it


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """One device in one rollout, from the moment that it was reached while online."""

    rollout_id: str
    device: str
    arm: Arm
    position: int
    wave: int
    exposed_s: float
    outcome: Outcome = Outcome.PENDING
    outcome_s: float = 0.0
    reason: str = ""


def view(
    device: str, cohorts: tuple[str, ...] | None, twin: Twin | None, report: Report | None
) -> DeviceView:
    """What people see of a device; `cohorts` None means that it was never enrolled here."""
    birth, state = (twin.birth, twin.state) if twin else (None, None)
    if cohorts is None:
        cohorts = birth.cohorts if birth else ()
    return DeviceView(
        device=device,
        online=twin.online if twin else False,
        device_class=birth.device_class if birth else "",
        cohorts=cohorts,
        state=state.state if state else DeviceState.IDLE,
        running=twin.running if twin else "",
        last_known_good=state.last_known_good if state else "",
        rollout_id=state.rollout_id if state else "",
        last_seen_s=twin.last_seen_s if twin else 0.0,
        samples=report.samples if report else 0,
        p95_latency_ms=p95_latency_ms(report) if report else None,
        drifting=alarms(report) if report else (),
        error=state.error if state else "",
    )


def alarms(report: Report) -> tuple[str, ...]:
    """Names of what is in alarm: features, `confidence`, `classes`."""
    windows = (*report.features, report.confidence, report.class_drift)
    return tuple(window.name for window in windows if window.alarm)


def p95_latency_ms(report: Report) -> float | None:
    """95th percentile of the window's latencies; None without samples."""
    if not sum(report.latency_us):
        return None
    with contextlib.suppress(ProtocolError):  # a device's word; the counts beside it will do
        if report.latency_sketch:
            return decode_sketch(report.latency_sketch).quantiles((0.95,))[0] / 1000.0
    return p95_from_histogram(report.latency_us) / 1000.0
