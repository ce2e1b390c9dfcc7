"""Every route through the real application: store, engine and signatures are real."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from sqlalchemy.exc import OperationalError

from edgekiln.fleet.api import Services, _revisions, build_app
from edgekiln.fleet.engine import Engine
from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.fleet.inbound import Inbound
from edgekiln.fleet.model import Alert, Release, RolloutState
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.snapshot import Snapshots
from edgekiln.fleet.store import Enrolment, Store, open_store
from edgekiln.runtime.protocol import Birth, FeatureWindow, Report
from edgekiln.runtime.telemetry import LATENCY_EDGES_US

TOKEN = "the-operators-token"
BASE = "http://127.0.0.1:8123"
POSTS = (
    "/api/rollouts",
    "/api/rollouts/r1/abort",
    "/api/rollouts/r1/pause",
    "/api/rollouts/r1/resume",
    "/api/alerts/1/acknowledge",
)


class Silent:
    """A broker that nobody listens to."""

    def retain(self, topic: str, payload: bytes) -> None:
        pass

    confirm = offer = retain


class Api:
    """The application, a client of it, and what it works on."""

    def __init__(self, folder: FleetFolder, release: Release) -> None:
        self.folder, self.release = folder, release
        self.now_s = 1000.0
        self.stopping = False
        self.store = open_store(folder.database)
        self.services = Services(
            store=self.store,
            snapshots=Snapshots(self.store, folder.tenant),
            engine=Engine(folder, self.store, Silent(), lambda: self.now_s),
            tenant=folder.tenant,
            broker_kind="mosquitto",
            broker_port=1883,
            repository=folder.repository,
            token=TOKEN,
            stopping=lambda: self.stopping,
        )
        app = build_app(self.services)
        self.client = TestClient(app, base_url=BASE, raise_server_exceptions=False)
        for index in range(4):
            self.enrol(f"d{index}")

    def enrol(self, device: str) -> None:
        self.store.put_enrolment(
            Enrolment(device=device, target="host", cohorts=("all",), enrolled_s=0.0)
        )
        birth = Birth(device=device, boot_id="x", online=True, running=self.release.bundle_id)
        self.store.apply((Inbound(device, birth),), self.now_s)

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, **options)

    def post(self, path: str, body: object, token: str = f"Bearer {TOKEN}") -> Any:
        return self.client.post(path, json=body, headers={"Authorization": token})

    def start(self, **changes: object) -> Any:
        body = {"release": "prod", "cohort": "all", "waves": [{"permille": 1000}], **changes}
        return self.post("/api/rollouts", body)


@pytest.fixture(scope="module")
def founded(
    tmp_path_factory: pytest.TempPathFactory, bundle_at: Callable[..., Path]
) -> tuple[FleetFolder, Release]:
    """A fleet with one release; each test gets a copy of its folder."""
    place = tmp_path_factory.mktemp("api")
    folder = init_fleet(place / "fleet")
    return folder, register_release(folder, bundle_at(place / "digits.ekb"), alias="prod")


@contextmanager
def running(founded: tuple[FleetFolder, Release], path: Path) -> Iterator[Api]:
    """The application on a copy of the founded fleet."""
    folder, release = founded
    made = Api(FleetFolder(shutil.copytree(folder.path, path), folder.settings), release)
    with made.client:
        yield made
    made.store.close()


@pytest.fixture
def api(founded: tuple[FleetFolder, Release], tmp_path: Path) -> Iterator[Api]:
    with running(founded, tmp_path / "fleet") as made:
        yield made


@pytest.fixture(scope="module")
def untouched(
    founded: tuple[FleetFolder, Release], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """One application for all requests that may change nothing, which is asserted at the end."""
    with running(founded, tmp_path_factory.mktemp("untouched") / "fleet") as made:
        revision = made.store.revision
        yield made
        assert made.store.revision == revision
        assert made.store.rollouts() == ()


def detail(answer: Any) -> str:
    """The one line that a refusal carries."""
    text = str(answer.json()["detail"])
    assert answer.json()["status_code"] == answer.status_code
    assert "\n" not in text
    return text


def report(seq: int, end_s: float) -> Report:
    window = FeatureWindow(name="x", bins=(1,) * 16, evidence=0.0, alarm=False)
    return Report(
        boot_id="x",
        seq=seq,
        bundle_id="b",
        start_s=end_s - 2.0,
        end_s=end_s,
        samples=50,
        violations=0,
        latency_us=(50, *(0,) * len(LATENCY_EDGES_US)),
        confidence=window,
        classes=(25, 25),
        class_drift=FeatureWindow(name="classes", bins=(25, 25), evidence=0.0, alarm=False),
        features=(window,),
    )


def alert(store: Store) -> Alert:
    return store.put_alert(
        Alert(
            alert_id=0,
            fingerprint="f",
            kind="drift",
            cohort="all",
            release="r",
            opened_s=0.0,
            last_seen_s=0.0,
            devices=("d0",),
            features=(),
            summary="something moved",
            runbook="",
        )
    )


def test_health_names_broker_and_revision(untouched: Api) -> None:
    health = untouched.get("/health").json()
    assert health["broker"] == "mosquitto"
    assert health["revision"] == untouched.store.revision
    assert health["malformed"] == 0


def test_devices_and_one_device(untouched: Api) -> None:
    assert [d["device"] for d in untouched.get("/api/devices").json()] == ["d0", "d1", "d2", "d3"]
    one = untouched.get("/api/devices/d2").json()
    assert one["online"] is True
    assert one["running"] == untouched.release.bundle_id


def test_releases_rollouts_and_alerts_are_listed(api: Api) -> None:
    assert api.get("/api/releases").json()[0]["aliases"] == ["prod"]
    assert api.get("/api/rollouts").json() == []
    assert api.get("/api/alerts").json() == []
    alert(api.store)
    assert api.get("/api/alerts").json()[0]["summary"] == "something moved"


def test_rollout_starts_and_shows_its_decisions(api: Api) -> None:
    started = api.start()
    assert started.status_code == 201
    found = api.get(f"/api/rollouts/{started.json()['rollout_id']}").json()
    assert found["rollout"]["release"] == api.release.bundle_id
    assert [event["kind"] for event in found["events"]] == ["started"]


def test_person_pauses_resumes_and_aborts(api: Api) -> None:
    rollout_id = api.start().json()["rollout_id"]
    steps = (("pause", "PAUSED"), ("resume", "ACTIVE"), ("abort", "ABORTED"))
    for act, state in steps:
        answer = api.post(f"/api/rollouts/{rollout_id}/{act}", {"reason": "by the book"})
        assert (answer.status_code, answer.json()["state"]) == (201, state)
    kinds = [event.kind for event in api.store.rollout_events(rollout_id)]
    assert kinds == ["started", "paused", "resumed", "aborted"]


def test_alert_is_acknowledged_with_its_reason(api: Api) -> None:
    number = alert(api.store).alert_id
    answer = api.post(f"/api/alerts/{number}/acknowledge", {"reason": "lens cleaned"})
    assert answer.json()["state"] == "acknowledged"
    assert "lens cleaned" in api.store.alerts()[0].action


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("token", ["", TOKEN, "Bearer ", "Bearer wrong", f"bearer {TOKEN}", "ü"])
def test_change_is_refused_when_the_token_is_not_the_operators(
    untouched: Api, path: str, token: str
) -> None:
    headers = {"Authorization": token.encode()} if token else {}
    answer = untouched.client.post(
        path, content=b"{", headers=headers
    )  # before the body is looked at
    assert answer.status_code == 401
    assert "operator.token" in detail(answer)
    assert TOKEN not in answer.text
    assert untouched.store.rollouts() == ()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"holdback_permille": 900}, "holdback_permille"),
        ({"soak_s": -1}, "soak_s"),
        ({"deadline_s": 1e308}, "deadline_s"),  # its double would be no number
        ({"waves": [{"permille": "many"}]}, "waves[0].permille"),
        ({"waves": 3}, "waves"),
        ({"limits": {"max_p95_ms": "fast"}}, "limits.max_p95_ms"),
        ({"cohrt": "all"}, "cohrt"),
        ({"release": None}, "release"),
    ],
)
def test_invalid_body_is_refused_by_the_name_of_its_key(
    untouched: Api, changes: dict[str, object], named: str
) -> None:
    answer = untouched.start(**changes)
    assert answer.status_code == 400
    assert named in detail(answer)
    assert untouched.store.rollouts() == ()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"release": "prod"}', b"null"])
def test_body_that_is_no_request_is_refused(untouched: Api, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    answer = untouched.client.post("/api/rollouts", content=body, headers=headers)
    assert answer.status_code == 400
    assert detail(answer)


def test_reason_is_needed_to_overrule(api: Api) -> None:
    rollout_id = api.start().json()["rollout_id"]
    answer = api.post(f"/api/rollouts/{rollout_id}/abort", {"reason": ""})
    assert answer.status_code == 400
    assert "reason" in detail(answer)
    assert api.store.rollout(rollout_id).state is RolloutState.ACTIVE


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/devices/nobody", "no device 'nobody'"),
        ("/api/rollouts/none", "no rollout 'none'"),
        ("/parts/secrets", "there are tiles, devices"),
        ("/nowhere", "Not Found"),
        ("/static/../api.py", "Not Found"),
        ("/static/%2e%2e/api.py", "no file"),
    ],
)
def test_unknown_is_404(untouched: Api, path: str, says: str) -> None:
    answer = untouched.get(path)
    assert answer.status_code == 404
    assert says in answer.text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/rollouts/none/abort", "no rollout 'none'"),
        ("/api/alerts/99/acknowledge", "no alert 99"),
        ("/api/alerts/99999999999999999999999/acknowledge", "no alert 9999"),
    ],
)
def test_change_of_the_unknown_is_404(untouched: Api, path: str, says: str) -> None:
    answer = untouched.post(path, {"reason": "testing"})
    assert answer.status_code == 404
    assert says in detail(answer)


def test_second_rollout_in_a_busy_cohort_is_409(api: Api) -> None:
    assert api.start().status_code == 201
    answer = api.start()
    assert answer.status_code == 409
    assert "abort or finish it first" in detail(answer)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"release": "nothing"}, "no release is called 'nothing'"),
        ({"cohort": "empty"}, "no enrolled device is in cohort 'empty'"),
        ({"waves": []}, "at least one wave"),
        ({"waves": [{}]}, "either a permille or a number of devices"),
        ({"waves": [{"devices": 0}]}, "a wave of 0 makes no sense"),
    ],
)
def test_rollout_that_makes_no_sense_is_409(
    untouched: Api, changes: dict[str, object], says: str
) -> None:
    answer = untouched.start(**changes)
    assert answer.status_code == 409
    assert says in detail(answer)


@pytest.mark.parametrize("path", ["/", "/health", "/api/devices", "/parts/tiles", "/static/app.js"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example"])
def test_request_by_another_hosts_name_is_refused(untouched: Api, path: str, host: str) -> None:
    answer = untouched.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert "Host header" in detail(answer)


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:9000", "LOCALHOST", "127.0.0.1"])
def test_this_machine_is_answered_whatever_port_is_forwarded(untouched: Api, host: str) -> None:
    assert untouched.get("/health", headers={"Host": host}).status_code == 200


def test_page_and_parts_are_html_that_loads_nothing_from_elsewhere(untouched: Api) -> None:
    for path in ("/", "/parts/tiles", "/parts/devices", "/parts/rollouts", "/parts/alerts"):
        answer = untouched.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_schema_describes_the_api_and_renders_nothing(untouched: Api) -> None:
    paths = untouched.get("/schema/openapi.json").json()["paths"]
    assert set(POSTS) & {path.replace("{rollout_id}", "r1") for path in paths}
    assert "<script" not in untouched.get("/schema").text


def test_parts_of_one_revision_are_read_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    real = api.store.devices

    def counted() -> Any:
        reads.append(1)
        return real()

    monkeypatch.setattr(api.store, "devices", counted)
    for _ in range(3):
        for part in ("tiles", "devices", "alerts", "rollouts"):
            api.get(f"/parts/{part}")
    assert len(reads) == 1
    api.enrol("d9")
    assert "d9" in api.get("/parts/devices").text
    assert len(reads) == 2


def test_series_adds_up_what_devices_reported(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekiln.fleet.api.time.time", lambda: 5000.0)
    for seq in range(1, 31):
        end_s = 4940.0 + 2 * seq
        api.store.apply([Inbound("d0", report(seq, end_s))], end_s)
    series = api.get("/api/series").json()
    (line,) = series["lines"]
    assert line["name"] == "all"
    assert series["unit"] == "inferences/s"
    assert line["values"][-20:] == pytest.approx([25.0] * 20)  # 50 samples in 2 s
    assert line["values"][:30] == [None] * 30


def test_database_that_fails_is_503_in_one_line(
    api: Api, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise OperationalError("SELECT 1", {}, Exception("disk I/O error"))

    monkeypatch.setattr(api.store, "releases", fails)
    answer = api.get("/api/releases")
    assert answer.status_code == 503
    assert detail(answer) == "the fleet's database cannot be used: disk I/O error"
    assert capfd.readouterr().err == ""


def test_fault_of_ours_is_500_without_inside_and_told_on_stderr(
    api: Api, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise KeyError("a secret inside")

    monkeypatch.setattr(api.store, "releases", fails)
    answer = api.get("/api/releases")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "a secret inside" in capfd.readouterr().err


def test_events_tell_each_revision_once_and_end_with_the_server(api: Api) -> None:
    async def watch() -> list[str]:
        told = []
        async for message in _revisions(api.services):
            told.append(str(message.data))
            if len(told) == 1:
                api.enrol("d8")
            else:
                api.stopping = True
        return told

    first = api.store.revision
    told = asyncio.run(asyncio.wait_for(watch(), 10))
    assert told == [str(first), str(api.store.revision)]


@pytest.mark.parametrize(
    "mirror", ["ftp://example/", "example.com", "http://", "https://a b/", "x" * 600]
)
def test_rollout_is_refused_when_a_mirror_is_no_address(api: Api, mirror: str) -> None:
    answer = api.start(mirrors=[mirror])
    assert answer.status_code == 409
    assert "is no address" in answer.json()["detail"]


def test_mirrors_go_into_the_rollout(api: Api) -> None:
    answer = api.start(mirrors=["https://cdn.example/models"])
    assert answer.json()["mirrors"] == ["https://cdn.example/models"]
    assert api.start(mirrors=["https://cdn.example"] * 9).status_code == 400


def test_bundle_is_served_with_ranges(api: Api) -> None:
    path = f"/repository/targets/{api.release.target_path}"
    answer = api.get(path, headers={"Range": "bytes=0-3"})
    assert (answer.status_code, answer.content) == (206, b"PK\x03\x04")
