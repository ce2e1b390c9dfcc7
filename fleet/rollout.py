"""What happens next in a rollout: `decide` is pure, its rules and states are tables.

Rules are tried in order and the first that applies decides, so harm comes before everything else.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from .errors import RolloutError
from .evidence import ALPHA
from .exposures import needed
from .model import Rollout, RolloutEvidence
from .model import RolloutState as S

COVERAGE = 0.9  # of the devices that a wave reached


class Move(enum.StrEnum):
    """What can happen to a rollout; also the kind of its line in the decision log."""

    STARTED = "started"
    SOAKING = "soaking"
    ADVANCED = "advanced"
    DONE = "done"
    ABORTED = "aborted"
    INCONCLUSIVE = "inconclusive"
    RESUMED = "resumed"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Action:
    """A move and why."""

    move: Move
    reason: str


LIVE = frozenset({S.ACTIVE, S.SOAKING, S.INCONCLUSIVE, S.PAUSED})  # occupies its cohort
RUNNING = frozenset({S.ACTIVE, S.SOAKING})

TABLE: Mapping[tuple[S, Move], S] = MappingProxyType(
    {
        (S.ACTIVE, Move.SOAKING): S.SOAKING,
        (S.ACTIVE, Move.ADVANCED): S.ACTIVE,
        (S.SOAKING, Move.ADVANCED): S.ACTIVE,
        (S.SOAKING, Move.DONE): S.DONE,
        (S.ACTIVE, Move.DONE): S.DONE,
        **{(state, Move.ABORTED): S.ABORTED for state in LIVE},
        (S.DONE, Move.ABORTED): S.ABORTED,  # by a person who found out later
        **{(state, Move.INCONCLUSIVE): S.INCONCLUSIVE for state in RUNNING},
        **{(state, Move.PAUSED): S.PAUSED for state in RUNNING},
        # A person who goes on accepts this wave as it is.
        (S.INCONCLUSIVE, Move.ADVANCED): S.ACTIVE,
        (S.INCONCLUSIVE, Move.DONE): S.DONE,
        (S.PAUSED, Move.RESUMED): S.ACTIVE,
    }
)


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a decision may look at. `members` counts the wave's devices, also absent."""

    rollout: Rollout
    evidence: RolloutEvidence
    members: int
    now_s: float


def next_state(state: S, move: Move) -> S:
    """The state after a move.

    Raises:
        RolloutError: the table has no such move.
    """
    try:
        return TABLE[state, move]
    except KeyError:
        raise RolloutError(f"a rollout that is {state} cannot be {move}") from None


def decide(
    rollout: Rollout, evidence: RolloutEvidence, members: int, now_s: float
) -> tuple[Action, ...]:
    """What to do now; nothing at all where the evidence asks for patience."""
    situation = Situation(rollout, evidence, members, now_s)
    for states, rule in RULES:
        if rollout.state in states and (action := rule(situation)) is not None:
            return (action,)
    return ()


def move(rollout: Rollout, action: Action, permille: int, now_s: float) -> Rollout:
    """The rollout after an action; `permille` is that of its present or, when advanced, next wave.

    Raises:
        RolloutError: the table has no such move.
    """
    after = next_state(rollout.state, action.move)
    advanced = action.move is Move.ADVANCED
    restarted = advanced or action.move in (Move.RESUMED, Move.SOAKING)
    return msgspec.structs.replace(
        rollout,
        state=after,
        wave=rollout.wave + advanced,
        permille=permille,
        wave_started_s=now_s if restarted else rollout.wave_started_s,
        reason=action.reason,
    )


def go_on(rollout: Rollout, why: str) -> Action:
    """What a person's "go on" means: again where it was paused, else on to the next wave."""
    if rollout.state is S.PAUSED:
        return Action(Move.RESUMED, why)
    if rollout.state is S.INCONCLUSIVE:
        return _onward(rollout, why)
    raise RolloutError(f"rollout '{rollout.rollout_id}' is {rollout.state}: nothing to resume")


def describe(evidence: RolloutEvidence) -> str:
    """The evidence in one line, with the word weak where it is."""
    parts = [
        f"{evidence.committed} of {evidence.eligible} devices run it",
        f"{evidence.failed} failed",
        f"e-value {evidence.e_value:.3g} (stops at {1 / ALPHA:g})",
    ]
    if evidence.rejected:
        parts.append(f"{evidence.rejected} refused it")
    if evidence.weak:
        parts.append(
            f"weak: {evidence.pairs} pairs with a holdback, so judged by the fleet's history"
        )
    if evidence.minimum_harm is None:
        parts.append("a canary of this size can find no harm at all")
    else:
        parts.append(f"finds failure rates from {100 * evidence.minimum_harm:.0f} % up")
    return "; ".join(parts)


def _harm(s: Situation) -> Action | None:
    if s.evidence.e_value < 1 / ALPHA:
        return None
    first = f" ({s.evidence.failures[0]})" if s.evidence.failures else ""
    return Action(Move.ABORTED, f"evidence of harm: {describe(s.evidence)}{first}")


def _outsiders(s: Situation) -> Action | None:
    if not s.evidence.outsiders:
        return None
    names = ", ".join(s.evidence.outsiders[:3])
    return Action(Move.INCONCLUSIVE, f"devices outside of the wave run the release: {names}")


def _empty_wave(s: Situation) -> Action | None:
    if s.members:
        return None
    return _onward(s.rollout, "no device of the cohort is in this wave")


def _covered(s: Situation) -> Action | None:
    if s.evidence.committed < needed(s.evidence.eligible, COVERAGE):
        return None
    return Action(Move.SOAKING, f"soaking for {s.rollout.soak_s:g} s: {describe(s.evidence)}")


def _soaked(s: Situation) -> Action | None:
    if s.evidence.healthy < needed(s.evidence.eligible, COVERAGE):
        return None
    return _onward(s.rollout, describe(s.evidence))


def _nothing_to_come(s: Situation) -> Action | None:
    e = s.evidence
    if e.pending or e.committed > e.healthy or e.eligible + e.rejected == 0:
        return None
    return Action(Move.INCONCLUSIVE, f"a person has to decide: {describe(e)}")


def _waited(s: Situation) -> Action | None:
    if s.now_s - s.rollout.wave_started_s < s.rollout.max_wait_s:
        return None
    waited = f"no verdict after {s.rollout.max_wait_s:g} s"
    return Action(Move.INCONCLUSIVE, f"{waited}, a person has to decide: {describe(s.evidence)}")


def _onward(rollout: Rollout, why: str) -> Action:
    if rollout.wave + 1 == len(rollout.waves):
        return Action(Move.DONE, why)
    return Action(Move.ADVANCED, why)


Rule = Callable[[Situation], Action | None]
RULES: tuple[tuple[frozenset[S], Rule], ...] = (
    (LIVE, _harm),
    (RUNNING, _outsiders),
    (frozenset({S.ACTIVE}), _empty_wave),
    (frozenset({S.ACTIVE}), _covered),
    (frozenset({S.SOAKING}), _soaked),
    (RUNNING, _nothing_to_come),
    (RUNNING, _waited),
)
