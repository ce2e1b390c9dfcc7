"""What the agent does in each busy state: one function a state, listed in `STEPS`.

A step does its work, which may be repeated after a crash at any point, and returns the next record
with what to say about it, or None to stay. The agent appends that record to the journal before the
next step acts on it. What passes by itself (`TransferError`, stale metadata, a full disk, a closed
window) leaves the state as it is; everything else ends the rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from . import record as moves
from .agent_checks import (
    Device,
    why_not_now,
    why_refused,
    why_shadow_failed,
    why_stuck,
    why_test_failed,
    why_trial_failed,
)
from .agent_ports import Clock, Models
from .download import Downloads, Progress
from .errors import AgentError, HoldError, RuntimeRoomError, StaleMetadataError, TrustError
from .protocol import DeviceState, Event, RolloutDocument, ShadowLimits, TrialEvidence
from .record import AgentRecord, ReleaseInfo, Slot
from .reporter import Reporter
from .shadow import Verdict, judge
from .slots import SlotStore
from .state_machine import TABLE, Step
from .transfer import Transfer
from .trust import Trust


@dataclass(slots=True)
class Trial:
    """Since when this boot compares the new model with the live one; None while it does not."""

    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What the steps work with.

    `hold` says why this device must not begin to test a model now (a low battery, a moving arm);
    empty: it may. The agent binds the last two to itself: `save` journals a record that stays in
    its state, `progress` reports a download.
    """

    device: Device
    trust: Trust
    slots: SlotStore
    transfer: Transfer
    downloads: Downloads
    models: Models
    reporter: Reporter
    clock: Clock
    hold: Callable[[], str] = lambda: ""
    trial: Trial = field(default_factory=Trial)
    save: Callable[[AgentRecord], None] = lambda record: None
    progress: Progress = lambda have, total: None


@dataclass(frozen=True, slots=True)
class Next:
    """The record to write next, and the events that belong to it."""

    record: AgentRecord
    events: tuple[Event, ...] = ()


Action = Callable[[Tools, AgentRecord], Next | None]


def consider(tools: Tools, record: AgentRecord) -> Next:
    """OFFERED: ask the signed repository, then compare release and device."""
    document = _document(record)
    good = record.last_known_good
    if good and good.bundle_id == document.release == tools.models.running:
        done = moves.already_running(record)
        return Next(done, (_event(tools, done, "committed", passed=True),))
    try:
        release = tools.trust.find(document.target_path, tools.transfer.fetch_bytes)
    except StaleMetadataError:
        raise
    except TrustError as error:
        return _refuse(tools, record, str(error))
    reason = why_refused(document, release, tools.device, record.floor)
    if reason:
        return _refuse(tools, record, reason)
    offered = msgspec.structs.replace(release, mirrors=document.mirrors)
    return Next(moves.accepted(record, offered))


def fetch(tools: Tools, record: AgentRecord) -> Next:
    """FETCHING: leaves, then blocks, each checked on arrival, then the whole file."""
    try:
        tools.downloads.fetch(_release(record), tools.progress)
    except TrustError as error:
        tools.downloads.drop_all()
        return _refuse(tools, record, str(error))
    return Next(moves.fetched(record))


def stage(tools: Tools, record: AgentRecord) -> Next:
    """VERIFIED: write the slot. The download stays until the journal names the slot."""
    release = _release(record)
    slot = Slot(
        bundle_id=release.bundle_id,
        sha256=release.sha256,
        bytes=release.bytes,
        security_counter=release.security_counter,
        rollout_id=record.rollout_id,
    )
    if not tools.slots.holds(slot):
        try:
            data = tools.downloads.read(release)
        except TrustError as error:
            return _refuse(tools, record, f"the download was damaged on this device: {error}")
        tools.slots.write(slot, data)
    return Next(moves.staged(record, slot))


def begin_test(tools: Tools, record: AgentRecord) -> Next:
    """STAGED: wait for the window and the device's leave, then allow the self-test its starts."""
    tools.downloads.drop_all()
    document = _document(record)
    why_not = tools.hold() or why_not_now(document, tools.clock.now_s())
    if why_not:
        raise HoldError(why_not)
    return Next(moves.under_test(record, document.limits.trial_starts))


def self_test(tools: Tools, record: AgentRecord) -> Next:
    """SELF_TEST: open the bundle beside the live one; golden vectors, latency, memory."""
    limits = _document(record).limits
    slot, why_not = _startable(tools, record, record.written, "self-test")
    if slot is None:
        return Next(moves.failed(record, why_not))
    tools.save(moves.started(record))
    try:
        result = tools.models.self_test(tools.slots.path(slot))
    except RuntimeRoomError as error:
        return Next(moves.failed(record, f"self-test: {error}"))
    reason = why_test_failed(result, limits, slot.bundle_id)
    if reason:
        return Next(moves.failed(record, f"self-test: {reason}"))
    if limits.shadow is not None:
        return Next(moves.in_shadow(record, limits.trial_starts))
    return Next(moves.on_trial(record, limits.trial_starts))


