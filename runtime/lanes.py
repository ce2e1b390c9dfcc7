"""`Lane`: the memory to answer one sample at a time; an engine has one for each parallel caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from .quant import Logits


class Lane(Protocol):
    """One instance of a loaded model, for one thread at a time."""

    @property
    def input(self) -> npt.NDArray[Any]:
        """Where a sample is put before `run`, shape (elements,), in the artifact's own dtype."""
        ...

    def run(self) -> Logits:
        """Answer what `input` holds: logits (classes,) in the bundle's format, the caller's own.

        Raises:
            EngineError: the engine failed.
        """
        ...

    def forget(self) -> None:
        """Begin a recording, in a model that remembers frames."""
        ...


AnyLane = TypeVar("AnyLane", bound=Lane)


class Lanes(Generic[AnyLane]):
    """The lanes of one engine. Whoever takes one puts it back; without a free one, it waits."""

    def __init__(self, lanes: Sequence[AnyLane]) -> None:
        self.all = tuple(lanes)
        free: SimpleQueue[AnyLane] = SimpleQueue()
        # The queue's own methods: every sample passes here.
        self.take: Callable[[], AnyLane] = free.get
        self.put: Callable[[AnyLane], None] = free.put
        for lane in lanes:
            free.put(lane)

    @contextmanager
    def one(self) -> Iterator[AnyLane]:
        """A free lane, for as long as the block lasts."""
        lane = self.take()
        try:
            yield lane
        finally:
            self.put(lane)

    def run(self, codes: npt.NDArray[Any], like: Logits) -> Logits:
        """Answers (n, classes) of inputs (n, elements), in order; `like` is (0, classes)."""
        with self.one() as lane:
            rows = []
            for row in codes:
                lane.input[...] = row
                rows.append(lane.run())
        return np.stack(rows) if rows else like

    def forget(self) -> None:
        """Begin a recording; a model that remembers has one lane."""
        with self.one() as lane:
            lane.forget()
