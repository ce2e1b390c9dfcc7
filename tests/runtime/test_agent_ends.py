"""What goes wrong around an update has an end known beforehand; `docs/updates.md` lists them."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgekiln.runtime.device import open_outbox
from edgekiln.runtime.journal import Journal, JournalLine, encode_line
from edgekiln.runtime.outbox import Outbox
from edgekiln.runtime.protocol import DeviceState as S
from edgekiln.runtime.protocol import ShadowLimits, State, encode
from edgekiln.runtime.record import HEALTHY_S, SOAK_STARTS, AgentRecord
from edgekiln.runtime.slots import SlotStore

from .conftest import bundle

DAY_S = 86400.0
Y2100_S = 4102444800.0


def ticks(world: Any, until: S) -> None:
    for _ in range(60):
        if world.agent.record.state == until:
            return
        world.agent.tick()
    raise AssertionError(world.agent.record.state)


def shadowed(world: Any, **changes: Any) -> None:
    limits = ShadowLimits(**{"samples": 500, "timeout_s": 60.0, **changes})
    world.limits = msgspec.structs.replace(world.limits, shadow=limits)


def kinds(world: Any) -> list[tuple[str, bool]]:
    return [(event.kind, event.passed) for event in world.events]


# The shadow phase -----------------------------------------------------------------------------


def test_release_goes_through_the_shadow_to_its_trial_when_it_agrees(world: Any) -> None:
    shadowed(world)
    world.boot()
    release = world.roll_out(name="good")
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    assert kinds(world) == [("shadow", True), ("trial", True), ("committed", True)]
    in_shadow = [state for state in world.states if state.state == S.SHADOW]
    assert {state.running for state in in_shadow} == {world.factory}
    assert world.models.running == release


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"shadow_disagreement": 0.3}, "shadow: 300 of 1000 answers differ, limit 10%"),
        ({"shadow_disagreement": 0.1}, "shadow: inconclusive, 100 of 1000 answers differ"),
        ({"shadow_failures": 2}, "shadow: 2 predictions failed, 1000 did not"),
        ({"trial_p95_ms": 90.0}, "shadow: p95 latency is 90 ms, limit 50 ms"),
    ],
)
def test_release_never_answers_when_the_shadow_fails(
    world: Any, behaviour: dict[str, Any], reason: str
) -> None:
    shadowed(world)
    world.boot()
    release = world.roll_out(**behaviour)
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert kinds(world) == [("shadow", False), ("rolled_back", False)]
    assert reason in world.events[0].reason
    assert release not in {state.running for state in world.states}
    assert world.models._trial is None


def test_shadow_ends_inconclusive_when_samples_do_not_come(world: Any) -> None:
    shadowed(world)
    world.boot()
    world.models.samples = 3
    world.roll_out(name="good")
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert "inconclusive, 0 of 3 answers differ" in world.events[0].reason


def test_shadow_begins_anew_and_its_starts_fall_when_restarted(world: Any) -> None:
    shadowed(world)
    world.boot()
    world.models.samples = 3
    release = world.roll_out(name="good")
    for starts_left in (2, 1, 0):
        ticks(world, S.SHADOW)
        world.agent.tick()
        assert world.agent.record.starts_left == starts_left
        world.boot()
        world.models.samples = 3
        assert world.models.running == world.factory
        assert release not in world.models.loads
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert "shadow phase did not come to its end" in world.events[-1].reason


def test_shadow_ends_when_the_rollout_is_aborted(world: Any) -> None:
    shadowed(world)
    world.boot()
    world.models.samples = 3
    release = world.roll_out(name="good")
    ticks(world, S.SHADOW)
    world.agent.tick()
    world.tell(world.document(release, version=2, aborted=True))
    world.settle()
    assert world.agent.record.state == S.SUPERSEDED
    assert world.models.running == world.factory
    assert world.models._trial is None


# Clocks ---------------------------------------------------------------------------------------


def test_update_is_taken_when_the_clock_stands_at_1970(world: Any) -> None:
    world.wrong_s = -world.now_s
    world.boot()
    release = world.repository.add(json.dumps({"name": "good"}).encode())
    world.tell(world.document(release, expires_s=world.now_s + 7 * DAY_S))
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    assert world.models.running == release


def test_update_waits_and_models_run_while_the_clock_is_a_century_ahead(world: Any) -> None:
    world.boot()
    world.wrong_s = Y2100_S
    release = world.repository.add(json.dumps({"name": "good"}).encode())
    world.tell(world.document(release, expires_s=world.now_s + 7 * DAY_S))
    world.settle()
    assert world.agent.record.state == S.IDLE
    assert world.models.running == world.factory
    world.wrong_s = 0.0
    world.settle()
    assert world.agent.record.state == S.COMMITTED


@pytest.mark.parametrize("jump_s", [-30 * DAY_S, 30 * DAY_S, -1_000_000.0])
def test_trial_keeps_its_time_when_the_clock_jumps(world: Any, jump_s: float) -> None:
    world.boot()
    world.models.samples = 3
    world.roll_out(name="good")
    ticks(world, S.TRIAL)
    world.agent.tick()
    began_s = world.now_s
    world.wrong_s = jump_s
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert "only 3 of 60 samples in 30 s" in world.events[0].reason
    assert world.now_s - began_s < 60


def test_next_try_comes_in_time_when_the_clock_goes_back_during_the_wait(world: Any) -> None:
    world.boot()
    world.online = False
    world.roll_out(name="good")
    world.settle(30)
    world.wrong_s = -30 * DAY_S
    world.online = True
    waited_from_s = world.now_s
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    assert world.now_s - waited_from_s < 60


def test_shadow_keeps_its_time_when_the_clock_goes_back(world: Any) -> None:
    shadowed(world, timeout_s=40.0)
    world.boot()
    world.models.samples = 3
    world.roll_out(name="good")
    ticks(world, S.SHADOW)
    world.agent.tick()
    began_s = world.now_s
    world.wrong_s = -30 * DAY_S
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert 40 <= world.now_s - began_s < 60


# The fleet is away, or says two things --------------------------------------------------------


@pytest.mark.parametrize("state", [S.OFFERED, S.FETCHING])
def test_device_waits_quietly_and_goes_on_when_the_broker_is_gone_for_days(
    world: Any, state: S
) -> None:
    world.boot()
    if state == S.OFFERED:
        world.online = False
    world.lose = lambda request, index: request.path.endswith(".ekb") and index >= 3
    release = world.roll_out(name="good")
    ticks(world, state)
    world.online = False
    for _ in range(300):
        world.agent.tick()
        world.now_s += 5 * DAY_S / 300
    assert world.agent.record.state == state
    assert len(world._outbox) < 20  # the same trouble is told once
    assert world.models.running == world.factory
    world.online = True
    world.lose = lambda request, index: False
    world.agent.post_up()
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    assert world.models.running == release


def test_both_rollouts_end_once_when_two_cohorts_race(world: Any) -> None:
    first = world.repository.add(json.dumps({"name": "one"}).encode())
    second = world.repository.add(json.dumps({"name": "two"}).encode())
    of_all = world.document(first)
    of_edge = world.document(second, rollout_id="r2", cohort="edge")
    world.boot()
    for document in (of_edge, of_all):
        world.tell(document)
    world.settle()
    world.settle()
    record = world.agent.record
    assert (record.outcome_of("r1"), record.outcome_of("r2")) == (S.COMMITTED, S.COMMITTED)
    assert world.models.running == second  # the device's cohorts in their order, one by one
    for documents in ((of_edge, of_all), (of_all, of_edge)):
        world.boot()
        for document in documents:
            world.tell(document)
        world.settle()
        assert world.models.loads == [second]
        assert world.agent.record.state == S.COMMITTED


def test_newest_document_counts_when_two_versions_race(world: Any) -> None:
    release = world.repository.add(json.dumps({"name": "one"}).encode())
    world.boot()
    for version, permille in ((3, 0), (2, 1000), (1, 1000)):
        world.tell(world.document(release, version=version, permille=permille))
    world.settle()
    assert world.agent.record.state == S.IDLE
    assert world.agent.record.version_of("r1") == 3


def test_document_that_came_on_a_full_disk_is_taken_up_later(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekiln.runtime.errors import JournalError

    def full(journal: Journal, record: AgentRecord) -> None:
        raise JournalError("the journal cannot be written: No space left on device")

    world.boot()
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        world.roll_out(name="good")
        world.settle(5)
        assert world.agent.record.state == S.IDLE
    world.now_s += 100
    world.settle()
    assert world.agent.record.state == S.COMMITTED


def test_document_of_an_older_rollout_is_refused_while_the_newest_waits_for_the_disk(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekiln.runtime.errors import JournalError

    def full(journal: Journal, record: AgentRecord) -> None:
        raise JournalError("the journal cannot be written: No space left on device")

    old, new = (world.repository.add(json.dumps({"name": n}).encode()) for n in ("old", "new"))
    world.boot()
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        world.tell(world.document(new, rollout_id="r2", version=9))
        world.settle(5)
        world.tell(world.document(old, rollout_id="r1", version=4))  # played back
        world.settle(5)
    world.now_s += 100
    world.settle()
    assert world.models.running == new
    assert world.agent.record.outcome_of("r1") is None


# What the device says no to -------------------------------------------------------------------


def test_tests_begin_in_the_window_only(world: Any) -> None:
    world.boot()
    world.wrong_s = 12 * 3600 - world.now_s % DAY_S  # it is noon
    release = world.repository.add(json.dumps({"name": "good"}).encode())
    world.tell(world.document(release, window_s=(22 * 3600, 4 * 3600)))
    world.settle(20)
    assert world.agent.record.state == S.STAGED
    assert "window opens at 22:00 UTC" in world.states[-1].error
    world.wrong_s += 11 * 3600
    world.now_s += 100
    world.settle()
    assert world.agent.record.state == S.COMMITTED


@pytest.mark.parametrize("page", range(1, 12))
def test_update_is_taken_when_a_page_of_the_outbox_rots(world: Any, page: int) -> None:
    path = world.folder / "outbox.sqlite3"
    box = Outbox(path)
    for seq in range(30):
        state = State(boot_id="old", seq=seq, at_s=0.0, state=S.IDLE, error="x" * 900)
        box.put("state", "old", seq, encode(state))
    box.close()
    data = bytearray(path.read_bytes())
    assert len(data) >= 12 * 4096
    data[page * 4096 : page * 4096 + 512] = random.Random(page).randbytes(512)
    path.write_bytes(data)
    world.boot()
    release = world.roll_out(name="good")
    world.settle()
    assert world.models.running == release


def test_update_is_taken_when_cached_metadata_rots(world: Any) -> None:
    world.boot()
    world.roll_out(name="first")
    world.settle()
    files = [path for path in (world.folder / "tuf").rglob("*") if path.is_file()]
    assert len(files) > 3
    for number, path in enumerate(files):
        path.write_bytes(random.Random(number).randbytes(200))
        world.boot()
        release = world.repository.add(bundle(name=f"next{number}"))
        world.tell(world.document(release, rollout_id=f"r{number + 2}", version=number + 2))
        world.settle()
        assert world.models.running == release, path


class _Fault:
    """A hook of the device's own that does what no hook should."""

    def __bool__(self) -> bool:
        raise KeyError("battery")


