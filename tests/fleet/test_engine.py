"""The engine with a real folder, store and signatures; devices are messages, time is a number."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edgekiln.fleet.alerts import QUIET_S
from edgekiln.fleet.engine import LIFETIME_S, Engine
from edgekiln.fleet.errors import FleetError, ReleaseError, RolloutError
from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.fleet.inbound import Inbound
from edgekiln.fleet.model import Release, RolloutState, Wave
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.requests import StartRollout
from edgekiln.fleet.store import Enrolment, open_store
from edgekiln.fleet.twin import Arm
from edgekiln.runtime.protocol import (
    Birth,
    DeviceState,
    Event,
    FeatureWindow,
    Report,
    RolloutDocument,
    SelfTestLimits,
    ShadowLimits,
    State,
)
from edgekiln.runtime.signing import verify_document
from edgekiln.runtime.telemetry import LATENCY_EDGES_US
from edgekiln.runtime.wave import joins

MakeBundle = Callable[..., Path]
FACTORY = "f" * 64


class Retained:
    """What the broker would keep."""

    def __init__(self) -> None:
        self.topics: dict[str, bytes] = {}

    def retain(self, topic: str, payload: bytes) -> None:
        self.topics[topic] = payload

    confirm = offer = retain


class World:
    """Eight devices in two lines, all online on their factory release."""

    def __init__(self, folder: FleetFolder, good: Release, bad: Release) -> None:
        self.folder, self.good, self.bad = folder, good, bad
        self.store = open_store(folder.database)
        self.now_s = 1000.0
        self.ids = (f"{i:08x}" for i in itertools.count())
        self.seq = itertools.count(1)
        self.broker = Retained()
        self.engine = self.restarted()
        self.devices = tuple(f"d{i}" for i in range(8))
        for index, device in enumerate(self.devices):
            cohorts = ("all", "a" if index < 4 else "b")
            self.store.put_enrolment(
                Enrolment(device=device, target="host", cohorts=cohorts, enrolled_s=0.0)
            )
            self.say(device, Birth(device=device, boot_id="x", online=True, running=FACTORY))

    def restarted(self) -> Engine:
        return Engine(
            self.folder, self.store, self.broker, lambda: self.now_s, lambda: next(self.ids)
        )

    def say(self, device: str, message: Birth | State | Report | Event) -> None:
        self.store.apply((Inbound(device, message),), self.now_s)

    def state(self, device: str, state: DeviceState, running: str, rollout_id: str) -> None:
        self.say(
            device,
            State(
                boot_id="x",
                seq=next(self.seq),
                at_s=self.now_s,
                state=state,
                running=running,
                rollout_id=rollout_id,
            ),
        )

    def document(self, cohort: str = "all") -> RolloutDocument:
        data = self.broker.topics[f"edgekiln/v1/default/c/{cohort}/rollout"]
        key = self.folder.private_key("rollout").public_key()
        return verify_document(data, key, RolloutDocument)

    def joined(self) -> tuple[str, ...]:
        paper = self.document()
        return tuple(device for device in self.devices if joins(paper, device))

    def start(self, wanted: Release, *waves: Wave, **changes: object) -> str:
        request = StartRollout(
            release=wanted.bundle_id,
            cohort="all",
            waves=waves or (Wave(devices=2), Wave(permille=1000)),
            soak_s=5.0,
            deadline_s=60.0,
        )
        rollout = self.engine.start_rollout(msgspec.structs.replace(request, **changes))
        return rollout.rollout_id

    def tick(self, seconds: float = 1.0) -> None:
        self.now_s += seconds
        for device in self.devices:  # everybody is heard
            self.say(device, Birth(device=device, boot_id="x", online=True, running=FACTORY))
        self.engine.tick(self.now_s)

    def commit(self, rollout_id: str, release: Release) -> None:
        for device in self.joined():
            self.state(device, DeviceState.COMMITTED, release.bundle_id, rollout_id)


@pytest.fixture(scope="module")
def released(
    tmp_path_factory: pytest.TempPathFactory, bundle_at: MakeBundle
) -> tuple[FleetFolder, Release, Release]:
    """A fleet with a good and a bad release; each test gets a copy of its folder."""
    place = tmp_path_factory.mktemp("engine")
    folder = init_fleet(place / "fleet")
    good = register_release(folder, bundle_at(place / "good.ekb", "good"), alias="good")
    return folder, good, register_release(folder, bundle_at(place / "bad.ekb", "bad"))


@pytest.fixture
def world(released: tuple[FleetFolder, Release, Release], tmp_path: Path) -> Iterator[World]:
    folder, good, bad = released
    copy = shutil.copytree(folder.path, tmp_path / "fleet")
    made = World(FleetFolder(copy, folder.settings), good, bad)
    yield made
    made.store.close()


def test_good_release_goes_out_wave_by_wave(world: World) -> None:
    rollout_id = world.start(world.good)
    first = world.joined()
    assert len(first) == 2
    world.tick()
    world.commit(rollout_id, world.good)
    world.tick()
    assert world.store.rollout(rollout_id).state is RolloutState.SOAKING
    assert world.joined() == first
    world.tick(6.0)
    assert set(world.joined()) == set(world.devices)
    world.tick()
    world.commit(rollout_id, world.good)
    world.tick()
    world.tick(6.0)
    rollout = world.store.rollout(rollout_id)
    assert (rollout.state, rollout.wave) == (RolloutState.DONE, 1)
    kinds = [event.kind for event in world.store.rollout_events(rollout_id)]
    assert kinds == ["started", "soaking", "advanced", "soaking", "done"]
    evidence = world.store.rollout_events(rollout_id)[-1].evidence
    assert evidence is not None
    assert (evidence.healthy, evidence.failed, evidence.weak) == (8, 0, True)
    assert world.store.audit() == 5
    assert world.store.history() == (0, 8)


def test_bad_release_is_aborted_and_quarantined(world: World) -> None:
    rollout_id = world.start(world.bad)
    before = world.document()
    world.tick()
    for device in (canaries := world.joined()):
        world.say(
            device,
            Event(
                boot_id="x",
                seq=next(world.seq),
                at_s=0.0,
                kind="trial",
                rollout_id=rollout_id,
                reason="90 % of answers differ",
            ),
        )
    world.tick()
    rollout = world.store.rollout(rollout_id)
    assert rollout.state is RolloutState.ABORTED
    assert "weak" in rollout.reason
    assert "90 % of answers differ" in rollout.reason
    paper = world.document()
    assert paper.aborted
    assert paper.version > before.version
    assert world.store.release(world.bad.bundle_id).quarantined == rollout.reason
    (alert,) = world.store.alerts()
    assert (alert.kind, set(alert.devices)) == ("rollout", set(canaries))
    with pytest.raises(RolloutError, match="quarantined"):
        world.start(world.bad)
    world.start(world.good)  # the cohort is free again
    assert world.document().version > paper.version


def test_mirrors_are_in_the_signed_document(world: World) -> None:
    world.start(world.good, mirrors=("https://cdn.example/models",))
    assert world.document().mirrors == ("https://cdn.example/models",)


def test_versions_go_on_where_a_restored_database_has_forgotten_them(world: World) -> None:
    world.start(world.good)
    assert world.document().version >= world.now_s  # as high as any that was ever given


def test_silence_past_the_deadline_counts_as_failure(world: World) -> None:
    rollout_id = world.start(world.bad)
    world.tick()
    world.tick(61.0)
    assert world.store.rollout(rollout_id).state is RolloutState.ABORTED
    (first, *_rest) = world.store.exposures(rollout_id)
    assert "silent past the deadline" in first.reason


def test_mixed_fate_of_few_devices_goes_to_a_person(world: World) -> None:
    rollout_id = world.start(world.good)
    world.tick()
    one, other = world.joined()
    world.state(one, DeviceState.COMMITTED, world.good.bundle_id, rollout_id)
    world.state(other, DeviceState.ROLLED_BACK, FACTORY, rollout_id)
    world.tick()
    world.tick(6.0)
    rollout = world.store.rollout(rollout_id)
    assert rollout.state is RolloutState.INCONCLUSIVE
    assert "a person has to decide" in rollout.reason
    world.engine.resume(rollout_id, "that one has a broken cable")
    assert set(world.joined()) == set(world.devices)
    last = world.store.rollout_events(rollout_id)[-1]
    assert "broken cable" in last.text


def test_person_can_abort_pause_and_resume(world: World) -> None:
    rollout_id = world.start(world.good)
    assert world.engine.pause(rollout_id, "lunch").state is RolloutState.PAUSED
    world.tick()
    world.commit(rollout_id, world.good)
    world.tick()
    assert world.store.rollout(rollout_id).state is RolloutState.PAUSED
    assert world.engine.resume(rollout_id, "back").state is RolloutState.ACTIVE
    assert world.engine.abort(rollout_id, "changed our mind").state is RolloutState.ABORTED
    assert world.document().aborted
    assert world.store.release(world.good.bundle_id).quarantined == ""
    with pytest.raises(RolloutError, match="cannot be aborted"):
        world.engine.abort(rollout_id, "again")


def test_restart_goes_on_where_it_stopped(world: World) -> None:
    rollout_id = world.start(world.good)
    world.tick()
    before = world.document()
    world.broker.topics.clear()
    world.engine = world.restarted()
    world.engine.publish_all()
    assert world.document() == before
    world.commit(rollout_id, world.good)
    world.tick()
    world.tick(6.0)
    assert world.store.rollout(rollout_id).wave == 1
    assert len(world.store.exposures(rollout_id)) == 2


def test_nobody_is_online_after_a_restart_until_heard(world: World) -> None:
    world.start(world.good)
    world.engine.publish_all()
    assert not any(view.online for view in world.store.devices())
    world.engine.tick(world.now_s)
    assert world.store.exposures(world.store.rollouts()[0].rollout_id) == ()
    world.tick()
    assert all(view.online for view in world.store.devices())


def test_document_is_renewed_before_it_expires(world: World) -> None:
    world.start(world.good)
    before = world.document()
    world.tick(LIFETIME_S / 2 + 10.0)
    after = world.document()
    assert after.version > before.version
    assert after.expires_s > before.expires_s


def test_decision_log_shows_when_a_line_was_changed(world: World) -> None:
    rollout_id = world.start(world.good)
    world.engine.abort(rollout_id, "enough")
    assert world.store.audit() == 2
    with world.store.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE rollout_event SET record = CAST(replace(record, 'enough', 'plenty') AS BLOB)"
        )
    with pytest.raises(RolloutError, match="changed afterwards"):
        world.store.audit()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"cohort": "nobody"}, RolloutError, "no enrolled device is in cohort 'nobody'"),
        ({"release": "nothing"}, ReleaseError, "nothing"),
        ({"waves": ()}, RolloutError, "at least one wave"),
        ({"waves": (Wave(),)}, RolloutError, "either a permille or a number"),
        ({"waves": (Wave(permille=1, devices=1),)}, RolloutError, "either"),
        ({"waves": (Wave(permille=1001),)}, RolloutError, "1001"),
        ({"waves": (Wave(devices=0),)}, RolloutError, "wave of 0"),
        ({"window_s": (79200.0, 14400.0)}, RolloutError, "may wait 64800 s for the window"),
        ({"window_s": (7200.0, 7200.0)}, RolloutError, "the window has no length"),
    ],
)
def test_start_is_refused_when_it_makes_no_sense(
    world: World, changes: dict[str, object], error: type[FleetError], text: str
) -> None:
    with pytest.raises(error, match=text):
        world.start(world.good, **changes)
    assert world.store.rollouts() == ()
    assert world.broker.topics == {}


def test_document_carries_shadow_and_window_when_they_are_asked_for(world: World) -> None:
    shadow = ShadowLimits(max_disagreement=0.05)
    limits = SelfTestLimits(shadow=shadow)
    window_s = (79200.0, 14400.0)
    world.start(world.good, limits=limits, window_s=window_s, deadline_s=80000.0)
    assert world.document().limits.shadow == shadow
    assert world.document().window_s == window_s


def test_second_rollout_waits_for_the_first(world: World) -> None:
    first = world.start(world.good)
    with pytest.raises(RolloutError, match=first):
        world.start(world.bad)
    world.start(world.bad, cohort="b")


def test_holdback_never_joins_and_is_the_control(world: World) -> None:
    rollout_id = world.start(world.good, Wave(permille=1000), holdback_permille=500)
    world.tick()
    exposures = world.store.exposures(rollout_id)
    held = {e.device for e in exposures if e.arm is Arm.HOLDBACK}
    assert held
    assert not held & set(world.joined())


def window(name: str, alarm: bool) -> FeatureWindow:
    bins = (32, 32, *(0,) * 14) if alarm else (4,) * 16
    return FeatureWindow(name=name, bins=bins, evidence=9e9 if alarm else 1.0, alarm=alarm)


def drifting_line(world: World) -> None:
    """One window of every device; line b is in alarm."""
    for index, device in enumerate(world.devices):
        world.say(
            device,
            Report(
                boot_id="x",
                seq=next(world.seq),
                bundle_id=world.good.bundle_id,
                start_s=0.0,
                end_s=1.0,
                samples=64,
                violations=0,
                latency_us=(64, *(0,) * len(LATENCY_EDGES_US)),
                confidence=window("confidence", False),
                classes=(32, 32),
                class_drift=FeatureWindow(name="classes", bins=(32, 32), evidence=1.0, alarm=False),
                features=(window("mean", index >= 4),),
            ),
        )


def test_drift_of_one_line_makes_one_alert_that_stays_one(world: World) -> None:
    for _ in range(3):
        drifting_line(world)
        world.tick()
    (alert,) = world.store.alerts()
    assert (alert.cohort, alert.devices) == ("b", ("d4", "d5", "d6", "d7"))
    feature = alert.features[0]
    assert (feature.feature, feature.devices) == ("mean", 4)
    assert feature.distance > 0.8
    assert alert.runbook
    revision = world.store.revision
    world.engine.tick(world.now_s)
    assert world.store.revision == revision  # an idle tick wakes nobody
    taken = world.engine.acknowledge(alert.alert_id, "cleaning the lenses")
    world.tick()
    assert [a.state for a in world.store.alerts()] == ["acknowledged"]
    assert "lenses" in taken.action
    with pytest.raises(FleetError, match="no alert 99"):
        world.engine.acknowledge(99, "x")


def test_drift_alert_closes_when_it_is_over_and_opens_anew_when_it_returns(world: World) -> None:
    drifting_line(world)
    world.tick()
    world.now_s += QUIET_S - 1
    world.engine.tick(world.now_s)
    assert [alert.state for alert in world.store.alerts()] == ["open"]
    world.now_s += 2
    world.engine.tick(world.now_s)
    assert [alert.state for alert in world.store.alerts()] == ["closed"]
    drifting_line(world)
    world.engine.tick(world.now_s)
    assert [alert.state for alert in world.store.alerts()] == ["open", "closed"]
