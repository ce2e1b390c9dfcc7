"""The update agent's table of transitions: the only place that says which state follows which.

Properties that the tests hold the table to:

- Busy states never form a circle, so every offer ends in a resting state after at most
  `LONGEST_PATH` transitions. `MAX_STEPS` bounds the same across restarts.
- Every busy state can be superseded or fails towards the last known good model.
- `COMMITTED` is reached from a trial, or where the offered release already runs.

SHADOW is passed where the rollout's limits ask for it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from .errors import AgentError
from .protocol import DeviceState as S

# OFFERED FETCHING VERIFIED STAGED SELF_TEST SHADOW TRIAL ROLLBACK ROLLED_BACK
LONGEST_PATH = 9
MAX_STEPS = 28  # transitions and restarts that one rollout may cost before it is given up


class Step(enum.StrEnum):
    """What happened; together with the state it names the next state."""

    OFFER = "offer"  # a rollout names this device
    ALREADY = "already"  # the offered release is the one that runs
    ACCEPT = "accept"  # trust, hardware, space and security counter agree
    REFUSE = "refuse"  # the release can never be installed here
    FETCHED = "fetched"  # the whole file has the signed length and hash
    STAGE = "stage"  # the slot is written and named in the journal
    TEST = "test"  # the self-test begins
    WATCH = "watch"  # the self-test passed, the new model answers beside the live one
    PASS = "pass"  # self-test and shadow passed, the trial begins
    COMMIT = "commit"  # the trial passed
    FAIL = "fail"  # self-test, shadow or trial failed
    REVERT = "revert"  # a committed release was aborted
    RESTORED = "restored"  # the last known good model runs
    SUPERSEDE = "supersede"  # the rollout was aborted or replaced
    LOSE = "lose"  # no model on the device can be loaded


RESTING = frozenset(
    {S.IDLE, S.COMMITTED, S.ROLLED_BACK, S.REJECTED, S.SUPERSEDED, S.BROKEN},
)
BUSY = frozenset(
    {S.OFFERED, S.FETCHING, S.VERIFIED, S.STAGED, S.SELF_TEST, S.SHADOW, S.TRIAL, S.ROLLBACK},
)
REVERTIBLE = RESTING - {S.BROKEN}

_PATH = (
    # state        what happened   next
    (S.OFFERED,    Step.ALREADY,   S.COMMITTED),
    (S.OFFERED,    Step.ACCEPT,    S.FETCHING),
    (S.OFFERED,    Step.REFUSE,    S.REJECTED),
    (S.FETCHING,   Step.FETCHED,   S.VERIFIED),
    (S.FETCHING,   Step.REFUSE,    S.REJECTED),
    (S.VERIFIED,   Step.STAGE,     S.STAGED),
    (S.VERIFIED,   Step.REFUSE,    S.REJECTED),
    (S.STAGED,     Step.TEST,      S.SELF_TEST),
    (S.STAGED,     Step.FAIL,      S.ROLLBACK),
    (S.SELF_TEST,  Step.WATCH,     S.SHADOW),
    (S.SELF_TEST,  Step.PASS,      S.TRIAL),
    (S.SELF_TEST,  Step.FAIL,      S.ROLLBACK),
    (S.SHADOW,     Step.PASS,      S.TRIAL),
    (S.SHADOW,     Step.FAIL,      S.ROLLBACK),
    (S.TRIAL,      Step.COMMIT,    S.COMMITTED),
    (S.TRIAL,      Step.FAIL,      S.ROLLBACK),
    (S.ROLLBACK,   Step.RESTORED,  S.ROLLED_BACK),
    (S.BROKEN,     Step.RESTORED,  S.IDLE),
)  # fmt: skip
_OFFERS = tuple((state, Step.OFFER, S.OFFERED) for state in RESTING)
_REVERTS = tuple((state, Step.REVERT, S.ROLLBACK) for state in REVERTIBLE)
_SUPERSEDED = tuple((state, Step.SUPERSEDE, S.SUPERSEDED) for state in BUSY - {S.ROLLBACK})
_LOST = tuple((state, Step.LOSE, S.BROKEN) for state in RESTING | BUSY)

TABLE: Mapping[tuple[S, Step], S] = MappingProxyType(
    {
        (state, step): after
        for state, step, after in (*_PATH, *_OFFERS, *_REVERTS, *_SUPERSEDED, *_LOST)
    }
)


def next_state(state: S, step: Step) -> S:
    """The state after `step`.

    Raises:
        AgentError: the table has no such transition.
    """
    try:
        return TABLE[state, step]
    except KeyError:
        raise AgentError(f"the update agent cannot '{step}' while {state}") from None
