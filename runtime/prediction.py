"""`Prediction`: a model's answers, worked out as far as somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

    `latency_us` is the wall time of a sample, from the contract's check to the logits. Confidences
    and probabilities are computed when they are first looked at.
    """

    __slots__ = ("_confidences", "_head", "_indices", "_labels", "_logits", "_probabilities",
                 "bundle_id", "latency_us")  # fmt: skip

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
        self._logits: Logits | None = None
        self._head: Head | None = None
        self._indices: IntArray | None = indices
        self._labels: tuple[str, ...] | None = labels
        self._confidences: FloatArray | None = confidences
        self._probabilities: FloatArray | None = probabilities
        self.bundle_id = bundle_id
        self.latency_us = latency_us

    @classmethod
    def of_logits(cls, logits: Logits, head: Head, latency_us: float) -> Prediction:
        """Answers that logits (n, classes) or, of one sample, (classes,) give; they are kept."""
        made = cls.__new__(cls)
        made._logits = logits
        made._head = head
        made._indices = made._labels = made._confidences = made._probabilities = None
        made.bundle_id = head.bundle_id
        made.latency_us = latency_us
        return made

    @property
    def indices(self) -> IntArray:
        """The classes answered, (n,): of equal logits the first, as every emitter does."""
        if self._indices is None:
            self._indices = self._rows().argmax(axis=1)
        return self._indices

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names, n of them."""
        if self._labels is None:
            assert self._head is not None
            self._labels = tuple(self._head.classes[index] for index in self.indices)
        return self._labels

    @property
    def confidences(self) -> FloatArray:
        """The probability of each answer, (n,)."""
        if self._confidences is None:
            self._confidences = self.probabilities[np.arange(len(self.indices)), self.indices]
        return self._confidences

    @property
    def probabilities(self) -> FloatArray:
        """Of every class, (n, classes)."""
        if self._probabilities is None:
            assert self._head is not None
            real = real_logits(self._rows(), self._head.scale, self._head.zero_point)
            self._probabilities = softmax(real)
        return self._probabilities

    @property
    def label(self) -> str:
        """The answer to the first sample, or the only one."""
        if self._logits is not None and self._logits.ndim == 1:
            assert self._head is not None
            return self._head.classes[self._logits.argmax()]
        return self.labels[0]

    @property
    def confidence(self) -> float:
        """The probability of `label`."""
        return float(self.confidences[0])

    def __len__(self) -> int:
        """n."""
        return len(self._rows()) if self._indices is None else len(self._indices)

    def __repr__(self) -> str:
        return f"Prediction(labels={self.labels!r}, bundle_id={self.bundle_id!r})"

    def _rows(self) -> npt.NDArray[Any]:
        assert self._logits is not None
        return self._logits if self._logits.ndim == 2 else self._logits[None]


def joined(predictions: Sequence[Prediction]) -> tuple[IntArray, FloatArray]:
    """Classes (n,) and confidences (n,) of predictions of one model, n samples in all."""
    parts = [p._logits for p in predictions if p._logits is not None]
    head = predictions[0]._head
    if head is None or len(parts) < len(predictions):
        return (
            np.concatenate([prediction.indices for prediction in predictions]),
            np.concatenate([prediction.confidences for prediction in predictions]),
        )
    width = len(head.classes)
    logits = np.concatenate([part.reshape(-1) for part in parts]).reshape(-1, width)
    whole = Prediction.of_logits(logits, head, 0.0)
    return whole.indices, whole.confidences
