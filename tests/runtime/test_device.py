"""A whole device with real models on a real broker: the fleet's side is played by the test."""

from __future__ import annotations

import hashlib
import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.enums import CallbackAPIVersion

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8
from edgekiln.runtime.agent_ports import Clock
from edgekiln.runtime.bundle import open_bundle, write_bundle
from edgekiln.runtime.config import load_device
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.device import run_device
from edgekiln.runtime.errors import DeviceConfigError, EngineError, MemberError
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.inference import Inference, unheard
from edgekiln.runtime.kll_bytes import decode_sketch
from edgekiln.runtime.live import LiveModels
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.outbox import Outbox
from edgekiln.runtime.protocol import (
    Ack,
    Birth,
    Block,
    Capture,
    DeviceState,
    Event,
    GetRequest,
    Report,
    RolloutDocument,
    SelfTestLimits,
    ShadowLimits,
    State,
    Topics,
    decode,
    encode,
)
from edgekiln.runtime.quant import dequantize_array, softmax
from edgekiln.runtime.reference import build_reference
from edgekiln.runtime.signing import sign_document
from edgekiln.runtime.source import NpzSource

DEADLINE_S = 30.0
# The process is that of all the tests before: what it holds says nothing about a device.
LIMITS = SelfTestLimits(trial_samples=30, trial_timeout_s=20.0, max_rss_bytes=1 << 40)
TOPICS = Topics("default")
RNG = np.random.default_rng(3)
X = RNG.normal(size=(200, 8)).astype(np.float32)
WEIGHTS = RNG.normal(size=(3, 8)).astype(np.float32)
CONTRACT = Contract(TensorSpec("features", (8,)), ("a", "b", "c"))
KINDS = {
    "birth": Birth,
    "state": State,
    "event": Event,
    "report": Report,
    "get": GetRequest,
    "capture": Capture,
}


def make_release(folder: Path, name: str, weights: np.ndarray) -> tuple[bytes, str]:
    """A real bundle of a linear classifier, and its id."""
    net = GraphBuilder(name, (1, 8))
    logits = net.fully_connected(net.input, weights, np.zeros(3, np.float32))
    graph = quantize(optimize(net.finish(logits)), X)
    quant = params(graph, graph.outputs[0])
    scale, zero = quant.scale[0], quant.zero_point[0]
    answers = run_int8(graph, quantize_input(graph, X))
    sure = softmax(dequantize_array(answers, scale, zero)).max(1)
    data = emit_tflite(graph)
    number = EstimateRecord(1.0, 1.0, 1.0, "ms", "T3", "test")
    artifact = Artifact(
        "host", "tflite", "artifacts/host/model.tflite", len(data),
        hashlib.sha256(data).hexdigest(), "int8.v1", 1.0, number, number, number,
    )  # fmt: skip
    draft = Manifest(name, (), (artifact,), 1.0, 1.0, Gate(True, ()), Lineage("0"), {}, {})
    members = {
        artifact.path: data,
        "contract.json": msgspec.json.encode(CONTRACT),
        "golden.npz": pack_golden(Golden(X[:20], answers[:20], scale, zero)),
        "reference.bin": build_reference(CONTRACT, X, sure, answers.argmax(1)).to_bytes(),
    }
    path = folder / f"{name}.ekb"
    bundle = write_bundle(path, draft, members)
    return path.read_bytes(), bundle.bundle_id


