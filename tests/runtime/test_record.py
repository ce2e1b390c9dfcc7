"""The pure record: any order of events keeps the invariants."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgekiln.runtime import record as r
from edgekiln.runtime.protocol import DeviceState, RolloutDocument
from edgekiln.runtime.state_machine import LONGEST_PATH, RESTING, REVERTIBLE

FACTORY = r.Slot(bundle_id="f" * 64, sha256="0" * 64, bytes=1, security_counter=1)
BASE = RolloutDocument(
    rollout_id="r0", version=1, cohort="all", release="b" * 64, target_path="bundles/b.ekb",
    sha256="c" * 64, salt="s", permille=1000,
)  # fmt: skip
RELEASE = r.ReleaseInfo(
    target_path="bundles/b.ekb", bundle_id="b" * 64, bytes=1, sha256="c" * 64, merkle_root="",
    leaves_path="", block_bytes=1, security_counter=1, targets=("host",),
)  # fmt: skip

MAY_FAIL = (DeviceState.STAGED, DeviceState.SELF_TEST, DeviceState.TRIAL)


class Life(RuleBasedStateMachine):
    """Drives the record through legal moves in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.record = r.AgentRecord(last_known_good=FACTORY, floor=1)
        self.verified = {FACTORY.bundle_id}
        self.rollouts = 0

    def at(self, *states: DeviceState) -> bool:
        return self.record.state in states

    @precondition(lambda self: self.record.state in RESTING)
    @rule()
    def offer(self) -> None:
        self.rollouts += 1
        document = msgspec.structs.replace(BASE, rollout_id=f"r{self.rollouts}")
        self.record = r.offered(self.record, document)

    @precondition(lambda self: self.at(DeviceState.OFFERED))
    @rule(already=st.booleans())
    def consider(self, already: bool) -> None:
        step = r.already_running(self.record) if already else r.accepted(self.record, RELEASE)
        self.record = step

    @precondition(lambda self: self.at(DeviceState.FETCHING))
    @rule()
    def fetch(self) -> None:
        self.record = r.fetched(self.record)

    @precondition(lambda self: self.at(DeviceState.VERIFIED))
    @rule(counter=st.integers(0, 5))
    def stage(self, counter: int) -> None:
        name = f"{self.rollouts:064d}"
        slot = r.Slot(bundle_id=name, sha256=name, bytes=1, security_counter=counter)
        self.verified.add(name)
        self.record = r.staged(self.record, slot)

    @precondition(lambda self: self.at(DeviceState.STAGED))
    @rule()
    def test(self) -> None:
        self.record = r.under_test(self.record, 3)

    @precondition(lambda self: self.at(DeviceState.SELF_TEST))
    @rule()
    def passes(self) -> None:
        self.record = r.on_trial(self.record, 3)

    @precondition(lambda self: self.at(DeviceState.TRIAL) and self.record.starts_left > 0)
    @rule()
    def start(self) -> None:
        self.record = r.started(self.record)

    @precondition(lambda self: self.at(DeviceState.TRIAL))
    @rule()
    def commit(self) -> None:
        self.record = r.committed(self.record)

    @precondition(
        lambda self: self.at(DeviceState.STAGED, DeviceState.SELF_TEST, DeviceState.TRIAL)
    )
    @rule()
    def fail(self) -> None:
        self.record = r.failed(self.record, "bad")

    @precondition(lambda self: self.at(DeviceState.ROLLBACK))
    @rule()
    def restore(self) -> None:
        self.record = r.rolled_back(self.record)

    @precondition(lambda self: self.at(DeviceState.OFFERED, DeviceState.FETCHING))
    @rule()
    def refuse(self) -> None:
        self.record = r.refused(self.record, "no")

    @precondition(lambda self: self.record.busy and not self.at(DeviceState.ROLLBACK))
    @rule()
    def supersede(self) -> None:
        self.record = r.superseded(self.record, "aborted")

    @precondition(lambda self: self.record.state in REVERTIBLE and self.record.previous_good)
    @rule()
    def revert(self) -> None:
        floor = self.record.floor
        self.record = r.reverted(self.record, BASE, "aborted")
        assert self.record.floor == floor

    @invariant()
    def a_verified_model_is_always_named(self) -> None:
        good = self.record.last_known_good
        assert good is not None
        assert good.bundle_id in self.verified

    @invariant()
    def what_is_under_way_never_is_the_last_known_good(self) -> None:
        good = self.record.last_known_good
        if self.record.state != DeviceState.COMMITTED:
            assert self.record.trial is None or self.record.trial != good

    @invariant()
    def transitions_are_bounded(self) -> None:
        assert self.record.steps <= LONGEST_PATH + 1

    @invariant()
    def a_resting_record_has_nothing_under_way(self) -> None:
        if not self.record.busy:
            assert self.record.written is None
            assert self.record.trial is None
        assert len(self.record.outcomes) <= r.MAX_OUTCOMES

    @invariant()
    def the_floor_is_that_of_a_committed_release(self) -> None:
        good = self.record.last_known_good
        assert good is not None
        assert self.record.floor >= 1


TestLife = Life.TestCase
TestLife.settings = settings(stateful_step_count=60)


def test_committed_moves_every_slot_in_one_record() -> None:
    new = r.Slot(bundle_id="b" * 64, sha256="c" * 64, bytes=1, security_counter=4)
    trial = r.AgentRecord(
        state=DeviceState.TRIAL, document=BASE, trial=new, written=new, last_known_good=FACTORY
    )
    after = r.committed(trial)
    assert (after.last_known_good, after.previous_good) == (new, FACTORY)
    assert (after.trial, after.written, after.floor) == (None, None, 4)
    assert after.outcome_of("r0") == DeviceState.COMMITTED


def test_resumed_counts_a_restart_only_when_the_download_did_not_grow() -> None:
    record = r.AgentRecord(state=DeviceState.FETCHING, document=BASE, steps=3)
    grown = r.resumed(record, 5)
    assert (grown.steps, grown.progress) == (3, 5)
    assert r.resumed(grown, 5).steps == 4


def test_outcome_is_replaced_when_a_rollout_ends_twice() -> None:
    record = r.AgentRecord(last_known_good=FACTORY, previous_good=FACTORY)
    record = r.already_running(r.offered(record, BASE))
    record = r.rolled_back(r.reverted(record, BASE, "aborted"))
    assert record.outcome_of("r0") == DeviceState.ROLLED_BACK
    assert len(record.outcomes) == 1


def test_newest_of_a_cohort_is_known_when_another_had_many_rollouts() -> None:
    def document(rollout: str, version: int, cohort: str) -> RolloutDocument:
        return msgspec.structs.replace(BASE, rollout_id=rollout, version=version, cohort=cohort)

    record = r.seen(r.AgentRecord(), document("old", 3, "a"))
    record = r.seen(record, document("new", 9, "a"))
    for number in range(200):
        record = r.seen(record, document(f"r{number}", number, "b"))
    assert (record.newest_of("a"), record.newest_of("b")) == (9, 199)
    assert len(record.versions) <= r.MAX_VERSIONS + 1
