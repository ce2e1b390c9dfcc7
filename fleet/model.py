"""The fleet's words: `Release`, `Rollout`, `Wave`, its evidence, a device, an alert."""

from __future__ import annotations

import enum

import msgspec

from edgekiln.runtime.protocol import DeviceState, SelfTestLimits


class ReleaseDelta(msgspec.Struct, frozen=True):
    """A smaller way to a release, for devices that hold the bundle `base`."""

    base: str  # bundle id
    bytes: int


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
    deltas: tuple[ReleaseDelta, ...] = ()


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
    max_wait_s: float = 3600.0  # a wave without a verdict after this is INCONCLUSIVE
    holdback_permille: int = 0  # the control group, which never joins
    target_path: str = ""  # of the release in the TUF repository
    sha256: str = ""  # of the bundle file
    expires_s: float = 0.0  # of the signed document; the engine renews it in time
    mirrors: tuple[str, ...] = ()  # web servers that devices may fetch blocks from
    limits: SelfTestLimits = msgspec.field(default_factory=SelfTestLimits)
    window_s: tuple[float, float] | None = None  # of the day (UTC), for tests on devices
    reason: str = ""


class RolloutEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision rests on. The unit is the device; see `evidence.py` for the e-values."""

    eligible: int  # devices that the rollout reached and that did not refuse the release
    committed: int  # run the release now
    healthy: int  # of those, the ones through their soak
    failed: int
    pending: int
    rejected: int
    e_value: float  # against "no worse than history and control"; abort at 1/alpha
    e_one_arm: float  # canary against the fleet's history
    e_paired: float  # canary against the concurrent holdback
    pairs: int  # resolved canary and holdback pairs in `e_paired`
    weak: bool  # too few devices for more than a coarse verdict
    minimum_harm: float | None  # smallest failure rate found with 80 % chance; None: none is
    failures: tuple[str, ...] = ()  # "device: reason", the first few
    outsiders: tuple[str, ...] = ()  # run the release although the wave does not include them


class RolloutEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the decision log; `previous` is the digest of the line before it."""

    rollout_id: str
    at_s: float
    kind: str  # started | advanced | soaking | done | aborted | inconclusive | resumed | paused
    text: str
    wave: int
    evidence: RolloutEvidence | None = None
    previous: str = ""


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
    max_evidence: float  # of one device's e-detector
    distance: float  # total variation between merged window and reference, 0..1
    threshold: float  # what chance explains at these sample sizes
    samples: int
    alarm_at: float = 0.0  # the evidence from which a device alarms


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
