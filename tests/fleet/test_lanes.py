"""Turns, bounds, and the place in the row of a device that asks anew."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.fleet.lanes import MAX_REQUESTS, Lanes
from edgekiln.runtime.protocol import GetRequest


def request(first: int = 0) -> GetRequest:
    return GetRequest(request_id="q", path="targets/x", first=first, count=1)


def order(lanes: Lanes) -> list[str]:
    turns = []
    while (turn := lanes.turn()) is not None:
        turns.append(turn.device)
    return turns


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5)), max_size=20))
def test_every_block_is_sent_once_and_nobody_gets_two_while_another_waits(
    puts: list[tuple[str, int]],
) -> None:
    lanes, wanted = Lanes(), Counter[str]()
    for device, count in puts:
        if lanes.put(device, request(100 * wanted[device]), count):
            wanted[device] += count
    left = Counter(wanted)
    turns = order(lanes)
    assert Counter(turns) == wanted
    waited: dict[str, int] = {}
    for place, device in enumerate(turns):
        others = {other for other in left if left[other] > 0 and other != device}
        since = set(turns[waited.get(device, 0) : place]) if device in waited else others
        assert others <= since | {device}
        left[device] -= 1
        waited[device] = place + 1
    assert len(lanes) == 0


def test_requests_of_one_device_are_bounded() -> None:
    lanes = Lanes()
    assert [lanes.put("a", request(), 1) for _ in range(MAX_REQUESTS + 1)] == [
        *[True] * MAX_REQUESTS,
        False,
    ]


def test_device_that_asks_anew_keeps_its_place() -> None:
    lanes = Lanes()
    for device in "abc":
        lanes.put(device, request(), 3)
    lanes.clear("a")
    lanes.put("a", request(7), 1)
    turn = lanes.turn()
    assert turn is not None
    assert (turn.device, turn.index) == ("a", 7)
    assert order(lanes) == ["b", "c", "b", "c", "b", "c"]


def test_device_that_does_not_ask_again_leaves_the_row() -> None:
    lanes = Lanes()
    lanes.put("a", request(), 3)
    lanes.put("b", request(), 1)
    lanes.clear("a")
    lanes.clear("stranger")
    assert order(lanes) == ["b"]
    assert len(lanes) == 0


def test_impatient_devices_are_all_served_when_a_round_takes_longer_than_their_patience() -> None:
    """Each clears and asks again after every 10 turns of others, of whom there are 50."""
    lanes = Lanes()
    devices = [f"d{number}" for number in range(50)]
    missing = {device: set(range(4)) for device in devices}
    for device in devices:
        lanes.put(device, request(), 4)
    for step in range(50 * 4 * 3):
        if step % 10 == 0:
            for device in devices:
                if missing[device]:
                    lanes.clear(device)
                    lanes.put(device, request(min(missing[device])), 1)
        turn = lanes.turn()
        if turn is not None:
            missing[turn.device].discard(turn.index)
    assert not any(missing.values())
