"""A model that answers in the shadow: a thread of its own, a share of the inputs, no effect.

The live answer never waits: inputs are copied into a short queue, and what finds it full is left
out. So the model costs at most what its thread gets, and at most `rate` of the inputs.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading

import numpy as np
import numpy.typing as npt

from .comparison import Comparison, OnDifference, ignore
from .model import Model
from .prediction import Prediction
from .protocol import TrialEvidence

QUEUE = 8
STOP_S = 5.0

_Pair = tuple[npt.NDArray[np.generic], Prediction]


class ShadowRun:
    """Asks `model` a share `rate` of the inputs offered, and counts how the answers compare."""

    def __init__(self, model: Model, rate: float, on_difference: OnDifference = ignore) -> None:
        self._model = model
        self._rate = rate
        self._rng = random.Random()  # regular sampling would miss what is regular in the inputs
        self._comparison = Comparison(on_difference)
        self._waiting: queue.Queue[_Pair | None] = queue.Queue(QUEUE)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgekiln-shadow", daemon=True)
        self._thread.start()

    def offer(self, raw: npt.ArrayLike, answer: Prediction) -> None:
        """Samples and the live model's answer to them. Never waits."""
        if self._rng.random() >= self._rate or self._waiting.full():
            return
        try:
            self._waiting.put_nowait((np.array(raw), answer))
        except queue.Full:
            return

    def evidence(self) -> TrialEvidence:
        """What the pairs so far have shown."""
        return self._comparison.evidence()

    def stop(self) -> None:
        """Ask no more; returns when the answer under way has come."""
        self._stopping.set()
        with contextlib.suppress(queue.Full):  # then it looks at `_stopping` behind its pair
            self._waiting.put_nowait(None)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        while (pair := self._waiting.get()) is not None and not self._stopping.is_set():
            raw, answer = pair
            try:
                self._comparison.compare(raw, self._model.predict(raw), answer)
            # The live model took these samples. Whatever this one raises is against it.
            except Exception:
                self._comparison.fail()
