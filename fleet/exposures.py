"""Which devices a rollout reached, how each fared, and what that amounts to: pure functions.

A canary device is exposed when it is first seen online in the wave. With each canary the next
device of the holdback, by position, is exposed too: the pair lives through the same hours. Both
orders are fixed by the rollout's random salt before any outcome is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from edgekiln.runtime.protocol import DeviceState, Event, RolloutDocument, State
from edgekiln.runtime.wave import POSITIONS, holds_back, joins, position

from .errors import RolloutError
from .evidence import History, combine, minimum_harm, one_arm, paired
from .model import Rollout, RolloutEvidence, RolloutState, Wave
from .twin import Arm, Exposure, Outcome, Twin

FINAL = frozenset({Outcome.HEALTHY, Outcome.FAILED, Outcome.REJECTED})
SETTLED = frozenset({DeviceState.COMMITTED, DeviceState.IDLE})
FAILED_STATES = frozenset({DeviceState.ROLLED_BACK, DeviceState.BROKEN})
FAILED_EVENTS = frozenset({"rolled_back", "broken"})
WEAK_PAIRS = 10  # fewer resolved pairs than this leave the verdict to history
FAILURES_SHOWN = 5
SALT_ATTEMPTS = 500


@dataclass(frozen=True, slots=True)
class Context:
    """What exposures are judged by at one moment."""

    rollout: Rollout
    now_s: float
    twins: Mapping[str, Twin]
    members: Sequence[str]  # devices of the cohort
    events: Sequence[tuple[str, Event]]  # of this rollout


def document(rollout: Rollout) -> RolloutDocument:
    """The document that the cohort's devices see."""
    return RolloutDocument(
        rollout_id=rollout.rollout_id,
        version=rollout.version,
        cohort=rollout.cohort,
        release=rollout.release,
        target_path=rollout.target_path,
        sha256=rollout.sha256,
        salt=rollout.salt,
        permille=rollout.permille,
        holdback_permille=rollout.holdback_permille,
        not_before_s=0.0,
        expires_s=rollout.expires_s,
        deadline_s=rollout.deadline_s,
        soak_s=rollout.soak_s,
        aborted=rollout.state is RolloutState.ABORTED,
        mirrors=rollout.mirrors,
        limits=rollout.limits,
        window_s=rollout.window_s,
    )


def wave_permille(wave: Wave, salt: str, members: Sequence[str], holdback_permille: int) -> int:
    """The permille that makes a wave: as given, or to cover its number of devices.

    Devices at the same position come together, so a wave may cover more than it asks for; see
    `choose_salt`.
    """
    if wave.devices is None:
        return wave.permille or 0
    places = _places(salt, members, holdback_permille)
    if wave.devices >= len(places):
        return POSITIONS - holdback_permille
    return places[wave.devices - 1] + 1


def choose_salt(
    waves: Sequence[Wave], members: Sequence[str], holdback_permille: int, salts: Iterable[str]
) -> str:
    """The first of some random salts that cuts every wave at exactly its number of devices.

    Raises:
        RolloutError: none does, because so many devices share a thousand positions.
    """

    def exact(wave: Wave, salt: str) -> bool:
        cut = wave_permille(wave, salt, members, holdback_permille)
        places = _places(salt, members, holdback_permille)
        covered = sum(place < cut for place in places)
        return wave.devices is None or covered == min(wave.devices, len(places))

    for salt in salts:
        if all(exact(wave, salt) for wave in waves):
            return salt
    counts = ", ".join(str(wave.devices) for wave in waves if wave.devices is not None)
    msg = f"a cohort of {len(members)} devices cannot be cut at exactly {counts}; use a share"
    raise RolloutError(msg)


def _places(salt: str, members: Sequence[str], holdback_permille: int) -> list[int]:
    places = (position(salt, device) for device in members)
    return sorted(place for place in places if place < POSITIONS - holdback_permille)


def open_exposures(context: Context, known: Sequence[Exposure]) -> tuple[Exposure, ...]:
    """Exposures that begin now."""
    rollout, paper = context.rollout, document(context.rollout)
    reached = {exposure.device for exposure in known}

    def fresh(device: str, arm: Arm) -> Exposure:
        return Exposure(
            rollout_id=rollout.rollout_id,
            device=device,
            arm=arm,
            position=position(rollout.salt, device),
            wave=rollout.wave,
            exposed_s=context.now_s,
        )

    online = [
        device
        for device in context.members
        if device not in reached and device in context.twins and context.twins[device].online
    ]
    canaries = [fresh(device, Arm.CANARY) for device in online if joins(paper, device)]
    waiting = [fresh(device, Arm.HOLDBACK) for device in online if holds_back(paper, device)]
    waiting.sort(key=lambda exposure: (exposure.position, exposure.device))
    had = [exposure.arm for exposure in known]
    pairs = len(canaries) + had.count(Arm.CANARY) - had.count(Arm.HOLDBACK)
    return (*canaries, *waiting[: max(0, pairs)])


def judge(context: Context, exposure: Exposure) -> Exposure:
    """The exposure with its outcome as of now; a final outcome stays."""
    if exposure.outcome in FINAL:
        return exposure
    verdict = _canary if exposure.arm is Arm.CANARY else _holdback
    outcome, reason = verdict(context, exposure)
    if outcome is exposure.outcome:
        return exposure
    return msgspec.structs.replace(
        exposure, outcome=outcome, outcome_s=context.now_s, reason=reason
    )