def test_agent_goes_on_when_a_step_meets_what_nobody_foresaw(world: Any) -> None:
    world.hold = _Fault()
    world.boot()
    world.roll_out(name="good")
    world.settle(ticks=1000)
    assert not world.agent.record.busy
    assert "KeyError: 'battery'" in world.agent.record.reason
    assert world.models.running == world.factory
    world.hold = ""
    release = world.repository.add(bundle(name="next"))
    world.tell(world.document(release, rollout_id="r2", version=2))
    world.settle()
    assert world.models.running == release


def test_model_runs_when_its_start_meets_what_nobody_foresaw(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(SlotStore, "collect", fault)
        world.boot()
        assert world.models.running == world.factory
    world.now_s += 60.0
    release = world.roll_out(name="good")
    world.settle()
    assert world.models.running == release


def test_tests_wait_while_the_device_holds(world: Any) -> None:
    world.hold = "the battery is at 9 %"
    world.boot()
    world.roll_out(name="good")
    world.settle(20)
    assert world.agent.record.state == S.STAGED
    assert world.states[-1].error == "the battery is at 9 %"
    world.hold = ""
    world.now_s += 100
    world.settle()
    assert world.agent.record.state == S.COMMITTED


# The disk loses things ------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.IDLE, S.FETCHING, S.STAGED, S.TRIAL])
def test_model_runs_and_later_updates_work_when_the_slots_folder_is_deleted(
    world: Any, state: S
) -> None:
    world.boot()
    world.models.samples = 3
    first = world.roll_out(name="one")
    if state == S.IDLE:
        world.agent.tick()
    else:
        ticks(world, state)
    before = world.models.running
    shutil.rmtree(world.folder / "slots")
    world.settle(5)
    assert world.models.running in (before, first, world.factory)
    world.boot()
    assert world.models.running == world.factory
    assert world.good_slot_is_whole()
    world.settle()
    second = world.repository.add(json.dumps({"name": "two"}).encode())
    world.tell(world.document(second, rollout_id="r2"))
    world.settle()
    world.settle()
    assert world.models.running == second
    assert world.good_slot_is_whole()


def test_journal_goes_on_when_its_file_is_deleted(world: Any) -> None:
    world.boot()
    (world.folder / "journal.jsonl").unlink()
    release = world.roll_out(name="good")
    world.settle()
    world.boot()
    assert world.models.running == release
    assert Journal(world.folder / "journal.jsonl").record.state == S.COMMITTED


def newer_line(record: AgentRecord, **fields: Any) -> bytes:
    import zlib

    content = {**msgspec.json.decode(msgspec.json.encode(record)), "schema": 2, **fields}
    raw = msgspec.json.encode(content)
    return msgspec.json.encode(JournalLine(zlib.crc32(raw), msgspec.Raw(raw))) + b"\n"


@pytest.mark.parametrize("fields", [{}, {"state": "HOVERING", "floor": 7, "steps": "many"}])
def test_model_runs_and_nothing_is_written_when_the_journal_is_of_a_newer_version(
    world: Any, fields: dict[str, Any]
) -> None:
    world.boot()
    release = world.roll_out(name="good")
    world.settle()
    path = world.folder / "journal.jsonl"
    path.write_bytes(encode_line(AgentRecord()) + newer_line(world.agent.record, **fields))
    before = path.read_bytes()
    files = sorted((world.folder / "slots").iterdir())
    world.boot()
    world.tell(world.document(world.factory, rollout_id="r9"))
    world.settle(20)
    assert world.models.running == release
    assert path.read_bytes() == before
    assert sorted((world.folder / "slots").iterdir()) == files
    assert "newer version of this software: install that version again" in world.states[-1].error


# A release that kills the process after its commit ----------------------------------------------


def committed_with_soak(world: Any) -> str:
    world.boot()
    release = world.repository.add(json.dumps({"name": "deadly"}).encode())
    world.tell(world.document(release, soak_s=600.0))
    for _ in range(60):
        world.agent.tick()
    assert world.agent.record.state == S.COMMITTED
    assert world.agent.record.soaking
    return str(release)


def test_committed_release_is_left_when_the_process_keeps_dying_in_its_soak(world: Any) -> None:
    release = committed_with_soak(world)
    for _ in range(SOAK_STARTS):
        world.now_s += 30.0
        world.boot()
        assert world.models.running == release
    world.boot()
    assert world.models.loads == [world.factory]  # the start was counted before the load
    world.tell(world.document(release, soak_s=600.0))
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert world.models.running == world.factory
    assert world.agent.record.outcome_of("r1") == S.ROLLED_BACK
    assert kinds(world)[-1] == ("rolled_back", False)
    assert "died 8 times soon after it had begun" in world.events[-1].reason


def test_starts_are_not_counted_when_the_process_ends_in_order(world: Any) -> None:
    release = committed_with_soak(world)
    for _ in range(3 * SOAK_STARTS):
        world.agent.finish()
        world.boot()
    assert world.models.running == release
    assert world.agent.record.starts_left == SOAK_STARTS - 1


def test_starts_are_not_counted_when_one_process_was_healthy(world: Any) -> None:
    release = committed_with_soak(world)
    world.now_s += HEALTHY_S
    world.settle()
    assert not world.agent.record.soaking
    for _ in range(SOAK_STARTS + 3):
        world.boot()
    world.settle()
    assert world.models.running == release
    assert world.agent.record.state == S.COMMITTED


def test_release_without_a_soak_counts_no_starts(world: Any) -> None:
    world.boot()
    release = world.roll_out(name="good")
    world.settle()
    for _ in range(SOAK_STARTS + 3):
        world.boot()
    assert world.models.running == release


def test_release_is_left_and_the_process_ended_when_the_model_on_trial_hangs(world: Any) -> None:
    world.boot()
    world.models.samples = 3
    world.roll_out(name="good")
    ticks(world, S.TRIAL)
    world.agent.tick()
    world.models.stuck_s = 20.0
    world.agent.tick()
    assert world.agent.record.state == S.TRIAL
    world.models.stuck_s = 31.0
    world.settle()
    assert world.agent.record.state == S.ROLLED_BACK
    assert world.models.running == world.factory
    assert "has not answered for 31 s" in world.events[0].reason
    assert set(world.restarts) == {"the new model has not answered for 31 s"}


def test_process_goes_on_when_nothing_hangs(world: Any) -> None:
    world.boot()
    world.roll_out(disagreement=0.9)
    world.settle()
    assert world.restarts == []


def test_outbox_lasts_as_long_as_the_process_when_the_disk_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    box, warning = open_outbox(tmp_path / "file" / "outbox.sqlite3")
    box.put("event", "boot", 1, b"payload")
    assert [message.payload for message in box.pending(0, 9)] == [b"payload"]
    box.close()
    assert "messages end with this process" in warning
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    box, warning = open_outbox(tmp_path / "outbox.sqlite3")
    box.close()
    assert warning == ""
