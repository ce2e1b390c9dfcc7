"""What the journal remembers, and the pure functions that move it from state to state.

One `AgentRecord` is the whole truth about models on the device. `written`, `trial` and
`last_known_good` are three records, and only `committed` moves the last one forward. Nothing here
touches a file: the agent appends the new record to the journal first and acts on it afterwards.
"""

from __future__ import annotations

import msgspec

from .protocol import DeviceState, Event, RolloutDocument
from .state_machine import BUSY, Step, next_state

SCHEMA = 1
SOAK_STARTS = 8  # of the process in a soak, none of which lived long enough to be healthy
HEALTHY_S = 120.0  # after which a process is not taken for one that its model kills
MAX_OUTCOMES = 32  # rollouts whose end is remembered, so that none is applied twice
MAX_VERSIONS = 32  # rollouts whose newest document is remembered, so that none is played back


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A verified bundle file in `slots/`; `sha256` is that of the file."""

    bundle_id: str
    sha256: str
    bytes: int
    security_counter: int
    rollout_id: str = ""  # by which it came; empty for the factory release


class DeltaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the signed TUF target of a release says of a delta to it; blocks are the release's."""

    base_id: str  # bundle id
    base_bytes: int
    base_sha256: str  # of the bundle file
    path: str  # in the repository's `targets/`
    leaves_path: str
    bytes: int
    sha256: str
    merkle_root: str  # hex
    working_bytes: int  # memory that it needs


class ReleaseInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the signed TUF target says about a release."""

    target_path: str
    bundle_id: str
    bytes: int
    sha256: str  # of the bundle file
    merkle_root: str  # hex
    leaves_path: str  # repository path of the block hashes
    block_bytes: int
    security_counter: int
    targets: tuple[str, ...]  # device targets that have an artifact
    ram_bytes: dict[str, int] = {}  # what that artifact needs, by target
    flash_bytes: dict[str, int] = {}
    mirrors: tuple[str, ...] = ()  # addresses that the rollout offers
    deltas: tuple[DeltaInfo, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """How a rollout ended here."""

    rollout_id: str
    state: DeviceState


class Version(msgspec.Struct, frozen=True):
    """The newest document of a rollout that was seen here."""

    rollout_id: str
    version: int
    cohort: str = ""


class AgentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's whole persistent state."""

    state: DeviceState = DeviceState.IDLE
    steps: int = 0  # transitions and restarts that the rollout in hand has cost
    starts_left: int = 0  # loads of the new model that are still allowed
    soaking: bool = False  # committed, and no process has been healthy since: starts are counted
    progress: int = 0  # blocks on disk at the last restart while fetching
    document: RolloutDocument | None = None  # the rollout in hand, or the last one
    release: ReleaseInfo | None = None
    written: Slot | None = None
    trial: Slot | None = None
    last_known_good: Slot | None = None
    previous_good: Slot | None = None  # where an abort of a committed release leads back to
    floor: int = 0  # lowest security counter that may still be installed
    outcomes: tuple[Outcome, ...] = ()
    versions: tuple[Version, ...] = ()
    pending: tuple[Event, ...] = ()  # events of this very transition, until they are in the outbox
    reason: str = ""
    schema: int = SCHEMA

    @property
    def busy(self) -> bool:
        """Whether a rollout is in hand."""
        return self.state in BUSY

    @property
    def rollout_id(self) -> str:
        """Id of the rollout in hand, or of the last one."""
        return self.document.rollout_id if self.document else ""

    def outcome_of(self, rollout_id: str) -> DeviceState | None:
        """How a rollout ended here; None when it never did."""
        found = [entry.state for entry in self.outcomes if entry.rollout_id == rollout_id]
        return found[-1] if found else None

    def version_of(self, rollout_id: str) -> int:
        """Version of the newest document of a rollout that was seen; 0 when none was."""
        found = [entry.version for entry in self.versions if entry.rollout_id == rollout_id]
        return found[-1] if found else 0

    def newest_of(self, cohort: str) -> int:
        """The highest version that was seen in a cohort, of whatever rollout; 0 when none was.

        The fleet numbers all its documents in one row: an older one is played back.
        """
        return max((e.version for e in self.versions if e.cohort == cohort), default=0)


def seen(record: AgentRecord, document: RolloutDocument) -> AgentRecord:
    """Remember the document's version."""
    others = [entry for entry in record.versions if entry.rollout_id != document.rollout_id]
    newest = Version(document.rollout_id, document.version, document.cohort)
    kept = _bounded((*others, newest))
    return msgspec.structs.replace(record, versions=kept, pending=())


def _bounded(versions: tuple[Version, ...]) -> tuple[Version, ...]:
    """At most MAX_VERSIONS, the oldest gone; the highest of each cohort stays in any case."""
    highest = {entry.cohort: entry for entry in sorted(versions, key=lambda entry: entry.version)}
    first = len(versions) - MAX_VERSIONS
    return tuple(
        entry
        for place, entry in enumerate(versions)
        if place >= first or highest[entry.cohort] is entry
    )


def offered(record: AgentRecord, document: RolloutDocument) -> AgentRecord:
    """Take a rollout in hand."""
    fresh = msgspec.structs.replace(
        record, document=document, release=None, steps=0, progress=0, soaking=False
    )
    return _move(fresh, Step.OFFER)


def already_running(record: AgentRecord) -> AgentRecord:
    """The offered release is the last known good one: nothing to do."""
    return _close(_move(record, Step.ALREADY))


