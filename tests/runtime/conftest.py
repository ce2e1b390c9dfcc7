"""A whole fleet in one process: a signed repository, a wire that can lose things, one device.

Bundles are small JSON files and `FakeModels` reads its behaviour from them, so that a test of the
agent says in one line what a release does wrong. Trust, journal, slots and outbox are the real
ones.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from edgekiln.runtime.agent import Agent
from edgekiln.runtime.agent_checks import Device, SelfTest
from edgekiln.runtime.agent_ports import Clock, Desk
from edgekiln.runtime.agent_steps import Tools
from edgekiln.runtime.courier import Courier
from edgekiln.runtime.device import open_outbox
from edgekiln.runtime.download import Downloads
from edgekiln.runtime.errors import EngineError
from edgekiln.runtime.journal import Journal
from edgekiln.runtime.merkle import encode_leaves, leaf_hashes, merkle_root
from edgekiln.runtime.outbox import Outbox
from edgekiln.runtime.protocol import (
    Ack,
    Block,
    Event,
    GetRequest,
    Report,
    RolloutDocument,
    SelfTestLimits,
    State,
    Topics,
    TrialEvidence,
    decode,
    encode,
)
from edgekiln.runtime.record import Slot
from edgekiln.runtime.recovery import Recovery
from edgekiln.runtime.reporter import Reporter
from edgekiln.runtime.signing import sign_document
from edgekiln.runtime.slots import SlotStore
from edgekiln.runtime.transfer import Transfer
from edgekiln.runtime.trust import Trust

ROLES = ("root", "targets", "snapshot", "timestamp")
BLOCK_BYTES = 64
DEVICE = Device("device-1", "host", ("all", "edge"), ram_bytes=1 << 20, flash_bytes=1 << 16)


def bundle(**behaviour: Any) -> bytes:
    """A fake bundle; its behaviour is its content."""
    return json.dumps({"filler": "x" * 400, **behaviour}).encode()


class Repository:
    """A TUF repository made with python-tuf, in memory: path -> bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        self.root = Root(expires=expires, consistent_snapshot=True)
        for role in ROLES:
            self.root.add_key(self.signers[role].public_key, role)
        self.targets = Targets(expires=expires)
        self.snapshot = Snapshot(expires=expires)
        self.timestamp = Timestamp(expires=expires)
        self.write(self.root, "1.root")
        self.publish()

    @property
    def trusted_root(self) -> bytes:
        return self.files["metadata/1.root.json"]

    def write(self, signed: Any, name: str) -> None:
        metadata = Metadata(signed)
        metadata.sign(self.signers[signed.type])
        self.files[f"metadata/{name}.json"] = metadata.to_bytes()

    def publish(self) -> None:
        """Sign targets, snapshot and timestamp with the next version."""
        self.targets.version += 1
        self.snapshot.version += 1
        self.timestamp.version += 1
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self.write(self.targets, f"{self.targets.version}.targets")
        self.write(self.snapshot, f"{self.snapshot.version}.snapshot")
        self.write(self.timestamp, "timestamp")

    def add(
        self,
        data: bytes,
        counter: int = 1,
        targets: tuple[str, ...] = ("host",),
        bundle_id: str = "",
    ) -> str:
        """Publish a bundle; its id is the hash of its bytes, where no other is given."""
        bundle_id = bundle_id or hashlib.sha256(data).hexdigest()
        path = f"bundles/{bundle_id}.ekb"
        leaves = leaf_hashes(data, BLOCK_BYTES)
        entry = TargetFile.from_data(path, data)
        entry.unrecognized_fields["custom"] = {
            "edgekiln": {
                "bundle_id": bundle_id,
                "merkle_root": merkle_root(leaves).hex(),
                "leaves_path": f"{path}.leaves",
                "security_counter": counter,
                "targets": list(targets),
                "ram_bytes": dict.fromkeys(targets, 1000),
                "flash_bytes": {name: len(data) for name in targets},
                "block_bytes": BLOCK_BYTES,
            }
        }
        self.targets.targets[path] = entry
        self.files[f"targets/{path}"] = data
        self.files[f"targets/{path}.leaves"] = encode_leaves(leaves)
        self.publish()
        return bundle_id

    def copy_to(self, folder: Path) -> None:
        for path, data in self.files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


