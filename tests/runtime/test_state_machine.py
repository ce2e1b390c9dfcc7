"""The table itself: complete, free of circles, never stuck."""

from __future__ import annotations

import graphlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.errors import AgentError
from edgekiln.runtime.protocol import DeviceState
from edgekiln.runtime.state_machine import BUSY, LONGEST_PATH, RESTING, TABLE, Step, next_state


def test_every_state_is_busy_or_resting_and_reached() -> None:
    assert BUSY.isdisjoint(RESTING)
    assert set(DeviceState) == BUSY | RESTING
    assert {state for state, _ in TABLE} | set(TABLE.values()) == BUSY | RESTING


def test_busy_states_form_no_circle() -> None:
    graph: dict[DeviceState, set[DeviceState]] = {state: set() for state in BUSY}
    for (state, _), after in TABLE.items():
        if state in BUSY and after in BUSY:
            graph[after].add(state)
    order = list(graphlib.TopologicalSorter(graph).static_order())
    longest = dict.fromkeys(order, 1)
    for state in order:
        longest[state] += max((longest[before] for before in graph[state]), default=0)
    assert max(longest.values()) + 1 == LONGEST_PATH


@pytest.mark.parametrize("state", sorted(BUSY))
def test_every_busy_state_can_end(state: DeviceState) -> None:
    after = {TABLE[key] for key in TABLE if key[0] == state}
    assert after & RESTING


@pytest.mark.parametrize("state", sorted(BUSY - {DeviceState.ROLLBACK}))
def test_every_busy_state_can_be_superseded(state: DeviceState) -> None:
    assert next_state(state, Step.SUPERSEDE) == DeviceState.SUPERSEDED


def test_commit_follows_only_from_a_trial_or_from_the_running_release() -> None:
    before = {key for key, after in TABLE.items() if after == DeviceState.COMMITTED}
    assert before == {(DeviceState.TRIAL, Step.COMMIT), (DeviceState.OFFERED, Step.ALREADY)}


@given(st.sampled_from(DeviceState), st.sampled_from(Step))
def test_next_state_refuses_what_the_table_lacks(state: DeviceState, step: Step) -> None:
    if (state, step) in TABLE:
        assert next_state(state, step) in BUSY | RESTING
    else:
        with pytest.raises(AgentError, match=step):
            next_state(state, step)