def summarise(context: Context, exposures: Sequence[Exposure], past: History) -> RolloutEvidence:
    """All outcomes as one piece of evidence."""
    canaries = [e for e in exposures if e.arm is Arm.CANARY]
    count = {outcome: sum(e.outcome is outcome for e in canaries) for outcome in Outcome}
    eligible = len(canaries) - count[Outcome.REJECTED]
    failed = count[Outcome.FAILED]
    holdback = any(holds_back(document(context.rollout), d) for d in context.members)
    pairs = _resolved_pairs(exposures)
    against_history = one_arm(failed, eligible, past)
    against_holdback = paired(pairs)
    return RolloutEvidence(
        eligible=eligible,
        committed=count[Outcome.COMMITTED] + count[Outcome.HEALTHY],
        healthy=count[Outcome.HEALTHY],
        failed=failed,
        pending=count[Outcome.PENDING],
        rejected=count[Outcome.REJECTED],
        e_value=combine(against_history, against_holdback, holdback),
        e_one_arm=against_history,
        e_paired=against_holdback,
        pairs=len(pairs),
        weak=len(pairs) < WEAK_PAIRS,
        minimum_harm=minimum_harm(eligible, past, holdback),
        failures=tuple(f"{e.device}: {e.reason}" for e in canaries if e.outcome is Outcome.FAILED)[
            :FAILURES_SHOWN
        ],
        outsiders=_outsiders(context),
    )


def wave_members(context: Context) -> int:
    """Devices of the cohort in the wave, online or not."""
    paper = document(context.rollout)
    return sum(joins(paper, device) for device in context.members)


def needed(eligible: int, coverage: float) -> int:
    """Devices that make up a coverage, at least one."""
    return max(1, math.ceil(coverage * eligible - 1e-9))


def _canary(context: Context, exposure: Exposure) -> tuple[Outcome, str]:
    rollout, twin = context.rollout, context.twins[exposure.device]
    state = twin.state if twin.state and twin.state.rollout_id == rollout.rollout_id else None
    reported = _reported(context, exposure.device, state)
    if reported is not None:
        return reported
    if twin.running == rollout.release and twin.state and twin.state.state in SETTLED:
        return _committed(context, exposure, twin)
    if exposure.outcome is Outcome.COMMITTED:
        return Outcome.FAILED, "left the release during its soak"
    if context.now_s - exposure.exposed_s > rollout.deadline_s:
        where = state.state.value if state else "no answer to the offer"
        return Outcome.FAILED, f"silent past the deadline of {rollout.deadline_s:g} s ({where})"
    return Outcome.PENDING, ""


def _reported(context: Context, device: str, state: State | None) -> tuple[Outcome, str] | None:
    """A failure or refusal that the device itself told of; failures come first."""
    happened = [event for name, event in context.events if name == device]
    for event in happened:
        if event.kind in FAILED_EVENTS or (event.kind == "trial" and not event.passed):
            return Outcome.FAILED, event.reason or event.kind.replace("_", " ")
    if state and state.state in FAILED_STATES:
        return Outcome.FAILED, state.error or state.state.value.lower().replace("_", " ")
    refusal = next((event for event in happened if event.kind == "rejected"), None)
    if refusal:
        return Outcome.REJECTED, refusal.reason
    if state and state.state is DeviceState.REJECTED:
        return Outcome.REJECTED, state.error
    return None


def _committed(context: Context, exposure: Exposure, twin: Twin) -> tuple[Outcome, str]:
    rollout, now_s = context.rollout, context.now_s
    since_s = exposure.outcome_s if exposure.outcome is Outcome.COMMITTED else now_s
    if now_s - twin.last_seen_s > rollout.deadline_s:
        return Outcome.FAILED, f"silent for {now_s - twin.last_seen_s:.0f} s during its soak"
    if now_s - since_s >= rollout.soak_s and twin.online:
        return Outcome.HEALTHY, ""
    return Outcome.COMMITTED, ""


def _holdback(context: Context, exposure: Exposure) -> tuple[Outcome, str]:
    """A control device lives through the same time and must be there, unbroken, at its end."""
    rollout, twin = context.rollout, context.twins[exposure.device]
    if context.now_s - exposure.exposed_s < rollout.deadline_s + rollout.soak_s:
        return Outcome.PENDING, ""
    if twin.state and twin.state.state is DeviceState.BROKEN:
        return Outcome.FAILED, "broken"
    if not twin.online:
        return Outcome.FAILED, "silent"
    return Outcome.HEALTHY, ""


def _resolved_pairs(exposures: Sequence[Exposure]) -> list[tuple[bool, bool]]:
    """(canary failed, holdback failed), by position, up to the first pair that is not resolved.

    Skipping over open pairs would see quick failures first and break the test's guarantee.
    """
    arms: dict[Arm, list[Exposure]] = {arm: [] for arm in Arm}
    for exposure in sorted(exposures, key=lambda e: (e.wave, e.position, e.device)):
        if exposure.outcome is not Outcome.REJECTED:
            arms[exposure.arm].append(exposure)
    pairs: list[tuple[bool, bool]] = []
    for canary, control in zip(arms[Arm.CANARY], arms[Arm.HOLDBACK], strict=False):
        if canary.outcome not in FINAL or control.outcome not in FINAL:
            break
        pairs.append((canary.outcome is Outcome.FAILED, control.outcome is Outcome.FAILED))
    return pairs


def _outsiders(context: Context) -> tuple[str, ...]:
    paper = document(context.rollout)
    return tuple(
        device
        for device in context.members
        if not joins(paper, device)
        and (twin := context.twins.get(device)) is not None
        and twin.state is not None
        and twin.state.rollout_id == paper.rollout_id
        and twin.running == paper.release
    )