class FakeModels:
    """Loads fake bundles. `boundary` is called around every load, as a place to be killed at."""

    def __init__(self, boundary: Callable[[], None]) -> None:
        self.running = ""
        self.rss_bytes = 1000
        self.samples = 1000
        self.stuck_s = 0.0
        self.loads: list[str] = []
        self.read: list[str] = []  # hash of every file that was handed to the engine
        self._live: dict[str, Any] = {}
        self._trial: dict[str, Any] | None = None
        self._boundary = boundary

    def _load(self, path: Path) -> tuple[str, dict[str, Any]]:
        self._boundary()
        data = path.read_bytes()
        self.read.append(hashlib.sha256(data).hexdigest())
        content = json.loads(data)
        if content.get("unloadable"):
            raise EngineError("the engine cannot run this")
        bundle_id = hashlib.sha256(data).hexdigest()
        self.loads.append(bundle_id)
        self._boundary()
        return bundle_id, content

    def use(self, path: Path) -> None:
        self.running, self._live = self._load(path)
        self._trial = None

    def self_test(self, path: Path) -> SelfTest:
        bundle_id, content = self._load(path)
        return SelfTest(
            bundle_id=content.get("claims", bundle_id),
            golden_max_lsb=content.get("lsb", 0),
            golden_allowed_lsb=content.get("allowed_lsb", 1),
            mismatching_labels=content.get("lsb", 0),
            p95_ms=content.get("p95_ms", 1.0),
            rss_bytes=content.get("rss_bytes", 1000),
        )

    def start_shadow(self, path: Path, rate: float) -> None:
        _, content = self._load(path)
        self._trial = {
            **content,
            "disagreement": content.get("shadow_disagreement", 0.0),
            "failures": content.get("shadow_failures", 0),
        }

    def end_shadow(self) -> None:
        self._trial = None

    def start_trial(self, path: Path) -> None:
        bundle_id, content = self._load(path)
        if content.get("trial_unloadable"):
            raise EngineError("the engine cannot run this twice")
        self.running, self._live, self._trial = bundle_id, content, content

    def evidence(self) -> TrialEvidence:
        assert self._trial is not None
        share = self._trial.get("disagreement", 0.0)
        return TrialEvidence(
            samples=self.samples,
            disagreements=round(share * self.samples),
            mean_confidence=0.5,
            baseline_confidence=0.9,
            p95_latency_ms=self._trial.get("trial_p95_ms", 1.0),
            failures=self._trial.get("failures", 0),
        )

    def end_trial(self) -> None:
        self._trial = None


