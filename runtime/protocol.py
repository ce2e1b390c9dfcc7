"""The wire: topics and messages shared by device, server and HTTP API.

Signed documents are JSON, everything else MessagePack. Unknown fields are ignored, every message
carries `schema`. Times are Unix seconds, sizes bytes. `boot_id` + `seq` find gaps and duplicates;
`seq` counts the device's messages since boot and is what an `Ack` names.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from .errors import ProtocolError

BLOCK_BYTES = 32 * 1024
ROOT = "edgekiln/v1"

Message = TypeVar("Message", bound=msgspec.Struct)


class DeviceState(enum.StrEnum):
    """States of the update agent; the table of transitions is in `state_machine.py`."""

    IDLE = "IDLE"
    OFFERED = "OFFERED"
    FETCHING = "FETCHING"
    VERIFIED = "VERIFIED"
    STAGED = "STAGED"
    SELF_TEST = "SELF_TEST"
    SHADOW = "SHADOW"
    TRIAL = "TRIAL"
    COMMITTED = "COMMITTED"
    ROLLBACK = "ROLLBACK"
    ROLLED_BACK = "ROLLED_BACK"
    BROKEN = "BROKEN"
    REJECTED = "REJECTED"
    SUPERSEDED = "SUPERSEDED"


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic names of one tenant."""

    tenant: str = "default"

    def up(self, device: str, kind: str) -> str:
        """Device to fleet: birth, state, report, event, get, capture, enrol, enrolled, renew."""
        return f"{ROOT}/{self.tenant}/d/{device}/up/{kind}"

    def down(self, device: str, kind: str) -> str:
        """Fleet to device: block, command, identity."""
        return f"{ROOT}/{self.tenant}/d/{device}/dn/{kind}"

    def cohort(self, cohort: str, kind: str) -> str:
        """Retained and signed, for a whole cohort: rollout, meta."""
        return f"{ROOT}/{self.tenant}/c/{cohort}/{kind}"

    @property
    def all_up(self) -> str:
        """The server's subscription."""
        return f"{ROOT}/{self.tenant}/d/+/up/+"

    def parse_up(self, topic: str) -> tuple[str, str]:
        """Topic of a device's message to (device, kind).

        Raises:
            ProtocolError: the topic is not of this tenant or shape.
        """
        prefix = f"{ROOT}/{self.tenant}/d/"
        parts = topic.removeprefix(prefix).split("/")
        if not topic.startswith(prefix) or len(parts) != 3 or parts[1] != "up":
            raise ProtocolError(f"'{topic}' is no topic of tenant '{self.tenant}'")
        return parts[0], parts[2]


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """Retained on `up/birth`; its last will is a `Death` on the same topic's `online` = false."""

    device: str
    boot_id: str
    online: bool
    seq: int = 0
    device_class: str = ""
    cohorts: tuple[str, ...] = ()
    runtime: str = ""
    ram_bytes: int = 0
    flash_bytes: int = 0
    running: str = ""  # bundle id of the live session
    security_counter: int = 0
    schema: int = 1


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The device's reported twin. `running` is read from the live inference session."""

    boot_id: str
    seq: int
    at_s: float
    state: DeviceState
    rollout_id: str = ""
    running: str = ""
    last_known_good: str = ""
    trial: str = ""
    written: str = ""
    blocks_have: int = 0
    blocks_total: int = 0
    error: str = ""
    schema: int = 1


class FeatureWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One feature in one window: counts in the reference's 16 equal-mass bins.

    `evidence` is the e-detector's current value, `alarm` whether it passed its threshold.
    """

    name: str
    bins: tuple[int, ...]
    evidence: float
    alarm: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One telemetry window. Every aggregate can be merged by addition."""

    boot_id: str
    seq: int
    bundle_id: str
    start_s: float
    end_s: float
    samples: int
    violations: int
    latency_us: tuple[int, ...]  # counts in `telemetry.LATENCY_EDGES_US`
    confidence: FeatureWindow
    classes: tuple[int, ...]
    class_drift: FeatureWindow
    features: tuple[FeatureWindow, ...]
    rss_bytes: int = 0
    dropped: int = 0  # windows that the outbox had to drop
    schema: int = 1


class TrialEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a device saw of a release on trial, paired with the last known good model."""

    samples: int
    disagreements: int
    mean_confidence: float
    baseline_confidence: float
    p95_latency_ms: float
    failures: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened once: a trial's outcome, a rejected offer, a restart."""

    boot_id: str
    seq: int
    at_s: float
    kind: str  # trial | rejected | rolled_back | committed | broken
    rollout_id: str = ""
    bundle_id: str = ""
    passed: bool = False
    reason: str = ""
    trial: TrialEvidence | None = None
    schema: int = 1


class GetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for blocks of a file of the TUF repository: `metadata/…` or `targets/…`."""

    request_id: str
    path: str
    first: int  # index of the first block
    count: int  # window
    block_bytes: int = BLOCK_BYTES
    schema: int = 1


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One block; an empty `data` with `error` set answers for a file that is not there."""

    request_id: str
    path: str
    index: int
    total_bytes: int
    data: bytes
    error: str = ""
    schema: int = 1


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """On `dn/command`: the fleet has stored the message `seq` of `boot_id`."""

    boot_id: str
    seq: int
    schema: int = 1


class SelfTestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a release must show on the device before and during its trial.

    Without `golden_max_lsb` the artifact's own limit counts: engines differ by design, and the
    compiler wrote into the bundle how far this one may.
    """

    max_p95_ms: float = 50.0
    max_rss_bytes: int = 1 << 30
    golden_max_lsb: int | None = None
    trial_samples: int = 60
    trial_timeout_s: float = 120.0
    trial_starts: int = 3
    max_disagreement: float = 0.25  # share of inputs where trial and last good differ


class RolloutDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The one retained document per cohort: release → cohort, who joins, and under what limits.

    `aborted` documents send every device that took the release back to its last good one.
    """

    rollout_id: str
    version: int  # grows with every change: a device ignores an older one
    cohort: str
    release: str  # bundle id
    target_path: str  # the bundle in the TUF repository
    sha256: str  # of the bundle file
    salt: str
    permille: int
    holdback_permille: int = 0
    not_before_s: float = 0.0
    expires_s: float = 0.0
    deadline_s: float = 600.0
    soak_s: float = 0.0
    aborted: bool = False
    limits: SelfTestLimits = msgspec.field(default_factory=SelfTestLimits)
    schema: int = 1


class SignedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An Ed25519 signature over the exact bytes of `signed` (no canonicalisation to get wrong)."""

    signed: msgspec.Raw
    keyid: str
    signature: str  # hex
    schema: int = 1


class IdentityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """On `up/enrol` with a one-time token's login, or on `up/renew` with the device's own.

    `request` is a certificate request (PKCS #10, PEM) that the device's new key has signed.
    """

    request: bytes
    schema: int = 1


class IdentityAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """On `dn/identity`: a certificate, or a password where the broker has no TLS; or why not.

    The rest comes with the first one only: `config` is device.toml, `factory` names the files of
    the signed first release, to be fetched as blocks.
    """

    error: str = ""
    certificate: bytes = b""  # PEM
    password: str = ""
    device: str = ""
    config: str = ""
    root: bytes = b""
    rollout_key: str = ""  # hex
    factory: tuple[str, ...] = ()
    schema: int = 1


def encode(message: msgspec.Struct) -> bytes:
    """A message as MessagePack."""
    return msgspec.msgpack.encode(message)


def decode(data: bytes, kind: type[Message]) -> Message:
    """MessagePack to a message.

    Raises:
        ProtocolError: the bytes are not a `kind`.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"a {kind.__name__} message cannot be read: {error}") from error