class Fleet:
    """Answers requests from a repository, acknowledges, and remembers what it heard."""

    def __init__(self, repository: Any, port: int) -> None:
        self.repository = repository
        self.key = Ed25519PrivateKey.generate()
        self.heard: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="fleet")
        self._client.on_message = self._take
        self._client.on_connect = lambda client, *_: client.subscribe(TOPICS.all_up, 1)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # Out of the circle: paho closes its sockets when the client goes, not when a circle does.
        self._client.on_message = self._client.on_connect = None

    def roll_out(self, bundle_id: str, version: int = 1, **changes: Any) -> None:
        data = self.repository.files[f"targets/bundles/{bundle_id}.ekb"]
        document = RolloutDocument(
            rollout_id=f"r-{bundle_id[:6]}", version=version, cohort="all", release=bundle_id,
            target_path=f"bundles/{bundle_id}.ekb", sha256=hashlib.sha256(data).hexdigest(),
            salt="s", permille=1000, limits=LIMITS,
        )  # fmt: skip
        document = msgspec.structs.replace(document, **changes)
        payload = sign_document(document, self.key)
        self._client.publish(TOPICS.cohort("all", "rollout"), payload, 1, retain=True)

    def wait(self, kind: str, wanted: Callable[[Any], bool]) -> Any:
        """The first message of a kind that is wanted, now or before the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while True:
                found = [m for k, m in self.heard if k == kind and wanted(m)]
                if found:
                    return found[0]
                left = deadline - time.monotonic()
                assert left > 0, [m for k, m in self.heard if k in ("state", "event")][-4:]
                self._changed.wait(left)

    def _take(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        device, kind = TOPICS.parse_up(message.topic)
        heard = decode(message.payload, KINDS[kind])
        if isinstance(heard, GetRequest):
            self._answer(client, device, heard)
        elif not isinstance(heard, Birth):
            ack = Ack(boot_id=heard.boot_id, seq=heard.seq)
            client.publish(TOPICS.down(device, "command"), encode(ack), 1)
        with self._changed:
            self.heard.append((kind, heard))
            self._changed.notify_all()

    def _answer(self, client: mqtt.Client, device: str, request: GetRequest) -> None:
        data = self.repository.files.get(request.path)
        size = request.block_bytes
        for index in range(request.first, request.first + max(1, request.count)):  # a fence too
            block = Block(
                request_id=request.request_id, path=request.path, index=index,
                total_bytes=len(data or b""), data=(data or b"")[index * size : (index + 1) * size],
                error="" if data is not None else "not found",
            )  # fmt: skip
            client.publish(TOPICS.down(device, "block"), encode(block), 1)


class Broker:
    """A private mosquitto on a port of its own, which can be stopped and started again."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._config = folder / "mosquitto.conf"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
        )
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_S)


class Running:
    """A device in a thread."""

    def __init__(
        self, folder: Path, source: Path, on_answer: Callable[[Any, Any], None] = unheard
    ) -> None:
        self._on_answer = on_answer
        self.stop_event = threading.Event()
        self.ready: list[str] = []
        self.failure: BaseException | None = None
        self._args = (load_device(folder), NpzSource(source, 100.0), self.stop_event)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            run_device(
                *self._args,
                window_s=0.5,
                on_ready=self.ready.append,
                on_answer=self._on_answer,
            )
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self.stop_event.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        assert self.failure is None


@pytest.fixture
def broker(require_tool: Callable[[str], str], tmp_path: Path) -> Iterator[Broker]:
    made = Broker(require_tool("mosquitto"), tmp_path)
    yield made
    made.stop()


@pytest.fixture
def fleet(broker: Broker, repository: Any) -> Iterator[Fleet]:
    made = Fleet(repository, broker.port)
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=X)
    return tmp_path / "x.npz"


def enrol(fleet: Fleet, port: int, home: Path) -> str:
    """Write a device folder; returns the id of its factory release."""
    (home / "trust").mkdir(parents=True)
    data, factory = make_release(home, "factory", WEIGHTS)
    fleet.repository.add(data, bundle_id=factory)
    fleet.repository.copy_to(home / "factory")
    (home / "device.toml").write_text(
        'device = "d1"\ntenant = "default"\ntarget = "host"\ncohorts = ["all"]\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\nusername = "d1"\n'
    )
    (home / "password").write_text("x\n")
    (home / "trust" / "root.json").write_bytes(fleet.repository.trusted_root)
    public = fleet.key.public_key().public_bytes_raw()
    (home / "trust" / "rollout.pub").write_text(public.hex())
    return factory


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "device"


@pytest.fixture
def start(home: Path, source: Path) -> Iterator[Callable[[], Running]]:
    started: list[Running] = []

    def begin() -> Running:
        started.append(Running(home, source))
        return started[-1]

    yield begin
    for device in started:
        device.stop_event.set()
        device._thread.join(DEADLINE_S)


