"""The wire: topics and messages shared by device, server and HTTP API.

Signed documents are JSON, everything else MessagePack. Unknown fields are ignored, every message
carries `schema`. Times are Unix seconds, sizes bytes. `boot_id` + `seq` find gaps and duplicates;
`seq` counts the device's messages since boot and is what an `Ack` names.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from .errors import ProtocolError

BLOCK_BYTES = 32 * 1024
ROOT = "edgekiln/v1"
MAX_DOWN_BYTES = 320 * 1024  # of any message to a device: the largest block and what names it
MAX_DOCUMENT_BYTES = 32 * 1024  # of any message to a device that is no block

Seq = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]  # what a database can hold

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


class FeatureWindow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One feature in one window: counts in the reference's 16 equal-mass bins.

    `evidence` is the e-detector's current value, `alarm` whether it passed its threshold. `sketch`
    is a KLL sketch of the values (`kll_bytes`), empty where there was no room for it; its own n
    says how many samples it has seen.
    """

    name: str
    bins: tuple[int, ...]
    evidence: float
    alarm: bool
    sketch: bytes = b""


class BrokenRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Samples that the contract refused, by the rule that they broke."""

    shape: int = 0
    dtype: int = 0
    finite: int = 0
    range: int = 0
    other: int = 0


class SystemFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The machine in one window; None where it does not tell."""

    cpu_s: float = 0.0  # that this process used; merged: the sum
    wall_s: float = 0.0  # in which it did; the sum
    load: float | None = None  # runnable tasks a core, mean of a minute; the highest
    temperature_c: float | None = None  # of the hottest zone; the highest
    throttled: bool | None = None  # the processor was slowed to cool or to save; ever
    disk_free_bytes: int | None = None  # where the device folder is; the lowest
    uptime_s: float | None = None  # of the machine; the highest


class Lost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Detail that this device let go of since the report before; merged: the sums."""

    captures: int = 0
    sketches: int = 0  # of features: for want of room, in a window or in the outbox
    samples: int = 0  # counted in windows that are gone, `Report.dropped` says how many
    messages: int = 0  # states and events


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One telemetry window, or several as one. Every aggregate can be merged, see `rollup`."""

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
    dropped: int = 0  # windows that had to be dropped since the report before
    merged: int = 1  # windows in this one
    engine_errors: int = 0  # samples without an answer
    broken_rules: BrokenRules = BrokenRules()  # the violations, by rule
    latency_sketch: bytes = b""  # KLL of µs a sample
    system: SystemFigures = SystemFigures()
    lost: Lost = Lost()
    schema: int = 1


class CaptureReason(enum.StrEnum):
    """Why a sample was kept."""

    RANDOM = "random"
    LOW_CONFIDENCE = "low_confidence"
    DRIFTED = "drifted"
    DISAGREEMENT = "disagreement"  # of the model on trial and the last known good one
    VIOLATION = "violation"  # of the contract


class Capture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One raw sample that a device was allowed to keep, on `up/capture`.

    `sample` is the array in C order, little-endian, of `dtype` and `shape`: what the contract was
    shown, or what the redaction hook made of it.
    """

    boot_id: str
    seq: int
    at_s: float
    bundle_id: str
    reason: CaptureReason
    dtype: str
    shape: tuple[int, ...]
    sample: bytes
    ttl_s: float  # on the device since `at_s`, and in the fleet since it arrived
    redacted_by: str = ""  # `module:function`, empty where there is no hook
    label: str = ""  # the answer; empty where there is none
    confidence: float | None = None
    other_label: str = ""  # the last known good model's answer, on a disagreement
    detail: str = ""  # the rule that was broken, the features that drift
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
    kind: str  # shadow | trial | rejected | rolled_back | committed | broken | restart
    rollout_id: str = ""
    bundle_id: str = ""
    passed: bool = False
    reason: str = ""
    trial: TrialEvidence | None = None
    schema: int = 1


class GetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for blocks of a file of the TUF repository: `metadata/…` or `targets/…`.

    A request for no block is a fence: the server forgets what it still had to send to this device
    and answers at once with an empty block (`block_window.py`).
    """

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
    seq: Seq
    schema: int = 1


class ShadowLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The phase before the trial: the new model answers beside the live one, unused.

    It ends as soon as the evidence is there (`shadow.judge`), and without it after `samples` pairs
    or `timeout_s`. The nearer the true share of differing answers is to the limit, the more pairs
    it takes: a limit right at that share never gets a verdict.
    """

    max_disagreement: Annotated[float, Meta(gt=0, lt=1)] = 0.1  # share of answers that may differ
    samples: Annotated[int, Meta(ge=1)] = 2000  # pairs, at most
    rate: Annotated[float, Meta(gt=0, le=1)] = 0.2  # share of inputs that it is asked: its cost
    timeout_s: Annotated[float, Meta(gt=0)] = 3600.0
    alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.05  # chance of either wrong verdict


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
    shadow: ShadowLimits | None = None  # None: straight from the self-test to the trial


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
    mirrors: tuple[str, ...] = ()  # addresses above `targets/`, tried before the message link
    limits: SelfTestLimits = msgspec.field(default_factory=SelfTestLimits)
    window_s: tuple[float, float] | None = None  # of the day (UTC), in which tests may begin
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a {kind.__name__} message cannot be read: {error}") from error