class World:
    """One device, its fleet, and the wire between them. `boot` starts the device's process anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository()
        self.key = Ed25519PrivateKey.generate()
        self.factory = self.repository.add(bundle(name="factory"))
        self.repository.copy_to(folder / "factory")
        self.now_s = 1_000_000.0  # since when, nobody knows: what `monotonic_s` gives
        self.wrong_s = 0.0  # by which the wall clock is off
        self.hold = ""
        self.restarts: list[str] = []  # for which the agent has asked
        self.online = True
        self.acking = True
        self.lose: Callable[[GetRequest, int], bool] = lambda request, index: False
        self.damage: Callable[[Block], Block] = lambda block: block
        self.asked: list[GetRequest] = []
        self.sent: list[tuple[str, bytes]] = []
        self.announced = 0
        self.boundary: Callable[[], None] = lambda: None
        self.limits = SelfTestLimits(trial_samples=60, trial_timeout_s=30.0)
        self.boots = 0
        self.agent: Agent
        self.models: FakeModels
        self.new_models: Callable[[], FakeModels] = lambda: FakeModels(self._at_boundary)
        self._outbox: Outbox | None = None

    def reborn(self, folder: Path) -> World:
        """The same fleet with a device on another disk; what the fleet received it keeps."""
        other = copy.copy(self)
        other.folder = folder
        other.sent = list(self.sent)
        other.asked = []
        other._outbox = None
        return other

    def boot(self, device: Device = DEVICE) -> Agent:
        """A new process on the same folder."""
        self.close()
        self.boots += 1
        ids = itertools.count()
        clock = Clock(lambda: self.now_s + self.wrong_s, lambda: self.now_s)
        self._outbox, warning = open_outbox(self.folder / "outbox.sqlite3")
        reporter = Reporter(self._outbox, f"boot-{self.boots}")
        self.models = self.new_models()
        trust = Trust(self.folder / "tuf", self.repository.trusted_root)
        slots = SlotStore(self.folder / "slots")
        transfer = Transfer(
            self._answer, lambda: f"{self.boots}-{next(ids)}", self._tick_s, timeout_s=0.5
        )
        self.transfer = transfer
        tools = Tools(
            device=device,
            trust=trust,
            slots=slots,
            transfer=transfer,
            downloads=Downloads(self.folder / "slots", transfer),
            models=self.models,
            reporter=reporter,
            clock=clock,
            hold=lambda: self.hold,
        )
        desk = Desk(
            topics=Topics("default"),
            rollout_key=self.key.public_key(),
            courier=Courier(self._outbox, self._take_up, clock.monotonic_s),
            announce=self._announce,
            restart=self.restarts.append,
            warning=warning,
        )
        recovery = Recovery(trust, slots, self.models, self.folder / "factory")
        journal = Journal(self.folder / "journal.jsonl")
        self.agent = Agent(tools, journal, recovery, desk, random.Random(0))
        self.agent.start()
        return self.agent

    def close(self) -> None:
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None

    def document(self, bundle_id: str, **changes: Any) -> RolloutDocument:
        data = self.repository.files.get(f"targets/bundles/{bundle_id}.ekb", b"")
        base = RolloutDocument(
            rollout_id="r1",
            version=1,
            cohort="all",
            release=bundle_id,
            target_path=f"bundles/{bundle_id}.ekb",
            sha256=hashlib.sha256(data).hexdigest(),
            salt="salt",
            permille=1000,
            limits=self.limits,
        )
        return msgspec.structs.replace(base, **changes)

    def tell(self, document: RolloutDocument) -> None:
        """Publish a signed document to its cohort."""
        topic = Topics("default").cohort(document.cohort, "rollout")
        self.agent.post(topic, sign_document(document, self.key))

    def roll_out(self, **behaviour: Any) -> str:
        """Publish a release and tell the cohort to take it."""
        bundle_id = self.repository.add(bundle(**behaviour))
        self.tell(self.document(bundle_id))
        return bundle_id

    def settle(self, ticks: int = 200) -> None:
        """Let the agent work until it rests; a second passes whenever it waits."""
        for _ in range(ticks):
            if not self.agent.tick():
                self.now_s += 1.0
                if not self.agent.record.busy:
                    break
        self.agent.tick()

    def messages(self, kind: str, of: type[Any]) -> list[Any]:
        """What the fleet received, each message once."""
        decoded = [decode(payload, of) for name, payload in self.sent if name == kind]
        return list({(m.boot_id, m.seq): m for m in decoded}.values())

    @property
    def events(self) -> list[Event]:
        return self.messages("event", Event)

    @property
    def states(self) -> list[State]:
        return self.messages("state", State)

    @property
    def reports(self) -> list[Report]:
        return self.messages("report", Report)

    def good_slot_is_whole(self) -> bool:
        """The last known good record names a file with exactly the bytes that were signed."""
        slot: Slot | None = self.agent.record.last_known_good
        if slot is None:
            return False
        data = (self.folder / "slots" / f"{slot.bundle_id}.ekb").read_bytes()
        known = self.repository.files[f"targets/bundles/{slot.bundle_id}.ekb"]
        return data == known

    def _announce(self) -> None:
        self.announced += 1

    def _take_up(self, kind: str, payload: bytes) -> bool:
        if not self.online:
            return False
        self.sent.append((kind, payload))
        if self.acking:
            message = msgspec.msgpack.decode(payload)
            ack = Ack(boot_id=message["boot_id"], seq=message["seq"])
            self.agent.post(Topics("default").down("device-1", "command"), encode(ack))
        return True

    def _tick_s(self) -> float:
        """The transfer's clock: time passes by being looked at."""
        self.now_s += 0.2
        return self.now_s

    def _at_boundary(self) -> None:
        self.boundary()

    def _answer(self, request: GetRequest) -> bool:
        if not self.online:
            return False
        self.asked.append(request)
        data = self.repository.files.get(request.path)
        if request.count == 0:  # a fence
            fence = Block(
                request_id=request.request_id, path=request.path, index=0, total_bytes=0, data=b""
            )
            self.transfer.receive(fence)
            return True
        base = Block(
            request_id=request.request_id, path=request.path, index=request.first,
            total_bytes=0, data=b"", error="not found",
        )  # fmt: skip
        if data is None:
            self.transfer.receive(base)
            return True
        size = request.block_bytes
        for index in range(request.first, request.first + request.count):
            if index * size < max(len(data), 1) and not self.lose(request, index):
                block = msgspec.structs.replace(
                    base, index=index, total_bytes=len(data), error="",
                    data=data[index * size : (index + 1) * size],
                )  # fmt: skip
                self.transfer.receive(self.damage(block))
        return True


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[Callable[[str], World]]:
    """Makes worlds, each in a folder of its own."""
    worlds: list[World] = []

    def make(name: str) -> World:
        (tmp_path / name).mkdir()
        worlds.append(World(tmp_path / name))
        return worlds[-1]

    yield make
    for made in worlds:
        made.close()


@pytest.fixture
def world(new_world: Callable[[str], World]) -> World:
    """A device that has never been started, beside a repository with its factory release."""
    return new_world("device")


@pytest.fixture
def repository() -> Repository:
    """A signed repository of its own, still empty."""
    return Repository()


@pytest.fixture
def make_bundle() -> Callable[..., bytes]:
    """`bundle(**behaviour)`: the bytes of a fake release."""
    return bundle
