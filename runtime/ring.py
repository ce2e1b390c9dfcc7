"""`Ring`: samples and answers that are not counted yet, in memory that is there from the start."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .contract import FloatArray
from .prediction import IntArray, Prediction, joined

RING_BYTES = 1 << 20
# More of them make a sample cheaper, and the call that counts them all longer.
RING_SAMPLES = 128


class Ring:
    """Keeps up to `capacity` samples of one model; for one thread at a time."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """`shape` is that of one sample. Large samples are kept in smaller numbers."""
        sample_bytes = 4 * int(np.prod(shape))
        self.capacity = max(1, min(RING_SAMPLES, RING_BYTES // sample_bytes))
        self._shape = shape
        self._samples: FloatArray = np.zeros((self.capacity, *shape), np.float32)
        self._answers: list[Prediction] = []

    def __len__(self) -> int:
        return len(self._answers)

    def put(self, raw: npt.NDArray[Any], answer: Prediction) -> bool:
        """Keep a copy of one sample; True when the ring is full now."""
        answers = self._answers
        self._samples[len(answers)] = raw
        answers.append(answer)
        return len(answers) == self.capacity

    def take(self) -> tuple[FloatArray, IntArray, FloatArray, FloatArray]:
        """Samples (n, …), classes, confidences and latencies in µs (n,): all that is kept, n ≥ 1.

        The samples are a view, which the next `put` writes over.
        """
        answers, self._answers = self._answers, []
        indices, confidences = joined(answers)
        latencies = np.array([answer.latency_us for answer in answers], np.float32)
        return self._samples[: len(answers)], indices, confidences, latencies
