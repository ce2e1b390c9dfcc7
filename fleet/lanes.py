"""Requests for blocks, one lane a device, served in turns: a block for each, then the next block.

Nobody waits for somebody else's whole bundle, and a device that asks for much gets no more of the
server than one that asks for little. Memory is bounded in devices and in requests of each.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from edgekiln.runtime.protocol import GetRequest

MAX_DEVICES = 20_000  # with something to send
MAX_REQUESTS = 8  # waiting, of one device


@dataclass(slots=True)
class Pull:
    """A request under way: `next_index` is the block to send now, `end` one past the last."""

    request: GetRequest
    next_index: int
    end: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One block to send."""

    device: str
    request: GetRequest
    index: int


class Lanes:
    """What is still to be sent to whom."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, deque[Pull]] = OrderedDict()  # in the order of their turns

    def __len__(self) -> int:
        """Devices that have a place in the row."""
        return len(self._lanes)

    def put(self, device: str, request: GetRequest, count: int) -> bool:
        """Queue `count` blocks of a request; False where there is no room, and it is dropped."""
        lane = self._lanes.get(device)
        if lane is None:
            if len(self._lanes) >= MAX_DEVICES:
                return False
            lane = self._lanes[device] = deque()
        if len(lane) >= MAX_REQUESTS:
            return False
        lane.append(Pull(request, request.first, request.first + count))
        return True

    def clear(self, device: str) -> None:
        """Forget what was still to be sent to a device, but not its place in the row.

        A device that grows impatient asks anew; would that cost it its place, then a server whose
        round takes longer than their patience would serve nobody.
        """
        lane = self._lanes.get(device)
        if lane is not None:
            lane.clear()

    def turn(self) -> Turn | None:
        """The next block to send; its device then waits until all others had theirs."""
        while self._lanes:
            device, lane = next(iter(self._lanes.items()))
            if not lane:
                del self._lanes[device]
                continue
            pull = lane[0]
            turn = Turn(device, pull.request, pull.next_index)
            pull.next_index += 1
            if pull.next_index >= pull.end:
                lane.popleft()
            self._lanes.move_to_end(device)
            return turn
        return None
