"""Whatever fleet, wire, disk and power switch do: what the design promises of a device holds."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgekiln.runtime.journal import Journal
from edgekiln.runtime.protocol import DeviceState as S
from edgekiln.runtime.protocol import RolloutDocument, SelfTestLimits, ShadowLimits
from edgekiln.runtime.state_machine import MAX_STEPS

from .conftest import World

BEHAVIOURS = st.sampled_from(
    [
        *({}, {}, {"lsb": 9}, {"unloadable": True}, {"disagreement": 0.9}),
        *({"trial_unloadable": True}, {"shadow_disagreement": 0.4}, {"failures": 1}),
    ]
)
COHORTS = st.sampled_from(["all", "edge"])


class AgentModel(RuleBasedStateMachine):
    """A device and everything that can happen to it, a step of the agent at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="edgekiln-agent-"))
        self.world = World(self.folder)
        self.world.limits = SelfTestLimits(
            trial_timeout_s=20.0, shadow=ShadowLimits(timeout_s=20.0, samples=900)
        )
        self.retained: dict[str, RolloutDocument] = {}
        self.version = self.releases = 0
        self.read: set[str] = set()
        self.floor = 0
        self.spoiled = False
        self.world.boot()

    # What happens ---------------------------------------------------------------------------

    @rule(
        behaviour=BEHAVIOURS,
        cohort=COHORTS,
        counter=st.integers(1, 4),
        permille=st.sampled_from([1000, 1000, 0]),
        shadow=st.booleans(),
    )
    def start_rollout(
        self, behaviour: dict[str, Any], cohort: str, counter: int, permille: int, shadow: bool
    ) -> None:
        self.releases += 1
        content = json.dumps({"name": self.releases, "filler": "x" * 100, **behaviour})
        release = self.world.repository.add(content.encode(), counter=counter)
        limits = self.world.limits
        if not shadow:
            limits = msgspec.structs.replace(limits, shadow=None)
        self._retain(
            self.world.document(
                release,
                rollout_id=f"r{self.releases}",
                cohort=cohort,
                permille=permille,
                limits=limits,
            )
        )

    @precondition(lambda self: self.retained)
    @rule(data=st.data(), changes=st.sampled_from([{"aborted": True}, {"permille": 1000}, {}]))
    def change_rollout(self, data: st.DataObject, changes: dict[str, Any]) -> None:
        cohort = data.draw(st.sampled_from(sorted(self.retained)))
        self._retain(msgspec.structs.replace(self.retained[cohort], **changes))

    @rule(count=st.integers(1, 12), seconds=st.sampled_from([0.0, 0.5, 40.0]))
    def work(self, count: int, seconds: float) -> None:
        for _ in range(count):
            before = self.world.agent.record
            self.world.agent.tick()
            self._watch_step(before)
            self.world.now_s += seconds

    @rule(online=st.booleans(), samples=st.sampled_from([3, 1000]))
    def change_the_world(self, online: bool, samples: int) -> None:
        self.world.online = online
        self.world.models.samples = samples
        if online:
            self.world.agent.post_up()

    @rule(lost=st.sampled_from([0, 3, 10**6]))
    def lose_blocks(self, lost: int) -> None:
        self.world.lose = lambda request, index: request.path.endswith(".ekb") and index < lost

    @rule(acking=st.booleans(), seconds=st.sampled_from([-1e6, 1e6, 0.0]))
    def change_server_and_clock(self, acking: bool, seconds: float) -> None:
        self.world.acking = acking
        self.world.wrong_s = seconds

    @rule(hears=st.booleans())
    def restart(self, hears: bool) -> None:
        self.read |= set(self.world.models.read)
        self.world.boot()
        for document in self.retained.values() if hears else ():
            self.world.tell(document)

    @rule(data=st.data(), rotten=st.booleans())
    def spoil_a_slot(self, data: st.DataObject, rotten: bool) -> None:
        files = sorted((self.folder / "slots").glob("*"))
        if files:
            self.spoiled = True
            file = data.draw(st.sampled_from(files))
            file.write_bytes(b"rot") if rotten else file.unlink()

    # What holds -----------------------------------------------------------------------------

    @invariant()
    def a_verified_model_runs(self) -> None:
        signed = {str(t.hashes["sha256"]) for t in self.world.repository.targets.targets.values()}
        assert self.world.models.running in signed
        assert (self.read | set(self.world.models.read)) <= signed

    @invariant()
    def rollouts_are_bounded_and_the_floor_never_falls(self) -> None:
        record = self.world.agent.record
        assert record.steps <= MAX_STEPS + 1
        assert record.floor >= self.floor
        self.floor = record.floor

    @invariant()
    def the_disk_says_what_the_agent_thinks(self) -> None:
        assert Journal(self.folder / "journal.jsonl").record == self.world.agent.record

    @invariant()
    def each_rollout_commits_once(self) -> None:
        committed = [e.rollout_id for e in self.world.events if e.kind == "committed"]
        assert len(committed) == len(set(committed))

    def teardown(self) -> None:
        world = self.world
        world.online = world.acking = True
        world.lose = lambda request, index: False
        world.wrong_s, world.models.samples = 0.0, 1000
        world.agent.post_up()
        for _ in range(6):
            world.now_s += 100
            world.settle()
        assert not world.agent.record.busy
        assert world.states[-1].running == world.models.running
        assert world.states[-1].state == world.agent.record.state
        self.a_verified_model_runs()
        world.close()
        shutil.rmtree(self.folder)

    def _retain(self, document: RolloutDocument) -> None:
        self.version += 1
        document = msgspec.structs.replace(document, version=self.version)
        self.retained[document.cohort] = document
        if self.world.online:
            self.world.tell(document)

    def _watch_step(self, before: Any) -> None:
        """`last_known_good` moves at a commit, back for an abort, and where its file is lost."""
        after = self.world.agent.record
        if before.last_known_good != after.last_known_good and not self.spoiled:
            assert S.ROLLBACK in (before.state, after.state) or after.state == S.COMMITTED


TestAgent = AgentModel.TestCase
TestAgent.settings = settings(
    settings(), max_examples=max(3, settings().max_examples // 8), stateful_step_count=30
)