@pytest.mark.slow
def test_device_takes_a_good_release_and_refuses_a_bad_one(
    broker: Broker, fleet: Fleet, home: Path, tmp_path: Path, start: Callable[[], Running]
) -> None:
    factory = enrol(fleet, broker.port, home)
    device = start()
    assert fleet.wait("birth", lambda b: b.online and b.running == factory).cohorts == ("all",)
    report = fleet.wait("report", lambda r: r.bundle_id == factory and r.samples > 10)
    assert sum(report.latency_us) == sum(report.classes) == report.samples
    assert report.rss_bytes > 1 << 20

    data, good = make_release(tmp_path, "good", WEIGHTS * 1.01)
    fleet.repository.add(data, bundle_id=good)
    fleet.roll_out(good)
    trial = fleet.wait("event", lambda e: e.kind == "trial" and e.bundle_id == good)
    assert trial.passed
    assert trial.trial.samples >= 30
    assert trial.trial.disagreements <= trial.trial.samples * 0.25
    fleet.wait("state", lambda s: s.state == DeviceState.COMMITTED and s.running == good)
    fleet.wait("birth", lambda b: b.running == good)
    fleet.wait("report", lambda r: r.bundle_id == good and r.samples > 0)

    data, bad = make_release(tmp_path, "bad", -WEIGHTS)
    fleet.repository.add(data, bundle_id=bad)
    fleet.roll_out(bad)
    trial = fleet.wait("event", lambda e: e.kind == "trial" and e.bundle_id == bad)
    assert not trial.passed
    assert "disagrees" in trial.reason
    back = fleet.wait("state", lambda s: s.state == DeviceState.ROLLED_BACK)
    assert back.running == back.last_known_good == good
    device.stop()
    assert device.ready == [factory]
    assert not fleet.wait("birth", lambda b: not b.online).online
    assert (home / "drift.bin").stat().st_size > 100


REDACTION = """
def halve(sample, reason):
    return sample / 2
"""