def accepted(record: AgentRecord, release: ReleaseInfo) -> AgentRecord:
    """Start fetching."""
    return msgspec.structs.replace(_move(record, Step.ACCEPT), release=release)


def fetched(record: AgentRecord) -> AgentRecord:
    """Every block is on disk and the file is the signed one."""
    return _move(record, Step.FETCHED)


def staged(record: AgentRecord, slot: Slot) -> AgentRecord:
    """The slot's file is in place."""
    return msgspec.structs.replace(_move(record, Step.STAGE), written=slot)


def under_test(record: AgentRecord, starts: int) -> AgentRecord:
    """Begin the self-test, which may be started `starts` times."""
    return msgspec.structs.replace(_move(record, Step.TEST), starts_left=starts)


def in_shadow(record: AgentRecord, starts: int) -> AgentRecord:
    """Let the written slot answer beside the live one, which may be started `starts` times."""
    return msgspec.structs.replace(_move(record, Step.WATCH), starts_left=starts)


def on_trial(record: AgentRecord, starts: int) -> AgentRecord:
    """Begin the trial of the written slot, which may be started `starts` times."""
    moved = _move(record, Step.PASS)
    return msgspec.structs.replace(moved, trial=record.written, starts_left=starts)


def stopped(record: AgentRecord) -> AgentRecord:
    """Give a start of the soak back: the process ends in order."""
    if not record.soaking:
        return record
    left = min(record.starts_left + 1, SOAK_STARTS)
    return msgspec.structs.replace(record, starts_left=left, pending=())


def started(record: AgentRecord) -> AgentRecord:
    """Use up one start. Must be in the journal before the model is loaded."""
    return msgspec.structs.replace(record, starts_left=record.starts_left - 1, pending=())


def committed(record: AgentRecord) -> AgentRecord:
    """The trial passed: its slot becomes the last known good one, and raises the floor.

    Where the rollout asks for a soak, it begins: a model that kills the process then is left.
    """
    slot = record.trial
    counter = slot.security_counter if slot else 0
    done = _close(
        msgspec.structs.replace(
            _move(record, Step.COMMIT),
            last_known_good=slot,
            previous_good=record.last_known_good,
            floor=max(record.floor, counter),
        )
    )
    soaking = record.document is not None and record.document.soak_s > 0
    return msgspec.structs.replace(done, soaking=soaking, starts_left=SOAK_STARTS if soaking else 0)


def soaked(record: AgentRecord) -> AgentRecord:
    """A process has lived long enough: starts are not counted any more."""
    return msgspec.structs.replace(record, soaking=False, starts_left=0, pending=())


def failed(record: AgentRecord, reason: str) -> AgentRecord:
    """Self-test, shadow or trial failed: go back to the last known good model."""
    return _move(record, Step.FAIL, reason)


def reverted(record: AgentRecord, document: RolloutDocument, reason: str) -> AgentRecord:
    """Leave a committed release for the one before it, or where none is left for the factory's.

    The floor stays: the step back that a signed abort orders is the one exception to it.
    """
    moved = _move(record, Step.REVERT, reason)
    return msgspec.structs.replace(
        moved,
        document=document,
        last_known_good=record.previous_good,
        previous_good=None,
        soaking=False,
        steps=1,
    )


def rolled_back(record: AgentRecord) -> AgentRecord:
    """The last known good model runs again."""
    return _close(_move(record, Step.RESTORED, record.reason))


def refused(record: AgentRecord, reason: str) -> AgentRecord:
    """The release cannot be installed here."""
    return _close(_move(record, Step.REFUSE, reason))


def superseded(record: AgentRecord, reason: str) -> AgentRecord:
    """The rollout was aborted, or another took its place."""
    return _close(_move(record, Step.SUPERSEDE, reason))


def broken(record: AgentRecord, reason: str) -> AgentRecord:
    """No model can be loaded. The rollout in hand has no outcome: it may be what mends this."""
    moved = _move(record, Step.LOSE, reason)
    return msgspec.structs.replace(moved, trial=None, written=None)


def restored(record: AgentRecord, slot: Slot, reason: str) -> AgentRecord:
    """A model that is not the recorded last known good one has taken its place."""
    moved = _move(record, Step.RESTORED) if record.state == DeviceState.BROKEN else record
    previous = None if record.previous_good == slot else record.previous_good
    floor = max(record.floor, slot.security_counter)
    return msgspec.structs.replace(
        moved,
        last_known_good=slot,
        previous_good=previous,
        floor=floor,
        soaking=False,
        reason=reason,
        pending=(),
    )


def resumed(record: AgentRecord, blocks_have: int) -> AgentRecord:
    """Count a restart in the middle of a rollout; a download that grew since is not counted."""
    if record.state == DeviceState.FETCHING and blocks_have > record.progress:
        return msgspec.structs.replace(record, progress=blocks_have)
    return msgspec.structs.replace(record, steps=record.steps + 1)


def _move(record: AgentRecord, step: Step, reason: str = "") -> AgentRecord:
    return msgspec.structs.replace(
        record,
        state=next_state(record.state, step),
        steps=record.steps + 1,
        reason=reason,
        pending=(),
    )


def _close(record: AgentRecord) -> AgentRecord:
    """End the rollout in hand: remember how, and let go of what was under way."""
    others = [entry for entry in record.outcomes if entry.rollout_id != record.rollout_id]
    ended = Outcome(rollout_id=record.rollout_id, state=record.state)
    return msgspec.structs.replace(
        record,
        outcomes=(*others, ended)[-MAX_OUTCOMES:],
        written=None,
        trial=None,
        starts_left=0,
    )
