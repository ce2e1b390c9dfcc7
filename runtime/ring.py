"""`Ring`: samples and answers that are not counted yet, in memory that is there from the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .contract import FloatArray
from .prediction import Head, IntArray, Prediction, answered

RING_BYTES = 1 << 20
# More of them make a sample cheaper, and the call that counts them all longer.
RING_SAMPLES = 256


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """n samples and their answers, in order."""

    samples: FloatArray  # (n, *input.shape)
    indices: IntArray  # (n,)
    confidences: FloatArray  # (n,)
    latencies_us: FloatArray  # (n,)


class Ring:
    """Keeps up to `capacity` samples of one model; for one thread at a time."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """`shape` is that of one sample. Large samples are kept in smaller numbers."""
        sample_bytes = 4 * int(np.prod(shape))
        self.capacity = max(1, min(RING_SAMPLES, RING_BYTES // sample_bytes))
        self._samples: FloatArray = np.zeros((self.capacity, *shape), np.float32)
        self._latencies: FloatArray = np.zeros(self.capacity, np.float32)
        self._logits: npt.NDArray[Any] | None = None  # allotted when their dtype is known
        self._head: Head | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, raw: npt.NDArray[Any], answer: Prediction) -> bool:
        """Keep a copy of one sample, and of the logits of its answer; True when it is full now."""
        count = self._count
        logits = self._logits
        if logits is None:
            logits = self._allot(answer)
        self._samples[count] = raw
        logits[count] = answer.logits
        self._latencies[count] = answer.latency_us
        self._count = count = count + 1
        return count == self.capacity

    def take(self) -> Answered:
        """All that is kept, at least one sample; the next `put` writes over its samples."""
        count, self._count = self._count, 0
        assert self._logits is not None
        assert self._head is not None
        indices, confidences = answered(self._logits[:count], self._head)
        return Answered(self._samples[:count], indices, confidences, self._latencies[:count])

    def _allot(self, answer: Prediction) -> npt.NDArray[Any]:
        logits, self._head = answer.logits, answer.head
        assert logits is not None
        self._logits = np.zeros((self.capacity, logits.size), logits.dtype)
        return self._logits