@pytest.mark.slow
def test_device_sends_redacted_samples_only_where_its_owner_says_so(
    broker: Broker,
    fleet: Fleet,
    home: Path,
    start: Callable[[], Running],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enrol(fleet, broker.port, home)
    device = start()
    fleet.wait("report", lambda r: r.samples > 10)
    device.stop()
    assert not [m for k, m in fleet.heard if k == "capture"]
    (home / "redaction_of_the_owner.py").write_text(REDACTION)
    monkeypatch.syspath_prepend(str(home))
    with (home / "device.toml").open("a") as config:
        config.write(
            '[capture]\nreasons = ["random"]\nredact = "redaction_of_the_owner:halve"\n'
            "random_share = 0.5\nmax_per_day = 1000000\n"
        )
    device = start()
    capture = fleet.wait("capture", lambda c: c.seq > 0)
    assert (capture.reason, capture.redacted_by) == ("random", "redaction_of_the_owner:halve")
    sample = np.frombuffer(capture.sample, "<f4").reshape(capture.shape)
    assert np.abs(X / 2 - sample).reshape(len(X), -1).max(axis=1).min() < 1e-6
    assert capture.label in CONTRACT.classes
    device.stop()
    report = fleet.wait("report", lambda r: r.boot_id == capture.boot_id and r.samples > 0)
    assert decode_sketch(report.latency_sketch).n == report.samples
    assert report.system.disk_free_bytes > 0
    assert report.system.cpu_s > 0


@pytest.mark.slow
def test_samples_that_a_model_on_trial_answers_differently_are_captured(
    broker: Broker, fleet: Fleet, home: Path, tmp_path: Path, start: Callable[[], Running]
) -> None:
    factory = enrol(fleet, broker.port, home)
    with (home / "device.toml").open("a") as config:
        config.write(
            '[capture]\nreasons = ["disagreement"]\nredact = "none"\nmax_per_day = 1000000\n'
        )
    device = start()
    fleet.wait("birth", lambda b: b.online and b.running == factory)
    data, bad = make_release(tmp_path, "bad", -WEIGHTS)
    fleet.repository.add(data, bundle_id=bad)
    fleet.roll_out(bad)
    capture = fleet.wait("capture", lambda c: c.reason == "disagreement")
    device.stop()
    assert (capture.bundle_id, capture.shape) == (bad, CONTRACT.input.shape)
    assert {capture.label, capture.other_label} <= set(CONTRACT.classes)
    assert capture.label != capture.other_label


@pytest.mark.slow
def test_every_answer_is_in_one_report_when_the_device_is_stopped(
    broker: Broker, fleet: Fleet, home: Path, source: Path, tmp_path: Path
) -> None:
    factory = enrol(fleet, broker.port, home)
    answers: list[str] = []
    device = Running(home, source, lambda raw, answer: answers.append(answer.bundle_id))
    try:
        fleet.wait("birth", lambda b: b.online and b.running == factory)
        data, good = make_release(tmp_path, "good", WEIGHTS * 1.01)
        fleet.repository.add(data, bundle_id=good)
        fleet.roll_out(good)
        fleet.wait("state", lambda s: s.state == DeviceState.COMMITTED and s.running == good)
    finally:
        device.stop()
    box = Outbox(home / "outbox.sqlite3")
    told = [decode(m.payload, Report) for m in box.pending(0, 100) if m.kind == "report"]
    box.close()
    told += [m for k, m in fleet.heard if k == "report"]
    samples = {(r.boot_id, r.seq): (r.bundle_id, r.samples) for r in told}
    for bundle in (factory, good):
        counted = sum(count for name, count in samples.values() if name == bundle)
        assert counted == answers.count(bundle) > 0


@pytest.mark.slow
def test_device_runs_and_keeps_its_reports_while_the_broker_is_away(
    broker: Broker, fleet: Fleet, home: Path, start: Callable[[], Running]
) -> None:
    factory = enrol(fleet, broker.port, home)
    start()
    first = fleet.wait("report", lambda r: r.samples > 0)
    broker.stop()
    time_away = time.monotonic()
    while time.monotonic() - time_away < 1.2:  # two windows close meanwhile
        threading.Event().wait(0.1)
    broker.start()
    again = fleet.wait("birth", lambda b: b.online and b.running == factory)
    assert again.boot_id == first.boot_id

    def gaps() -> list[float]:
        reports = {r.seq: r for k, r in fleet.heard if k == "report"}
        ordered = [reports[seq] for seq in sorted(reports)]
        return [abs(b.start_s - a.end_s) for a, b in itertools.pairwise(ordered)]

    # The fleet may be back after the device: what it has missed comes again.
    last = fleet.wait("report", lambda r: r.seq > first.seq + 3 and max(gaps()) < 1e-6)
    assert last.dropped == 0


@pytest.mark.slow
def test_device_starts_without_a_broker_and_a_second_process_is_refused(
    broker: Broker, fleet: Fleet, home: Path, source: Path, start: Callable[[], Running]
) -> None:
    factory = enrol(fleet, broker.port, home)
    broker.stop()
    device = start()
    deadline = time.monotonic() + DEADLINE_S
    while not device.ready:
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    assert device.ready == [factory]
    with pytest.raises(DeviceConfigError, match="already runs"):
        run_device(load_device(home), NpzSource(source, 100.0), threading.Event())
    broker.start()
    fleet.wait("birth", lambda b: b.running == factory)


class Looped:
    """A source that counts."""

    period_s = 0.0

    def __init__(self, samples: np.ndarray) -> None:
        self.given = 0
        self._samples = samples

    def next(self) -> np.ndarray:
        self.given += 1
        return self._samples[self.given % len(self._samples)]


class Windows:
    """An inference loop with a clock that the test moves."""

    def __init__(self, models: LiveModels, samples: np.ndarray, drift: bytes = b"") -> None:
        self.now_s = 100.0
        self.posted: list[tuple[Report, bytes]] = []
        self.models = models
        self.source = Looped(samples)
        clock = Clock(lambda: self.now_s, lambda: self.now_s)
        self.inference = Inference(
            models, self.source, lambda *args: self.posted.append(args), 10.0, clock,
            np.random.default_rng(0), drift,
        )  # fmt: skip

    def answer(self, count: int, step_s: float) -> None:
        for _ in range(count):
            assert self.models.session is not None
            self.inference.answer(self.models.session, self.source.next())
            self.now_s += step_s


@pytest.fixture
def models(tmp_path: Path) -> LiveModels:
    _, bundle_id = make_release(tmp_path, "one", WEIGHTS)
    (tmp_path / "one.ekb").rename(tmp_path / f"{bundle_id}.ekb")
    made = LiveModels("host")
    made.use(tmp_path / f"{bundle_id}.ekb")
    return made


def test_windows_close_on_time_and_lose_no_sample(models: LiveModels) -> None:
    loop = Windows(models, X)
    loop.answer(45, 1.0)
    reports = [report for report, _ in loop.posted]
    assert [r.samples for r in reports] == [11, 10, 10, 10]
    assert [(r.start_s, r.end_s) for r in reports[:2]] == [(100.0, 110.0), (110.0, 120.0)]
    assert {r.bundle_id for r in reports} == {models.running}


def test_samples_that_break_the_contract_are_counted_and_stop_nothing(models: LiveModels) -> None:
    loop = Windows(models, np.full((4, 8), np.nan, np.float32))
    loop.answer(15, 1.0)
    assert (loop.posted[0][0].samples, loop.posted[0][0].violations) == (0, 11)


def test_new_model_starts_a_new_window(models: LiveModels, tmp_path: Path) -> None:
    loop = Windows(models, X)
    loop.answer(5, 1.0)
    first = models.running
    _, second = make_release(tmp_path, "two", WEIGHTS * 2)
    models.start_trial(tmp_path / "two.ekb")
    loop.answer(5, 1.0)
    assert [(r.bundle_id, r.samples) for r, _ in loop.posted] == [(first, 5)]
    models.end_trial()
    loop.answer(12, 1.0)
    assert [r.bundle_id for r, _ in loop.posted] == [first, second]


def test_drift_state_goes_on_after_a_restart_and_is_ignored_when_foreign(
    models: LiveModels,
) -> None:
    loop = Windows(models, X + 3)
    loop.answer(200, 1.0)
    last, state = loop.posted[-1]
    assert max(f.evidence for f in last.features) > 1000
    again = Windows(models, X, state)
    again.answer(11, 1.0)
    assert max(f.evidence for f in again.posted[0][0].features) > 1000
    for foreign in (b"rubbish", state[:-3]):
        other = Windows(models, X, foreign)
        other.answer(11, 1.0)
        assert max(f.evidence for f in other.posted[0][0].features) < 1000


def test_self_test_measures_a_real_bundle(models: LiveModels, tmp_path: Path) -> None:
    _, bundle_id = make_release(tmp_path, "two", WEIGHTS)
    found = models.self_test(tmp_path / "two.ekb")
    assert found.bundle_id == bundle_id
    assert found.golden_max_lsb <= 1
    assert 0 < found.p95_ms < 1000
    assert found.rss_bytes > 1 << 20


def test_self_test_refuses_a_bundle_that_nobody_could_watch(
    models: LiveModels, tmp_path: Path
) -> None:
    """It would be found in the inference loop, by the first sample of the trial."""
    make_release(tmp_path, "two", WEIGHTS)
    bundle = open_bundle(tmp_path / "two.ekb")
    few = Contract(CONTRACT.input, CONTRACT.classes[:2])
    reference = build_reference(few, X, np.ones(len(X), np.float32), np.zeros(len(X), np.int64))
    members = {name: data for name, data in bundle.members.items() if name != "manifest.json"}
    members["reference.bin"] = reference.to_bytes()
    draft = msgspec.structs.replace(bundle.manifest, members=())
    write_bundle(tmp_path / "unfit.ekb", draft, members)
    with pytest.raises(MemberError, match="shares of other classes than the contract"):
        models.self_test(tmp_path / "unfit.ekb")


def test_roll_back_needs_no_file(models: LiveModels, tmp_path: Path) -> None:
    first = models.running
    make_release(tmp_path, "two", WEIGHTS * 2)
    models.start_trial(tmp_path / "two.ekb")
    (tmp_path / f"{first}.ekb").unlink()
    models.use(tmp_path / f"{first}.ekb")
    assert models.running == first


def test_live_models_refuse_in_one_line_when_the_artifact_is_hostile(
    models: LiveModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekiln.runtime import live

    def explode(path: Path, *how: object) -> None:
        raise ValueError("boom")

    before = models.running
    monkeypatch.setattr(live.Model, "open", explode)
    for load in (models.use, models.self_test, models.start_trial):
        with pytest.raises(EngineError, match="cannot be opened: boom"):
            load(tmp_path / "x.ekb")
    assert models.running == before


@pytest.mark.slow
def test_device_asks_a_release_in_the_shadow_before_it_answers(
    broker: Broker, fleet: Fleet, home: Path, tmp_path: Path, start: Callable[[], Running]
) -> None:
    factory = enrol(fleet, broker.port, home)
    start()
    fleet.wait("birth", lambda b: b.online and b.running == factory)
    limits = SelfTestLimits(
        trial_samples=30, trial_timeout_s=20.0, shadow=ShadowLimits(rate=1.0, timeout_s=60.0)
    )
    for name, weights, passes in (("good", WEIGHTS * 1.01, True), ("bad", -WEIGHTS, False)):
        data, release = make_release(tmp_path, name, weights)
        fleet.repository.add(data, bundle_id=release)
        fleet.roll_out(release, limits=limits)
        shadow = fleet.wait(
            "event", lambda e, r=release: e.kind in ("shadow", "rejected") and e.bundle_id == r
        )
        assert (shadow.kind, shadow.passed) == ("shadow", passes), shadow.reason
        assert shadow.trial.failures == 0
        ended = DeviceState.COMMITTED if passes else DeviceState.ROLLED_BACK
        fleet.wait("state", lambda s, e=ended: s.state == e)
        if not passes:
            assert "answers differ, limit 10%" in shadow.reason
            assert release not in {s.running for k, s in fleet.heard if k == "state"}


def test_self_test_that_hangs_is_given_up(
    models: LiveModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekiln.runtime import live

    release = threading.Event()
    monkeypatch.setattr(live, "LIMIT_S", 0.05)
    monkeypatch.setattr(models, "_open", lambda path: release.wait(DEADLINE_S))
    assert models.stuck_s == 0.0
    for call in (models.self_test, models.start_trial, lambda path: models.start_shadow(path, 1)):
        with pytest.raises(EngineError, match="did not end in 0 s"):
            call(tmp_path / "x.ekb")
    assert models.stuck_s > 0.05
    release.set()


CRASHING = """
import os, sys
from edgekiln.runtime import live
live.LiveModels.{place} = lambda *args: os.abort()
from edgekiln.cli.main import main
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["self_test", "start_shadow", "start_trial"])
def test_device_goes_back_when_the_new_model_kills_the_process_at_every_start(
    broker: Broker, fleet: Fleet, home: Path, tmp_path: Path, source: Path, place: str
) -> None:
    factory = enrol(fleet, broker.port, home)
    data, release = make_release(tmp_path, "deadly", WEIGHTS * 1.01)
    fleet.repository.add(data, bundle_id=release)
    limits = SelfTestLimits(trial_starts=2, shadow=ShadowLimits(rate=1.0))
    if place == "start_trial":
        limits = msgspec.structs.replace(limits, shadow=None)
    fleet.roll_out(release, limits=limits)
    command = [sys.executable, "-c", CRASHING.format(place=place), "device", "run", str(home)]
    for _ in range(2):  # as a service manager does
        died = subprocess.run(
            [*command, "--source", str(source)], stderr=subprocess.DEVNULL, check=False
        )
        assert died.returncode == -signal.SIGABRT
    with subprocess.Popen([*command, "--source", str(source)], stderr=subprocess.DEVNULL) as last:
        back = fleet.wait("state", lambda s: s.state == DeviceState.ROLLED_BACK)
        last.terminate()
    assert back.running == back.last_known_good == factory
    assert "did not come to its end in the starts it is allowed" in back.error


HANGING = """
import sys, time
from edgekiln.runtime import agent_checks, live
agent_checks.HANG_S = 1.0
begin, answer, on_trial = live.LiveModels.start_trial, live.Model.predict, []
def start_trial(models, path):
    on_trial.append(path.stem)
    begin(models, path)
def predict(model, raw):
    if model.bundle_id in on_trial:
        time.sleep(1000)
    return answer(model, raw)
live.LiveModels.start_trial, live.Model.predict = start_trial, predict
from edgekiln.cli.main import main
sys.exit(main())
"""


@pytest.mark.slow
def test_device_goes_back_and_answers_again_when_the_new_model_hangs(
    broker: Broker, fleet: Fleet, home: Path, tmp_path: Path, source: Path
) -> None:
    factory = enrol(fleet, broker.port, home)
    data, release = make_release(tmp_path, "hanging", WEIGHTS * 1.01)
    fleet.repository.add(data, bundle_id=release)
    fleet.roll_out(release)
    arguments = ["device", "run", str(home), "--source", str(source), "--window-s", "0.5"]
    command = [sys.executable, "-c", HANGING, *arguments]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.returncode == 1
    assert "restarting: the new model has not answered" in died.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as again:
        back = fleet.wait("state", lambda s: s.state == DeviceState.ROLLED_BACK)
        fleet.wait("report", lambda r: r.boot_id != back.boot_id and r.samples > 0)
        again.terminate()
    assert back.running == factory
