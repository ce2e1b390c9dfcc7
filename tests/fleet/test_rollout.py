"""Decisions, from single rules to ten thousand simulated devices."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.fleet.errors import RolloutError
from edgekiln.fleet.evidence import ALPHA, History
from edgekiln.fleet.exposures import (
    Context,
    choose_salt,
    document,
    judge,
    open_exposures,
    summarise,
    wave_members,
    wave_permille,
)
from edgekiln.fleet.model import Rollout, RolloutEvidence, RolloutState, Wave
from edgekiln.fleet.rollout import (
    LIVE,
    TABLE,
    Move,
    decide,
    describe,
    go_on,
    move,
    next_state,
)
from edgekiln.fleet.twin import Arm, Exposure, Outcome, Twin
from edgekiln.runtime.protocol import Birth, DeviceState, Event, State
from edgekiln.runtime.wave import holds_back, joins, position

NEW, OLD = "n" * 64, "o" * 64
DEVICES = tuple(f"device-{i}" for i in range(40))


def rollout(**changes: object) -> Rollout:
    base = Rollout(
        rollout_id="r1",
        release=NEW,
        cohort="all",
        waves=(Wave(devices=2), Wave(permille=1000)),
        salt="salt",
        state=RolloutState.ACTIVE,
        wave=0,
        version=1,
        permille=1000,
        started_s=0.0,
        wave_started_s=0.0,
        soak_s=10.0,
        deadline_s=100.0,
        max_wait_s=600.0,
    )
    return msgspec.structs.replace(base, **changes)


def evidence(**changes: object) -> RolloutEvidence:
    base = RolloutEvidence(
        eligible=2,
        committed=0,
        healthy=0,
        failed=0,
        pending=2,
        rejected=0,
        e_value=1.0,
        e_one_arm=1.0,
        e_paired=1.0,
        pairs=0,
        weak=True,
        minimum_harm=0.5,
    )
    return msgspec.structs.replace(base, **changes)


def twin(
    device: str, state: DeviceState = DeviceState.IDLE, running: str = OLD, **changes: object
) -> Twin:
    said = State(
        boot_id="b", seq=1, at_s=0.0, state=state, rollout_id="r1", running=running, error="why"
    )
    birth = Birth(device=device, boot_id="b", online=True)
    values: dict[str, object] = {"online": True, "last_seen_s": 0.0, **changes}
    return Twin(device=device, birth=birth, state=said, **values)  # type: ignore[arg-type]


def context(
    twins: tuple[Twin, ...],
    now_s: float = 1.0,
    events: tuple[tuple[str, Event], ...] = (),
    **changes: object,
) -> Context:
    known = {t.device: t for t in twins}
    return Context(rollout(**changes), now_s, known, tuple(sorted(known)), events)


def exposure(device: str = "a", **changes: object) -> Exposure:
    base = Exposure(
        rollout_id="r1", device=device, arm=Arm.CANARY, position=1, wave=0, exposed_s=0.0
    )
    return msgspec.structs.replace(base, **changes)


# Rules


@pytest.mark.parametrize(
    ("state", "changes", "members", "now_s", "expected"),
    [
        (RolloutState.ACTIVE, {}, 2, 1.0, None),
        (RolloutState.ACTIVE, {"e_value": 20.0}, 2, 1.0, Move.ABORTED),
        (RolloutState.SOAKING, {"e_value": 20.0}, 2, 1.0, Move.ABORTED),
        (RolloutState.INCONCLUSIVE, {"e_value": 20.0}, 2, 1.0, Move.ABORTED),
        (RolloutState.ACTIVE, {"e_value": 19.9, "pending": 1, "failed": 1}, 2, 1.0, None),
        (RolloutState.ACTIVE, {"committed": 1, "pending": 1}, 2, 1.0, None),
        (RolloutState.ACTIVE, {"committed": 2, "pending": 0}, 2, 1.0, Move.SOAKING),
        (RolloutState.SOAKING, {"committed": 2, "pending": 0}, 2, 1.0, None),
        (
            RolloutState.SOAKING,
            {"committed": 2, "healthy": 2, "pending": 0},
            2,
            1.0,
            Move.ADVANCED,
        ),
        (RolloutState.ACTIVE, {"failed": 1, "committed": 1, "healthy": 1, "pending": 0}, 2, 1.0,
         Move.INCONCLUSIVE),
        (RolloutState.ACTIVE, {"eligible": 0, "rejected": 2, "pending": 0}, 2, 1.0,
         Move.INCONCLUSIVE),
        (RolloutState.ACTIVE, {"eligible": 0, "pending": 0}, 2, 1.0, None),
        (RolloutState.ACTIVE, {"eligible": 0, "pending": 0}, 2, 600.0, Move.INCONCLUSIVE),
        (RolloutState.ACTIVE, {"eligible": 0, "pending": 0}, 0, 1.0, Move.ADVANCED),
        (RolloutState.ACTIVE, {"outsiders": ("x",)}, 2, 1.0, Move.INCONCLUSIVE),
        (RolloutState.PAUSED, {"committed": 2, "pending": 0}, 2, 9e9, None),
        (RolloutState.DONE, {"e_value": 1e9}, 2, 9e9, None),
        (RolloutState.ABORTED, {"e_value": 1e9}, 2, 9e9, None),
    ],
)  # fmt: skip
def test_rule_decides(
    state: RolloutState,
    changes: dict[str, object],
    members: int,
    now_s: float,
    expected: Move | None,
) -> None:
    actions = decide(rollout(state=state), evidence(**changes), members, now_s)
    assert [action.move for action in actions] == ([] if expected is None else [expected])


def test_last_wave_is_done_when_it_is_healthy() -> None:
    last = rollout(state=RolloutState.SOAKING, wave=1)
    (action,) = decide(last, evidence(committed=2, healthy=2, pending=0), 2, 1.0)
    assert action.move is Move.DONE
    assert move(last, action, 1000, 1.0).state is RolloutState.DONE


@given(st.sampled_from(RolloutState), st.data())
@settings(max_examples=2 * settings().max_examples)
def test_whatever_is_decided_is_a_move_of_the_table(
    state: RolloutState, data: st.DataObject
) -> None:
    count = st.integers(0, 5)
    healthy, soaking, failed, pending, rejected = (data.draw(count) for _ in range(5))
    found = evidence(
        eligible=healthy + soaking + failed + pending,
        committed=healthy + soaking,
        healthy=healthy,
        failed=failed,
        pending=pending,
        rejected=rejected,
        e_value=data.draw(st.sampled_from([0.1, 1.0, 19.9, 20.0, 1e12])),
    )
    before = rollout(state=state, wave=data.draw(st.integers(0, 1)))
    for action in decide(before, found, data.draw(count), data.draw(st.floats(0, 1e4))):
        after = move(before, action, 1000, 1.0)
        assert after.state is TABLE[state, action.move]
        assert after.wave < len(after.waves)
        assert (after.state is RolloutState.ABORTED) == (found.e_value >= 1 / ALPHA)


def test_ended_rollout_refuses_every_move_but_a_late_abort() -> None:
    for state in set(RolloutState) - LIVE:
        for step in Move:
            if (state, step) == (RolloutState.DONE, Move.ABORTED):
                continue
            with pytest.raises(RolloutError, match=state.value):
                next_state(state, step)


def test_going_on_means_the_next_wave_when_it_was_inconclusive() -> None:
    paused = rollout(state=RolloutState.PAUSED)
    assert move(paused, go_on(paused, "ok"), 500, 9.0).wave == 0
    stuck = rollout(state=RolloutState.INCONCLUSIVE)
    after = move(stuck, go_on(stuck, "ok"), 1000, 9.0)
    assert (after.wave, after.state, after.wave_started_s) == (1, RolloutState.ACTIVE, 9.0)
    last = rollout(state=RolloutState.INCONCLUSIVE, wave=1)
    assert move(last, go_on(last, "ok"), 1000, 9.0).state is RolloutState.DONE
    with pytest.raises(RolloutError, match="nothing to resume"):
        go_on(rollout(), "ok")


def test_description_says_weak_and_what_could_be_found() -> None:
    assert "weak" in describe(evidence())
    assert "50 %" in describe(evidence())
    assert "weak" not in describe(evidence(weak=False, pairs=12))
    assert "no harm at all" in describe(evidence(minimum_harm=None))


# Waves


@pytest.mark.parametrize("holdback", [0, 250])
@pytest.mark.parametrize("devices", [1, 2, 7, 40, 99])
def test_wave_of_n_devices_covers_exactly_n(devices: int, holdback: int) -> None:
    waves = (Wave(devices=devices), Wave(permille=1000))
    salts = [f"salt-{i}" for i in range(200)]
    salt = choose_salt(waves, DEVICES, holdback, salts)
    permille = wave_permille(waves[0], salt, DEVICES, holdback)
    paper = document(rollout(salt=salt, permille=permille, holdback_permille=holdback))
    joined = [device for device in DEVICES if joins(paper, device)]
    eligible = [device for device in DEVICES if not holds_back(paper, device)]
    assert len(joined) == min(devices, len(eligible))
    first = sorted(eligible, key=lambda device: position(salt, device))[:devices]
    assert set(joined) == set(first)


def test_exact_wave_is_refused_when_a_thousand_positions_are_too_few() -> None:
    crowd = tuple(f"d{i}" for i in range(20_000))
    with pytest.raises(RolloutError, match="use a share"):
        choose_salt((Wave(devices=10),), crowd, 0, ["a", "b", "c"])
    assert choose_salt((Wave(permille=10),), crowd, 0, ["a"]) == "a"


# Exposures


def test_device_is_reached_when_it_is_first_seen_online_in_the_wave() -> None:
    here = context((twin("a"), twin("b", online=False)))
    (begun,) = open_exposures(here, ())
    assert (begun.device, begun.arm, begun.exposed_s) == ("a", Arm.CANARY, 1.0)
    assert open_exposures(here, (begun,)) == ()


def test_holdback_is_exposed_pairwise_with_the_canary() -> None:
    twins = tuple(twin(device) for device in DEVICES)
    here = context(twins, permille=100, holdback_permille=500)
    begun = open_exposures(here, ())
    canaries = [e for e in begun if e.arm is Arm.CANARY]
    controls = [e for e in begun if e.arm is Arm.HOLDBACK]
    assert 0 < len(canaries) == len(controls)
    paper = document(here.rollout)
    held = sorted((position("salt", d), d) for d in DEVICES if holds_back(paper, d))
    assert [(e.position, e.device) for e in controls] == held[: len(controls)]


TRIAL_FAILED = Event(
    boot_id="b", seq=2, at_s=0.0, kind="trial", rollout_id="r1", reason="80 % disagree"
)


@pytest.mark.parametrize(
    ("seen", "events", "now_s", "before", "outcome", "reason"),
    [
        (twin("a"), (), 1.0, Outcome.PENDING, Outcome.PENDING, ""),
        (twin("a"), (), 101.0, Outcome.PENDING, Outcome.FAILED, "past the deadline"),
        (twin("a", DeviceState.FETCHING), (), 101.0, Outcome.PENDING, Outcome.FAILED, "FETCHING"),
        (twin("a", DeviceState.ROLLED_BACK), (), 1.0, Outcome.PENDING, Outcome.FAILED, "why"),
        (twin("a", DeviceState.BROKEN), (), 1.0, Outcome.PENDING, Outcome.FAILED, "why"),
        (twin("a", DeviceState.REJECTED), (), 1.0, Outcome.PENDING, Outcome.REJECTED, "why"),
        (twin("a", DeviceState.TRIAL, NEW), (), 1.0, Outcome.PENDING, Outcome.PENDING, ""),
        (twin("a", DeviceState.COMMITTED, NEW), (), 1.0, Outcome.PENDING, Outcome.COMMITTED, ""),
        # What runs decides, not what the state machine says.
        (twin("a", DeviceState.COMMITTED, OLD), (), 1.0, Outcome.PENDING, Outcome.PENDING, ""),
        (twin("a", DeviceState.COMMITTED, NEW, last_seen_s=14.0), (), 15.0, Outcome.COMMITTED,
         Outcome.HEALTHY, ""),
        (twin("a", DeviceState.COMMITTED, NEW), (), 14.0, Outcome.COMMITTED, Outcome.COMMITTED, ""),
        (twin("a", DeviceState.COMMITTED, NEW, online=False), (), 90.0, Outcome.COMMITTED,
         Outcome.COMMITTED, ""),
        (twin("a", DeviceState.COMMITTED, NEW, online=False), (), 150.0, Outcome.COMMITTED,
         Outcome.FAILED, "silent"),
        (twin("a", DeviceState.IDLE, OLD), (), 15.0, Outcome.COMMITTED, Outcome.FAILED, "left"),
        (twin("a"), (("a", TRIAL_FAILED),), 1.0, Outcome.PENDING, Outcome.FAILED, "80 % disagree"),
        (twin("a"), (("b", TRIAL_FAILED),), 1.0, Outcome.PENDING, Outcome.PENDING, ""),
        (twin("a", DeviceState.COMMITTED, NEW), (), 9e9, Outcome.FAILED, Outcome.FAILED, ""),
    ],
)  # fmt: skip
def test_canary_is_judged_by_what_it_runs_and_reports(
    seen: Twin,
    events: tuple[tuple[str, Event], ...],
    now_s: float,
    before: Outcome,
    outcome: Outcome,
    reason: str,
) -> None:
    known = exposure(outcome=before, outcome_s=5.0)
    judged = judge(context((seen,), now_s, events), known)
    assert judged.outcome is outcome
    assert reason in judged.reason


def test_open_pair_holds_back_the_pairs_behind_it() -> None:
    def pair(place: int, outcome: Outcome) -> tuple[Exposure, Exposure]:
        canary = exposure(f"c{place}", position=place, outcome=outcome)
        control = exposure(
            f"h{place}", position=900 + place, arm=Arm.HOLDBACK, outcome=Outcome.HEALTHY
        )
        return canary, control

    done = [*pair(1, Outcome.FAILED), *pair(2, Outcome.PENDING), *pair(3, Outcome.FAILED)]
    here = context(tuple(twin(device) for device in DEVICES), holdback_permille=100)
    assert summarise(here, done, History()).pairs == 1
    assert summarise(here, done[:2], History()).pairs == 1


def test_outsider_is_noticed() -> None:
    outside = next(d for d in DEVICES if position("salt", d) >= 500)
    here = context((twin(outside, DeviceState.COMMITTED, NEW),), permille=500)
    assert summarise(here, (), History()).outsiders == (outside,)


# Whole rollouts


class Simulation:
    """A fleet with a virtual clock. `fails(rng)` decides a canary's fate, failures come early."""

    def __init__(self, seed: int, devices: int, fails: Callable[[random.Random], bool]) -> None:
        self.rng = random.Random(seed)
        self.fails = fails
        self.names = tuple(f"d{i}" for i in range(devices))
        self.twins = {name: twin(name) for name in self.names}
        self.fate: dict[str, tuple[bool, float]] = {}
        self.exposures: dict[str, Exposure] = {}
        self.rollout = rollout(
            salt=str(seed),
            waves=(Wave(permille=100), Wave(permille=300), Wave(permille=900)),
            permille=100,
            holdback_permille=100,
        )
        self.now_s = 0.0

    def run(self) -> Rollout:
        while self.rollout.state in (RolloutState.ACTIVE, RolloutState.SOAKING):
            self.now_s += 5.0
            self._step()
        return self.rollout

    def _step(self) -> None:
        here = Context(self.rollout, self.now_s, self.twins, self.names, ())
        for begun in open_exposures(here, tuple(self.exposures.values())):
            self.exposures[begun.device] = begun
            if begun.arm is Arm.CANARY:
                fails = self.fails(self.rng)
                self.fate[begun.device] = (
                    fails,
                    self.now_s + self.rng.uniform(1, 10 if fails else 60),
                )
        for name in self.names:
            self.twins[name] = self._twin(name)
        here = Context(self.rollout, self.now_s, self.twins, self.names, ())
        for name, known in self.exposures.items():
            self.exposures[name] = judge(here, known)
        found = summarise(here, tuple(self.exposures.values()), History())
        for action in decide(self.rollout, found, wave_members(here), self.now_s):
            permille = self.rollout.permille
            if action.move is Move.ADVANCED:
                permille = self.rollout.waves[self.rollout.wave + 1].permille or 0
            self.rollout = move(self.rollout, action, permille, self.now_s)

    def _twin(self, name: str) -> Twin:
        fails, at_s = self.fate.get(name, (False, 9e9))
        if self.now_s < at_s:
            return twin(name, last_seen_s=self.now_s)
        if fails:
            return twin(name, DeviceState.ROLLED_BACK, last_seen_s=self.now_s)
        return twin(name, DeviceState.COMMITTED, NEW, last_seen_s=self.now_s)


def test_good_release_reaches_everybody_but_the_holdback() -> None:
    fleet = Simulation(1, 100, lambda rng: False)
    assert fleet.run().state is RolloutState.DONE
    reached = [e for e in fleet.exposures.values() if e.arm is Arm.CANARY]
    held = [d for d in fleet.names if holds_back(document(fleet.rollout), d)]
    assert len(reached) == 100 - len(held)


def test_bad_release_is_stopped_in_its_first_wave() -> None:
    fleet = Simulation(2, 200, lambda rng: rng.random() < 0.6)
    assert fleet.run().state is RolloutState.ABORTED
    assert fleet.rollout.wave == 0


@pytest.mark.slow
def test_release_no_worse_than_history_is_rarely_aborted() -> None:
    """One device in a hundred fails, and fails at once, while successes take a minute."""
    runs = 60
    aborted = sum(
        Simulation(seed, 80, lambda rng: rng.random() < 0.01).run().state is RolloutState.ABORTED
        for seed in range(runs)
    )
    assert aborted <= ALPHA * runs