def run_shadow(tools: Tools, record: AgentRecord) -> Next | None:
    """SHADOW: ask the new model beside the live one until the evidence decides."""
    limits = _document(record).limits
    bounds = limits.shadow or ShadowLimits()
    if tools.trial.since_s is None:
        return _start_beside(tools, record, bounds)
    evidence = tools.models.evidence()
    waited_s = tools.clock.monotonic_s() - tools.trial.since_s
    verdict = judge(evidence.samples, evidence.disagreements, bounds, waited_s)
    reason = why_shadow_failed(evidence, verdict, limits, tools.models.rss_bytes)
    if not reason and verdict is Verdict.OPEN:
        return None
    told = _event(tools, record, "shadow", passed=not reason, reason=reason, trial=evidence)
    if reason:
        return Next(moves.failed(record, reason), (told,))
    return Next(moves.on_trial(record, limits.trial_starts), (told,))


def run_trial(tools: Tools, record: AgentRecord) -> Next | None:
    """TRIAL: make the model live, wait for its paired samples, then judge."""
    if tools.trial.since_s is None:
        return _start_trial(tools, record)
    limits = _document(record).limits
    evidence = tools.models.evidence()
    reason = why_stuck(tools.models.stuck_s)
    reason = reason or why_trial_failed(evidence, limits, tools.models.rss_bytes)
    waited_s = tools.clock.monotonic_s() - tools.trial.since_s
    if not reason and evidence.samples < limits.trial_samples:
        if waited_s < limits.trial_timeout_s:
            return None
        reason = f"only {evidence.samples} of {limits.trial_samples} samples in {waited_s:.0f} s"
    if not reason and (record.trial is None or tools.models.running != record.trial.bundle_id):
        reason = "the live session does not run the model on trial"
    told = _event(tools, record, "trial", passed=not reason, reason=reason, trial=evidence)
    if reason:
        return Next(moves.failed(record, reason), (told,))
    done = moves.committed(record)
    return Next(done, (told, _event(tools, done, "committed", passed=True)))


STEPS: Mapping[DeviceState, Action] = {
    DeviceState.OFFERED: consider,
    DeviceState.FETCHING: fetch,
    DeviceState.VERIFIED: stage,
    DeviceState.STAGED: begin_test,
    DeviceState.SELF_TEST: self_test,
    DeviceState.SHADOW: run_shadow,
    DeviceState.TRIAL: run_trial,
}


def give_up(tools: Tools, record: AgentRecord, reason: str) -> Next | None:
    """End a rollout that has cost too many restarts; None where it is already on its way out."""
    if (record.state, Step.REFUSE) in TABLE:
        return _refuse(tools, record, reason)
    if (record.state, Step.FAIL) in TABLE:
        return Next(moves.failed(record, reason))
    return None


def _start_beside(tools: Tools, record: AgentRecord, bounds: ShadowLimits) -> Next | None:
    slot, why_not = _startable(tools, record, record.written, "shadow phase")
    if slot is None:
        return Next(moves.failed(record, why_not))
    tools.save(moves.started(record))
    try:
        tools.models.start_shadow(tools.slots.path(slot), bounds.rate)
    except RuntimeRoomError as error:
        return Next(moves.failed(record, f"shadow: {error}"))
    tools.trial.since_s = tools.clock.monotonic_s()
    return None


def _start_trial(tools: Tools, record: AgentRecord) -> Next | None:
    slot, why_not = _startable(tools, record, record.trial, "trial")
    if slot is None:
        return Next(moves.failed(record, why_not))
    tools.save(moves.started(record))
    try:
        tools.models.start_trial(tools.slots.path(slot))
    except RuntimeRoomError as error:
        return Next(moves.failed(record, f"trial: {error}"))
    tools.trial.since_s = tools.clock.monotonic_s()
    return None


def _startable(
    tools: Tools, record: AgentRecord, slot: Slot | None, what: str
) -> tuple[Slot | None, str]:
    """The slot if its model may be loaded once more, else why not."""
    if record.starts_left <= 0:
        return None, f"the {what} did not come to its end in the starts it is allowed"
    if slot is None or not tools.slots.holds(slot):
        return None, "the new bundle was damaged on this device"
    return slot, ""


def _refuse(tools: Tools, record: AgentRecord, reason: str) -> Next:
    done = moves.refused(record, reason)
    return Next(done, (_event(tools, done, "rejected", reason=reason),))


def _event(
    tools: Tools,
    record: AgentRecord,
    kind: str,
    passed: bool = False,
    reason: str = "",
    trial: TrialEvidence | None = None,
) -> Event:
    document = _document(record)
    return tools.reporter.event(
        kind, document.rollout_id, document.release, tools.clock.now_s(), passed, reason, trial
    )


def _document(record: AgentRecord) -> RolloutDocument:
    if record.document is None:
        raise AgentError(f"the journal names no rollout while {record.state}")
    return record.document


def _release(record: AgentRecord) -> ReleaseInfo:
    if record.release is None:
        raise AgentError(f"the journal names no release while {record.state}")
    return record.release
