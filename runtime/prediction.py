"""`Prediction`: a model's answers, worked out as far as somebody asks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .quant import FloatArray, Logits, real_logits, softmax

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Head:
    """What turns a bundle's logits into answers: real = scale · (logit - zero_point)."""

    bundle_id: str
    classes: tuple[str, ...]
    scale: float
    zero_point: int


class Prediction:
    """Answers to n samples, and the model that gave them.

    `latency_us` is the wall time of a sample, from the contract's check to the logits, which are
    (n, classes), or (classes,) of one sample. All else is worked out when it is first looked at.
    """

    __slots__ = ("_told", "head", "latency_us", "logits")

    def __init__(
        self,
        indices: IntArray,
        labels: tuple[str, ...],
        confidences: FloatArray,
        probabilities: FloatArray,
        bundle_id: str,
        latency_us: float,
    ) -> None:
        """(n,), n labels, (n,), (n, classes)."""
        self.logits: Logits | None = None
        self.head = Head(bundle_id, (), 1.0, 0)
        self._told: _Told | None = _Told(indices, labels, confidences, probabilities)
        self.latency_us = latency_us

    @classmethod
    def of_logits(cls, logits: Logits, head: Head, latency_us: float) -> Prediction:
        """Answers that logits (n, classes) or, of one sample, (classes,) give; they are kept."""
        made = cls.__new__(cls)
        made.logits = logits
        made.head = head
        made._told = None
        made.latency_us = latency_us
        return made

    @property
    def bundle_id(self) -> str:
        """The model that answered."""
        return self.head.bundle_id

    @property
    def indices(self) -> IntArray:
        """The classes answered, (n,): of equal logits the first, as every emitter does."""
        return self._answers().indices

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names, n of them."""
        return self._answers().labels

    @property
    def confidences(self) -> FloatArray:
        """The probability of each answer, (n,)."""
        return self._answers().confidences

    @property
    def probabilities(self) -> FloatArray:
        """Of every class, (n, classes)."""
        return self._answers().probabilities

    @property
    def label(self) -> str:
        """The answer to the first sample, or the only one."""
        logits = self.logits
        if logits is not None and logits.ndim == 1:
            return self.head.classes[logits.argmax()]
        return self.labels[0]

    @property
    def confidence(self) -> float:
        """The probability of `label`."""
        logits = self.logits
        if logits is None or logits.ndim > 1:
            return float(self.confidences[0])
        # `softmax` of one row, without what else it tells.
        real = real_logits(logits, self.head.scale, self.head.zero_point)
        return float(np.float32(1) / np.exp(real - real.max()).sum())

    def __len__(self) -> int:
        """n."""
        return len(self.indices)

    def __repr__(self) -> str:
        return f"Prediction(labels={self.labels!r}, bundle_id={self.bundle_id!r})"

    def _answers(self) -> _Told:
        if self._told is None:
            assert self.logits is not None
            self._told = _told(self.logits.reshape(-1, len(self.head.classes)), self.head)
        return self._told


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    indices: IntArray
    labels: tuple[str, ...]
    confidences: FloatArray
    probabilities: FloatArray


def _told(logits: Logits, head: Head) -> _Told:
    """What logits (n, classes) say."""
    probabilities = softmax(real_logits(logits, head.scale, head.zero_point))
    indices = logits.argmax(axis=1)
    confidences = probabilities[np.arange(len(indices)), indices]
    labels = tuple(head.classes[index] for index in indices)
    return _Told(indices, labels, confidences, probabilities)


def answered(logits: Logits, head: Head) -> tuple[IntArray, FloatArray]:
    """Classes (n,) and confidences (n,) that logits (n, classes) say, without what else they do."""
    indices = logits.argmax(axis=1)
    real = real_logits(logits, head.scale, head.zero_point)
    # `softmax` of the largest, whose own exponential is 1.
    largest = real[np.arange(len(indices)), indices][:, None]
    return indices, np.float32(1) / np.exp(real - largest).sum(axis=1)
