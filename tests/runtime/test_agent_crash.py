"""Killed anywhere, the device comes back with a verified model and ends what it began.

A `Killed` is raised in front of and behind every call that changes something outside the process
(files, syncs, renames, the outbox's database, model loads). A kill loses the process's memory, not
what it wrote. Every boundary, lost pages and torn lines are the part of `test_crash.py`, which
needs a compiler; this needs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgekiln.runtime.outbox import Outbox
from edgekiln.runtime.protocol import DeviceState as S
from edgekiln.runtime.protocol import SelfTestLimits
from edgekiln.runtime.state_machine import MAX_STEPS

OS_CALLS = ("open", "replace", "rename", "unlink", "mkdir", "symlink", "remove")
OUTBOX_CALLS = ("put", "ack")


class Killed(BaseException):
    """Nothing in the code may catch this, as nothing catches a power cut."""


class Killer:
    """Counts boundaries and raises at the one it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.at: int | None = None

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Killed

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self()
            result = real(*args, **named)
            try:
                self()
            except Killed:
                if real is _REAL_OPEN:
                    os.close(result)  # a killed process loses its handles
                raise
            return result

        return call


_REAL_OPEN = os.open


@contextmanager
def boundaries(killer: Killer) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in OS_CALLS:
            patch.setattr(os, name, killer.wrap(getattr(os, name)))
        patch.setattr(os, "fsync", killer.wrap(lambda handle: None))  # a boundary, not a wait
        for name in OUTBOX_CALLS:
            patch.setattr(Outbox, name, killer.wrap(getattr(Outbox, name)))
        yield


def life(world: Any, killer: Killer, release: str) -> None:
    """One process: boots, hears the retained document, works until it rests."""
    world.boundary = killer
    with boundaries(killer):
        world.boot()
        world.tell(world.document(release))
        world.settle()


def killed_at(world: Any, release: str, at: int) -> bool:
    """Whether the process was killed before it came to rest."""
    killer = Killer()
    killer.at = at
    try:
        life(world, killer, release)
    except Killed:
        return True
    return False


def check_alive(world: Any) -> None:
    """What holds after every boot."""
    record = world.agent.record
    assert world.models.running in (world.factory, record.last_known_good.bundle_id)
    assert world.models.running == record.last_known_good.bundle_id
    assert world.good_slot_is_whole()
    assert record.steps <= MAX_STEPS


def check_ended(world: Any, release: str, good: bool) -> None:
    record = world.agent.record
    kinds = {event.kind for event in world.events}
    if good:
        assert record.state == S.COMMITTED
        assert world.models.running == release
        assert kinds == {"trial", "committed"}
    else:
        assert record.state == S.ROLLED_BACK
        assert world.models.running == world.factory
        assert "rolled_back" in kinds
    kept = {path.name for path in (world.folder / "slots").iterdir()}
    named = {record.last_known_good, record.previous_good} - {None}
    assert kept == {f"{slot.bundle_id}.ekb" for slot in named}


def fresh(new_world: Callable[[str], Any], name: str, **behaviour: Any) -> tuple[Any, str]:
    world = new_world(name)
    world.limits = SelfTestLimits(trial_samples=60, trial_starts=3)
    from_repository = world.repository.add(b'{"filler": "' + b"y" * 300 + b'"}')
    if behaviour:
        import json

        from_repository = world.repository.add(json.dumps(behaviour).encode())
    return world, from_repository


CASES = [({}, True), ({"disagreement": 0.9}, False), ({"lsb": 9}, False)]


@pytest.mark.parametrize(("behaviour", "good"), CASES)
def test_device_recovers_when_killed_at_many_steps(
    new_world: Callable[[str], Any], behaviour: dict[str, Any], good: bool
) -> None:
    kill_at_each(new_world, behaviour, good, stride=23)


def kill_at_each(
    new_world: Callable[[str], Any], behaviour: dict[str, Any], good: bool, stride: int
) -> None:
    world, release = fresh(new_world, "uncut", **behaviour)
    counter = Killer()
    life(world, counter, release)
    check_ended(world, release, good)
    assert counter.count > 100
    for at in range(1, counter.count + 1, stride):
        world, release = fresh(new_world, f"cut{at}", **behaviour)
        assert killed_at(world, release, at)
        world.boundary = lambda: None
        world.boot()
        check_alive(world)
        world.tell(world.document(release))
        world.settle()
        check_ended(world, release, good)
        world.close()


def test_journal_that_cannot_be_written_stops_nothing_but_updates(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    world.boot()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        world.roll_out(name="good")
        world.settle(20)
        assert world.models.running == world.factory
        assert world.agent.record.state == S.IDLE
        assert "No space left" in world.states[-1].error
        world.boot()
        assert world.models.running == world.factory
    world.tell(world.document(list(world.repository.targets.targets)[-1][8:-4]))
    world.settle()
    assert world.agent.record.state == S.COMMITTED
    assert [e.kind for e in world.events] == ["trial", "committed"]


def test_slot_folder_that_is_full_leaves_no_half_file(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekiln.runtime import slots

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    world.boot()
    with monkeypatch.context() as patch:
        patch.setattr(slots, "write_atomic", full)
        release = world.roll_out(name="good")
        world.settle(20)
        assert world.agent.record.state == S.VERIFIED
        assert not (world.folder / "slots" / f"{release}.ekb").exists()
    world.now_s += 100
    world.settle()
    assert world.agent.record.state == S.COMMITTED
