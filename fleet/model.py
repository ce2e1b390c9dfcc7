"""The fleet's words: `Release`, `Rollout`, `Wave`, what is known of a device, an alert."""

from __future__ import annotations

import enum

import msgspec

from edgekiln.runtime.protocol import DeviceState, SelfTestLimits


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle in the registry. `parent` is the release it replaces."""

    bundle_id: str
    name: str
    target_path: str  # in the TUF repository
    sha256: str  # of the bundle file
    bytes: int
    security_counter: int
    registered_s: float
    parent: str = ""
    data_sha256: str = ""
    search_id: str = ""
    forced_reason: str = ""  # why a failed gate was overruled
    aliases: tuple[str, ...] = ()
    quarantined: str = ""  # why it must not be rolled out again


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a rollout: `permille` of the cohort, or a number of devices (small fleets)."""

    permille: int | None = None
    devices: int | None = None


class RolloutState(enum.StrEnum):
    """States of a rollout; the table is in `rollout.py`."""

    ACTIVE = "ACTIVE"
    SOAKING = "SOAKING"
    DONE = "DONE"
    ABORTED = "ABORTED"
    INCONCLUSIVE = "INCONCLUSIVE"  # too little evidence: a person decides
    PAUSED = "PAUSED"


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A release on its way to a cohort, in waves."""

    rollout_id: str
    release: str  # bundle id
    cohort: str
    waves: tuple[Wave, ...]
    salt: str
    state: RolloutState
    wave: int  # index into `waves`
    version: int  # of the signed document
    permille: int  # what the document says now
    started_s: float
    wave_started_s: float
    soak_s: float = 0.0
    deadline_s: float = 600.0
    limits: SelfTestLimits = msgspec.field(default_factory=SelfTestLimits)
    reason: str = ""


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows of a device: its birth and its last reported state."""

    device: str
    online: bool
    device_class: str
    cohorts: tuple[str, ...]
    state: DeviceState
    running: str
    last_known_good: str
    rollout_id: str
    last_seen_s: float
    samples: int = 0
    p95_latency_ms: float | None = None
    drifting: tuple[str, ...] = ()  # features in alarm
    error: str = ""


class FeatureEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One feature of an alert: how many devices alarm, and how far the merged window moved."""

    feature: str
    devices: int
    max_evidence: float
    distance: float  # total variation between merged window and reference, 0..1
    threshold: float  # what chance explains at these sample sizes
    samples: int


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A drift alert with its evidence. `fingerprint` names the cause, not the moment."""

    alert_id: int
    fingerprint: str
    kind: str  # drift | rollout
    cohort: str
    release: str
    opened_s: float
    last_seen_s: float
    devices: tuple[str, ...]
    features: tuple[FeatureEvidence, ...]
    summary: str
    runbook: str
    action: str = ""  # what policy did about it
    state: str = "open"  # open | acknowledged | closed
