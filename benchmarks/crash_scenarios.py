"""What a device lives through while the power is cut: releases, what the fleet says, the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from edgekiln.runtime.protocol import DeviceState as S
from edgekiln.runtime.protocol import RolloutDocument, ShadowLimits
from tests.runtime.conftest import World, bundle
from tests.runtime.test_rebuild import add_delta, text_delta

Stage = tuple[RolloutDocument, ...]  # what the broker retains


@dataclass(frozen=True, slots=True)
class Scenario:
    """`write` publishes releases and says what the cohort is told, stage by stage; `end` checks."""

    name: str
    write: Callable[[World], tuple[Stage, ...]]
    end: Callable[[World, tuple[Stage, ...]], None]


def _add(world: World, counter: int = 1, **behaviour: Any) -> str:
    return world.repository.add(bundle(**behaviour), counter=counter)


def _kinds(world: World) -> set[str]:
    """Kinds of events, without the warning of a start from a disk that took nothing."""
    return {e.kind for e in world.events if not e.reason.startswith("messages end with")}


def _ended(world: World, state: S, running: str) -> None:
    assert world.agent.record.state == state, (world.agent.record.state, world.agent.record.reason)
    assert world.models.running == running


def _commit(world: World) -> tuple[Stage, ...]:
    return ((world.document(_add(world, name="good")),),)


def committed(world: World, stages: tuple[Stage, ...]) -> None:
    """The last release of the last stage runs, and nothing else was told."""
    _ended(world, S.COMMITTED, stages[-1][0].release)
    assert _kinds(world) >= {"trial", "committed"}
    assert not _kinds(world) & {"rejected", "rolled_back", "broken", "restart"}


def _bad(**behaviour: Any) -> Callable[[World], tuple[Stage, ...]]:
    return lambda world: ((world.document(_add(world, **behaviour)),),)


def back_at_factory(world: World, stages: tuple[Stage, ...]) -> None:
    """The release was left again, and the fleet knows."""
    _ended(world, S.ROLLED_BACK, world.factory)
    assert "rolled_back" in _kinds(world)
    assert not _kinds(world) & {"committed", "broken", "restart"}


def _two(world: World) -> tuple[Stage, ...]:
    first = world.document(_add(world, name="one"))
    second = world.document(_add(world, counter=2, name="two"), rollout_id="r2")
    return (first,), (second,)


def _abort(world: World) -> tuple[Stage, ...]:
    first, (second,) = _two(world)
    aborted = world.document(second.release, rollout_id="r2", version=2, aborted=True)
    return first, (second,), (aborted,)


def _aborted(world: World, stages: tuple[Stage, ...]) -> None:
    record = world.agent.record
    # A disk that took nothing until the abort has slept through the first rollout.
    taken = record.outcome_of("r1") == S.COMMITTED
    assert world.models.running == (stages[0][0].release if taken else world.factory)
    # Aborted before it had begun or while it was under way, or left again: one end, three ways.
    assert record.state in (S.ROLLED_BACK, S.SUPERSEDED, S.COMMITTED if taken else S.IDLE)
    assert record.outcome_of("r2") != S.COMMITTED


def _refuse(world: World) -> tuple[Stage, ...]:
    first = world.document(_add(world, counter=5, name="new"))
    second = world.document(_add(world, counter=4, name="old"), rollout_id="r2")
    return (first,), (second,)


def _refused(world: World, stages: tuple[Stage, ...]) -> None:
    _ended(world, S.REJECTED, stages[0][0].release)
    assert [e.rollout_id for e in world.events if e.kind == "rejected"] == ["r2"]


def _by_delta(world: World) -> tuple[Stage, ...]:
    new = bundle(name="good", note="".join(map(str, range(150))))  # worth more than one block
    release = world.repository.add(new)
    old = world.repository.files[f"targets/bundles/{world.factory}.ekb"]
    add_delta(world, release, world.factory, text_delta(old, new))
    return ((world.document(release),),)


def _soak(world: World) -> tuple[Stage, ...]:
    return ((world.document(_add(world, name="good"), soak_s=0.5),),)


def _shadow(**behaviour: Any) -> Callable[[World], tuple[Stage, ...]]:
    def write(world: World) -> tuple[Stage, ...]:
        limits = msgspec.structs.replace(world.limits, shadow=ShadowLimits())
        return ((world.document(_add(world, **behaviour), limits=limits),),)

    return write


SCENARIOS = (
    Scenario("commit", _commit, committed),
    Scenario("two releases", _two, committed),
    Scenario("by delta", _by_delta, committed),
    Scenario("soak", _soak, committed),
    Scenario("self-test fails", _bad(lsb=9), back_at_factory),
    Scenario("cannot be loaded", _bad(unloadable=True), back_at_factory),
    Scenario("shadow passes", _shadow(name="good"), committed),
    Scenario("shadow fails", _shadow(shadow_disagreement=0.3), back_at_factory),
    Scenario("trial fails", _bad(disagreement=0.9), back_at_factory),
    Scenario("aborted after commit", _abort, _aborted),
    Scenario("refused", _refuse, _refused),
)
