"""The agent from offer to commit and back, against a signed repository in memory."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from edgekiln.runtime.agent_checks import Device
from edgekiln.runtime.protocol import DeviceState as S
from edgekiln.runtime.protocol import FeatureWindow, Report, SelfTestLimits, Topics
from edgekiln.runtime.signing import sign_document


def path_of(world: Any) -> list[S]:
    """States in the order in which the fleet heard of them, without repeats."""
    ordered = sorted(world.states, key=lambda s: (int(s.boot_id.split("-")[1]), s.seq))
    states = [state.state for state in ordered]
    return [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]]


def test_first_start_runs_the_factory_release_when_it_verifies(world: Any) -> None:
    agent = world.boot()
    world.settle()
    assert agent.record.last_known_good.bundle_id == world.factory == world.models.running
    assert agent.record.state == S.IDLE
    assert agent.record.floor == 1
    assert world.announced == 1


def test_second_start_needs_no_factory_folder(world: Any) -> None:
    world.boot()
    for path in sorted((world.folder / "factory").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    world.boot()
    assert world.models.running == world.factory


def test_first_start_is_broken_when_the_factory_bundle_was_changed(world: Any) -> None:
    target = next((world.folder / "factory" / "targets" / "bundles").glob("*.ekb"))
    target.write_bytes(target.read_bytes().replace(b"factory", b"fictory"))
    agent = world.boot()
    world.settle()
    assert agent.record.state == S.BROKEN
    assert world.models.running == ""
    assert [event.kind for event in world.events] == ["broken"]
    assert "not the signed one" in world.events[0].reason


def test_broken_device_is_mended_when_a_rollout_comes(world: Any) -> None:
    target = next((world.folder / "factory" / "targets" / "bundles").glob("*.ekb"))
    target.write_bytes(b"{}")
    world.boot()
    release = world.roll_out(name="good")
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    assert world.models.running == release


def test_rollout_is_committed_when_everything_passes(world: Any) -> None:
    world.boot()
    release = world.roll_out(name="good")
    world.settle()
    record = world.agent.record
    assert record.state == S.COMMITTED
    assert record.last_known_good.bundle_id == release == world.models.running
    assert record.previous_good.bundle_id == world.factory
    assert path_of(world) == [
        S.IDLE, S.OFFERED, S.FETCHING, S.VERIFIED, S.STAGED, S.SELF_TEST, S.TRIAL, S.COMMITTED,
    ]  # fmt: skip
    assert [(e.kind, e.passed) for e in world.events] == [("trial", True), ("committed", True)]
    assert world.events[0].trial.samples == 1000
    assert world.states[-1].running == release
    assert world.good_slot_is_whole()
    assert {p.name for p in (world.folder / "slots").iterdir()} == {
        f"{release}.ekb",
        f"{world.factory}.ekb",
    }


def test_last_known_good_stays_until_the_trial_is_over(world: Any) -> None:
    world.boot()
    world.roll_out(name="good")
    world.settle()
    before_commit = [s for s in world.states if s.state in (S.STAGED, S.SELF_TEST, S.TRIAL)]
    assert {s.last_known_good for s in before_commit} == {world.factory}


def test_same_rollout_changes_nothing_when_it_comes_again(world: Any) -> None:
    world.boot()
    release = world.roll_out(name="good")
    world.settle()
    record, loads = world.agent.record, list(world.models.loads)
    for version in (1, 1, 2):
        world.tell(world.document(release, version=version))
        world.settle()
    assert world.models.loads == loads
    assert msgspec.structs.replace(world.agent.record, versions=()) == msgspec.structs.replace(
        record, versions=(), pending=()
    )
    world.boot()
    world.tell(world.document(release, version=2))
    world.settle()
    assert world.models.loads == [release]


def test_rollout_of_the_running_release_commits_without_a_trial(world: Any) -> None:
    world.boot()
    world.tell(world.document(world.factory))
    world.settle()
    assert path_of(world) == [S.IDLE, S.OFFERED, S.COMMITTED]
    assert world.models.loads == [world.factory]
    assert [(e.kind, e.passed) for e in world.events] == [("committed", True)]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"lsb": 9}, "golden vectors differ by 9 LSB (limit 1)"),
        ({"lsb": 9, "allowed_lsb": 8}, "golden vectors differ by 9 LSB (limit 8)"),
        ({"p95_ms": 80.0}, "p95 latency is 80 ms"),
        ({"rss_bytes": 2 << 30}, "bytes, limit"),
        ({"unloadable": True}, "the engine cannot run this"),
        ({"claims": "e" * 64}, "the file holds bundle eeee"),
    ],
)
def test_release_is_left_without_going_live_when_the_self_test_fails(
    world: Any, behaviour: dict[str, Any], reason: str
) -> None:
    world.boot()
    release = world.roll_out(**behaviour)
    world.settle()
    assert path_of(world)[-3:] == [S.SELF_TEST, S.ROLLBACK, S.ROLLED_BACK]
    assert world.models.running == world.factory
    assert release not in {state.running for state in world.states}
    assert [event.kind for event in world.events] == ["rolled_back"]
    assert reason in world.events[0].reason


@pytest.mark.parametrize(("limit", "passes"), [(None, True), (8, True), (7, False)])
def test_engine_may_differ_as_the_bundle_allows_when_the_rollout_is_not_stricter(
    world: Any, limit: int | None, passes: bool
) -> None:
    world.limits = msgspec.structs.replace(world.limits, golden_max_lsb=limit)
    world.boot()
    world.roll_out(lsb=8, allowed_lsb=14)
    world.settle()
    assert (S.TRIAL in path_of(world)) == passes


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"disagreement": 0.6}, "disagrees with the last known good model on 60%"),
        ({"trial_p95_ms": 99.0}, "p95 latency on trial is 99 ms"),
        ({"failures": 3}, "3 of 1000 predictions failed"),
    ],
)
def test_release_is_rolled_back_with_evidence_when_the_trial_fails(
    world: Any, behaviour: dict[str, Any], reason: str
) -> None:
    world.boot()
    release = world.roll_out(**behaviour)
    world.settle()
    assert path_of(world)[-3:] == [S.TRIAL, S.ROLLBACK, S.ROLLED_BACK]
    assert world.models.running == world.factory
    assert release in {state.running for state in world.states}
    trial, back = world.events
    assert (trial.kind, trial.passed, back.kind) == ("trial", False, "rolled_back")
    assert trial.trial.baseline_confidence == 0.9
    assert reason in trial.reason
    assert back.reason == trial.reason
    assert world.agent.record.last_known_good.bundle_id == world.factory


def test_trial_fails_when_samples_do_not_come(world: Any) -> None:
    world.boot()
    world.models.samples = 7
    world.roll_out(name="good")
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert "only 7 of 60 samples in 30 s" in world.events[0].reason


def test_trial_start_fails_over_to_the_good_model(world: Any) -> None:
    world.boot()
    world.roll_out(trial_unloadable=True)
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert world.models.running == world.factory


def refusals(world: Any) -> list[str]:
    return [event.reason for event in world.events if event.kind == "rejected"]


def test_offer_is_refused_when_the_release_is_for_another_target(
    world: Any, make_bundle: Any
) -> None:
    world.boot()
    other = world.repository.add(make_bundle(name="m4"), targets=("cortex-m4",))
    world.tell(world.document(other))
    world.settle()
    assert world.agent.record.state == S.REJECTED
    assert refusals(world) == ["the release has no artifact for target 'host' (it has: cortex-m4)"]
    assert not [r for r in world.asked if r.path.startswith("targets/")]


def test_offer_is_refused_when_its_security_counter_is_below_the_floor(
    world: Any, make_bundle: Any
) -> None:
    world.boot()
    new = world.repository.add(make_bundle(name="new"), counter=5)
    old = world.repository.add(make_bundle(name="old"), counter=4)
    world.tell(world.document(new))
    world.settle()
    assert world.agent.record.floor == 5
    world.tell(world.document(old, rollout_id="r2"))
    world.settle()
    assert world.agent.record.state == S.REJECTED
    assert "security counter 4 is below this device's 5" in refusals(world)[0]
    assert world.models.running == new


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (Device("device-1", "host", ("all",), 500, 0), "bytes of RAM"),
        (Device("device-1", "host", ("all",), 0, 100), "bytes of flash"),
    ],
)
def test_offer_is_refused_when_the_device_is_too_small(
    world: Any, device: Device, reason: str
) -> None:
    world.boot(device)
    world.roll_out(name="good")
    world.settle()
    assert world.agent.record.state == S.REJECTED
    assert reason in refusals(world)[0]


def test_offer_is_refused_when_rollout_and_repository_disagree(
    world: Any, make_bundle: Any
) -> None:
    world.boot()
    release = world.repository.add(make_bundle(name="good"))
    world.tell(world.document(release, sha256="0" * 64))
    world.settle()
    assert "different bundles" in refusals(world)[0]


def test_offer_is_refused_when_the_repository_does_not_know_the_release(world: Any) -> None:
    world.boot()
    world.tell(world.document("b" * 64))
    world.settle()
    assert "knows no target" in refusals(world)[0]


def test_device_waits_when_it_is_not_in_the_wave_or_the_time_is_wrong(
    world: Any, make_bundle: Any
) -> None:
    world.boot()
    release = world.repository.add(make_bundle(name="good"))
    early = {"not_before_s": world.now_s + 500, "version": 2}
    for changes in (
        {"permille": 0},
        early,
        {"expires_s": world.now_s - 1, "version": 3},
        {"holdback_permille": 1000, "version": 4},
    ):
        world.tell(world.document(release, **changes))
        world.settle()
        assert world.agent.record.state == S.IDLE
    world.tell(world.document(release, version=5, not_before_s=world.now_s + 3))
    world.settle()
    world.now_s += 10
    world.settle()
    assert world.agent.record.state == S.COMMITTED


def test_older_document_is_ignored_even_after_a_restart(world: Any, make_bundle: Any) -> None:
    world.boot()
    release = world.repository.add(make_bundle(name="good"))
    world.tell(world.document(release, version=7, permille=0))
    world.settle()
    world.boot()
    world.tell(world.document(release, version=6, permille=1000))
    world.settle()
    assert world.agent.record.state == S.IDLE


def test_forged_document_is_told_of_once_and_changes_nothing(world: Any, make_bundle: Any) -> None:
    world.boot()
    release = world.repository.add(make_bundle(name="good"))
    signed = sign_document(world.document(release), world.key)
    forged = signed.replace(b'"permille":1000', b'"permille":1001')
    other = sign_document(world.document(release, cohort="other"), world.key)
    topic = Topics("default").cohort("all", "rollout")
    for payload in (forged, forged, b"{", b"", other):
        world.agent.post(topic, payload)
        world.settle()
    assert world.agent.record.state == S.IDLE
    assert len(refusals(world)) == 3
    assert "does not hold" in refusals(world)[0]
    assert all(event.rollout_id == "" for event in world.events)


def test_aborted_release_is_left_for_the_one_before_when_committed(world: Any) -> None:
    world.boot()
    first = world.roll_out(name="one")
    world.settle()
    second = world.repository.add(json.dumps({"name": "two"}).encode(), counter=9)
    world.tell(world.document(second, rollout_id="r2"))
    world.settle()
    assert world.models.running == second
    world.tell(world.document(second, rollout_id="r2", version=2, aborted=True))
    world.settle()
    record = world.agent.record
    assert record.state == S.ROLLED_BACK
    assert record.last_known_good.bundle_id == first == world.models.running
    assert record.previous_good is None
    assert record.floor == 9
    assert world.events[-1].kind == "rolled_back"
    assert world.events[-1].reason == "the rollout was aborted"
    assert world.events[-1].rollout_id == "r2"
    world.boot()
    world.tell(world.document(second, rollout_id="r2", version=2, aborted=True))
    world.settle()
    assert world.models.running == first


def test_factory_release_runs_when_even_the_release_before_is_aborted(world: Any) -> None:
    world.boot()
    first = world.roll_out(name="one")
    world.settle()
    second = world.repository.add(json.dumps({"name": "two"}).encode())
    world.tell(world.document(second, rollout_id="r2"))
    world.settle()
    world.tell(world.document(second, rollout_id="r2", version=2, aborted=True))
    world.settle()
    assert world.models.running == first
    world.tell(world.document(first, version=2, aborted=True))
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert world.models.running == world.factory
    assert world.agent.record.last_known_good.bundle_id == world.factory


def test_factory_release_runs_when_the_slot_to_go_back_to_rots(world: Any) -> None:
    world.boot()
    first = world.roll_out(name="one")
    world.settle()
    second = world.repository.add(json.dumps({"name": "two"}).encode())
    world.tell(world.document(second, rollout_id="r2"))
    world.settle()
    (world.folder / "slots" / f"{first}.ekb").write_bytes(b"rot")
    world.tell(world.document(second, rollout_id="r2", version=2, aborted=True))
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert world.models.running == world.factory


def test_abort_changes_nothing_when_the_release_is_the_factory_one(world: Any) -> None:
    world.boot()
    world.tell(world.document(world.factory))
    world.settle()
    world.tell(world.document(world.factory, version=2, aborted=True))
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    assert world.models.running == world.factory


def test_messages_on_other_topics_are_not_read(world: Any, make_bundle: Any) -> None:
    world.boot()
    release = world.repository.add(make_bundle(name="good"))
    signed = sign_document(world.document(release), world.key)
    for topic in ("edgekiln/v1/default/d/device-1/dn/other", "edgekiln/v1/default/c/all/meta"):
        world.agent.post(topic, signed)
        world.settle()
    assert world.agent.record.state == S.IDLE
    assert world.events == []


def test_abort_changes_nothing_when_the_device_did_not_take_the_release(
    world: Any, make_bundle: Any
) -> None:
    world.boot()
    other = world.repository.add(make_bundle(name="other"))
    world.tell(world.document(other, aborted=True))
    world.settle()
    assert world.agent.record.state == S.IDLE
    assert world.models.running == world.factory


def test_rollout_is_superseded_when_aborted_during_the_trial(world: Any) -> None:
    world.boot()
    world.models.samples = 1
    release = world.roll_out(name="good")
    for _ in range(20):
        world.agent.tick()
    assert world.agent.record.state == S.TRIAL
    assert world.models.running == release
    world.tell(world.document(release, version=2, aborted=True))
    world.settle()
    assert world.agent.record.state == S.SUPERSEDED
    assert world.models.running == world.factory
    assert world.agent.record.trial is None


def test_rollout_is_superseded_when_aborted_during_the_download(world: Any) -> None:
    world.boot()
    blocks = 0

    def lose(request: Any, index: int) -> bool:
        nonlocal blocks
        if request.path.endswith(".ekb"):
            blocks += 1
            if blocks == 4:
                release = request.path.removeprefix("targets/bundles/").removesuffix(".ekb")
                world.tell(world.document(release, version=2, aborted=True))
            return blocks > 3
        return False

    world.lose = lose
    world.roll_out(name="good")
    world.settle()
    assert world.agent.record.state == S.SUPERSEDED
    assert not list((world.folder / "slots").glob("*.download"))


def test_another_rollout_of_the_cohort_takes_over_when_one_is_in_hand(world: Any) -> None:
    world.boot()
    world.models.samples = 1
    world.roll_out(name="one")
    for _ in range(20):
        world.agent.tick()
    second = world.repository.add(json.dumps({"name": "two"}).encode())
    world.models.samples = 1000
    world.tell(world.document(second, rollout_id="r2"))
    world.settle()
    world.settle()
    assert world.models.running == second
    assert world.agent.record.outcome_of("r1") == S.SUPERSEDED
    assert world.agent.record.outcome_of("r2") == S.COMMITTED


def test_ended_rollout_cannot_interrupt_when_played_back(world: Any) -> None:
    world.boot()
    first = world.roll_out(name="one")
    world.settle()
    world.models.samples = 1
    second = world.repository.add(json.dumps({"name": "two"}).encode())
    world.tell(world.document(second, rollout_id="r2"))
    for _ in range(20):
        world.agent.tick()
    assert world.agent.record.state == S.TRIAL
    world.tell(world.document(first))
    world.agent.tick()
    assert world.agent.record.state == S.TRIAL


def test_download_continues_where_it_stopped_when_restarted(world: Any) -> None:
    world.boot()
    world.lose = lambda request, index: request.path.endswith(".ekb") and index >= 4
    release = world.roll_out(name="good")
    world.settle(12)
    assert world.agent.record.state == S.FETCHING
    assert "does not come" in world.states[-1].error
    world.lose = lambda request, index: False
    world.asked.clear()
    world.boot()
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    fetched = [r for r in world.asked if r.count and r.path == f"targets/bundles/{release}.ekb"]
    assert min(r.first for r in fetched) == 4
    assert not [r for r in world.asked if r.path.endswith(".leaves")]


def test_wrong_blocks_are_thrown_away_and_asked_for_again(world: Any) -> None:
    world.boot()
    spoiled: set[int] = set()

    def damage(block: Any) -> Any:
        if block.path.endswith(".ekb") and block.index not in spoiled:
            spoiled.add(block.index)
            return msgspec.structs.replace(block, data=b"\0" * len(block.data))
        return block

    world.damage = damage
    world.roll_out(name="good")
    world.settle()
    assert len(spoiled) > 5
    assert world.agent.record.state == S.COMMITTED
    assert world.good_slot_is_whole()


def test_device_waits_offered_when_metadata_is_stale_and_goes_on_when_it_is_fresh(
    world: Any, make_bundle: Any
) -> None:
    import datetime

    world.boot()
    release = world.repository.add(make_bundle(name="good"))
    fresh = world.repository.timestamp.expires
    world.repository.timestamp.expires = fresh - datetime.timedelta(days=400)
    world.repository.publish()
    world.tell(world.document(release))
    world.settle(20)
    assert world.agent.record.state == S.OFFERED
    assert "stale" in world.states[-1].error
    assert world.models.running == world.factory
    world.repository.timestamp.expires = fresh
    world.repository.publish()
    world.settle()
    assert world.agent.record.state == S.COMMITTED


def test_offline_device_waits_and_catches_up(world: Any) -> None:
    world.boot()
    world.online = False
    world.roll_out(name="good")
    world.settle(30)
    assert world.agent.record.state == S.OFFERED
    assert not world.states
    world.online = True
    world.agent.post_up()
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    assert path_of(world)[-1] == S.COMMITTED


def test_status_survives_restarts_until_it_is_acknowledged(world: Any) -> None:
    world.boot()
    world.acking = False
    world.roll_out(name="good")
    world.settle()
    assert [e.kind for e in world.events] == ["trial", "committed"]
    world.sent.clear()
    world.boot()
    world.acking = True
    world.settle()
    assert [e.kind for e in world.events] == ["trial", "committed"]
    world.sent.clear()
    world.now_s += 1000
    world.settle()
    assert world.events == []


def report() -> Report:
    flat = FeatureWindow(name="f", bins=(0,) * 16, evidence=0.0, alarm=False)
    return Report(
        boot_id="", seq=0, bundle_id="b", start_s=0.0, end_s=1.0, samples=3, violations=0,
        latency_us=(3,), confidence=flat, classes=(3,), class_drift=flat, features=(),
    )  # fmt: skip


def test_report_is_numbered_and_sent_even_while_a_download_waits(world: Any) -> None:
    world.boot()
    world.lose = lambda request, index: request.path.endswith(".ekb")
    world.roll_out(name="good")
    world.agent.tick()
    world.agent.post_report(report(), b"drift")
    world.settle(3)
    assert world.agent.record.state == S.FETCHING
    assert [(r.boot_id, r.samples) for r in world.reports] == [("boot-1", 3)]
    assert world.reports[0].seq > 0


def test_trial_gives_up_when_every_start_crashes(world: Any) -> None:
    class Crash(BaseException):
        pass

    world.limits = SelfTestLimits(trial_samples=60, trial_starts=3)
    world.boot()
    release = world.roll_out(name="good")
    while world.agent.record.state != S.TRIAL:
        world.agent.tick()
    assert world.agent.record.last_known_good.bundle_id == world.factory
    for starts_left in (2, 1, 0):

        def crash() -> None:
            raise Crash

        world.boundary = crash
        with pytest.raises(Crash):
            world.agent.tick()
        world.boundary = lambda: None
        world.boot()
        assert world.agent.record.starts_left == starts_left
        assert world.models.running == world.factory
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert release not in world.models.loads
    assert "starts it is allowed" in world.events[-1].reason


def test_rollout_is_given_up_when_restarts_do_not_end(world: Any) -> None:
    world.boot()
    world.lose = lambda request, index: request.path.endswith(".ekb")
    world.roll_out(name="good")
    world.agent.tick()
    world.agent.tick()
    for _ in range(40):
        world.boot()
    assert world.agent.record.state == S.REJECTED
    assert "gave up" in world.agent.record.reason


def test_model_before_is_used_when_the_last_known_good_file_rots(world: Any) -> None:
    world.boot()
    release = world.roll_out(name="good")
    world.settle()
    (world.folder / "slots" / f"{release}.ekb").write_bytes(b"rot")
    world.boot()
    world.settle()
    assert world.models.running == world.factory
    assert world.agent.record.last_known_good.bundle_id == world.factory
    assert world.events[-1].kind == "restart"
    assert "gone or damaged" in world.events[-1].reason


def test_factory_release_is_used_when_every_slot_rots(world: Any) -> None:
    world.boot()
    world.roll_out(name="good")
    world.settle()
    for path in (world.folder / "slots").glob("*.ekb"):
        path.unlink()
    world.boot()
    assert world.models.running == world.factory
    assert world.good_slot_is_whole()


def test_factory_release_is_used_when_the_journal_rots(world: Any) -> None:
    world.boot()
    world.roll_out(name="good")
    world.settle()
    (world.folder / "journal.jsonl").write_bytes(b"rot\nrot\n")
    world.boot()
    world.settle()
    assert world.models.running == world.factory
    assert "journal was damaged" in world.events[-1].reason
