"""`Reference`: what the training data looked like, small enough to travel with every model.

Each feature keeps its distribution function at up to 49 knots, atoms included, so that a device
can place a new value among 16 bins that were equally full in training (a randomised probability
integral transform: a value that carries mass is spread over its share of the unit interval by a
uniform `u`, passed in). Constant features are left out: they have no distribution to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from .contract import Contract, FloatArray
from .errors import MemberError
from .features import extract_features, feature_names

BINS = 16
KNOT_LIMIT = 64
# A multiple of BINS, so that the edge of every bin is a knot.
_INTERVALS = 48

IntArray = npt.NDArray[np.int64]


class FeatureReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A distribution function at `values`: `below` is P(X < value), `at` is P(X = value)."""

    name: str
    values: tuple[float, ...]
    below: tuple[float, ...]
    at: tuple[float, ...]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Features that vary, the model's confidence, and its share of answers per class.

    Features rest on `samples` samples, confidence and classes on `answers` of them or of others.
    """

    features: tuple[FeatureReference, ...]
    classes: tuple[float, ...]
    confidence: FeatureReference
    samples: int
    answers: int
    schema: int = 1

    def to_bytes(self) -> bytes:
        """`reference.bin`: MessagePack, the same bytes for the same reference."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "bundle") -> Reference:
        """Decode `reference.bin`; `source` names the bundle in errors.

        Raises:
            MemberError: it breaks its schema.
        """
        try:
            reference = msgspec.msgpack.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MemberError(f"{source}: reference.bin cannot be read: {error}") from error
        for feature in (*reference.features, reference.confidence):
            if not _is_distribution(feature):
                msg = f"{source}: reference.bin holds no distribution for '{feature.name}'"
                raise MemberError(msg)
        if min(reference.samples, reference.answers) < 1 or min(reference.classes, default=0) <= 0:
            raise MemberError(f"{source}: reference.bin has no samples or no class shares")
        return reference


def build_reference(
    contract: Contract, raw_samples: FloatArray, confidences: FloatArray, classes: IntArray
) -> Reference:
    """Sum up training data and the model's answers.

    The answers are best those to held-out samples: a model is surer of what it was trained on.

    Args:
        contract: of the model.
        raw_samples: (n, *input.shape) in raw units, at least one.
        confidences: (m,) of the model's answers, at least one.
        classes: (m,) indices of the classes it answered.
    """
    features = extract_features(contract, raw_samples)
    described = tuple(
        describe(name, column)
        for name, column in zip(feature_names(contract), features.T, strict=True)
        if column.min() < column.max()
    )
    # Half a count each: a class never answered in training has a small share, not none.
    counts = np.bincount(classes, minlength=len(contract.classes)) + 0.5
    return Reference(
        features=described,
        classes=tuple(float(share) for share in counts / counts.sum()),
        confidence=describe("confidence", confidences),
        samples=len(raw_samples),
        answers=len(confidences),
    )


def describe(name: str, column: npt.NDArray[np.floating]) -> FeatureReference:
    """The distribution of one column (n,) of values that float32 holds.

    Up to 64 distinct values are all kept; of more, the quantiles at multiples of 1/48, which
    contain every value with at least that mass.
    """
    values, counts = np.unique(column.astype(np.float32), return_counts=True)
    above = np.cumsum(counts)
    total = int(above[-1])
    kept = np.arange(len(values))
    if len(values) > KNOT_LIMIT:
        ranks = np.linspace(0, total, _INTERVALS + 1)
        kept = np.unique(np.searchsorted(above, ranks).clip(max=len(values) - 1))
    return FeatureReference(
        name=name,
        values=tuple(values[kept].astype(float).tolist()),
        below=tuple(((above - counts)[kept] / total).tolist()),
        at=tuple((counts[kept] / total).tolist()),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A value at which the bin changes: behind it is bin `after`.

    A value just on it falls into floor(below + at · u), at most `after`: masses in bins, 0 to 16.
    """

    value: float
    below: float
    at: float
    after: int


def steps_of(feature: FeatureReference) -> tuple[Step, ...]:
    """The at most 15 steps of a feature, by rising value; in front of the first is bin 0.

    Every edge of a bin lies on a knot (`describe`), so that nothing changes between two.
    """
    steps: list[Step] = []
    reached = 0
    for value, below, at in zip(feature.values, feature.below, feature.at, strict=True):
        # Rounded: of 1/3 and 2/3 the sum may be less than the 1 that it is.
        after = min(BINS - 1, int(round((below + at) * BINS, 6)))
        if after > reached:
            steps.append(Step(value, round(below * BINS, 6), round(at * BINS, 6), after))
            reached = after
    return tuple(steps)


class Binner:
    """Places values among the 16 reference bins, all features of a sample in one pass.

    Tables are padded to the same number of steps, so one comparison serves every feature. Behind
    column i of a table lies what holds when i steps were passed. c/ek_drift.c does the same to
    the last bit.
    """

    def __init__(self, features: Sequence[FeatureReference]) -> None:
        self.names = tuple(feature.name for feature in features)
        steps = [steps_of(feature) for feature in features]
        width = 1 + max(map(len, steps), default=0)
        rows = len(features)
        self._values = np.full((rows, width - 1), np.inf, np.float32)
        self._first = np.arange(rows) * width  # of each row, in the flattened tables
        self._on = np.full((rows, width), np.nan, np.float32)  # equal to no value
        self._below = np.zeros((rows, width), np.float32)
        self._at = np.zeros((rows, width), np.float32)
        self._after = np.zeros((rows, width), np.int64)
        for row, found in enumerate(steps):
            for place, step in enumerate(found):
                self._values[row, place] = self._on[row, place + 1] = step.value
                self._below[row, place + 1], self._at[row, place + 1] = step.below, step.at
                self._after[row, place + 1] = step.after

    def bins(self, values: FloatArray, u: FloatArray) -> IntArray:
        """Values (n, features) and uniforms in [0, 1) of the same shape to bins 0..15."""
        passed = (values[:, :, None] >= self._values).sum(axis=2) + self._first
        bins: IntArray = self._after.ravel()[passed]
        on = self._on.ravel()[passed] == values
        if on.any():
            step = passed[on]
            mass = self._below.ravel()[step] + self._at.ravel()[step] * u[on]
            bins[on] = np.minimum(mass.astype(np.int64), bins[on])
        return bins


def _is_distribution(feature: FeatureReference) -> bool:
    """True when knots ascend and the masses are those of a distribution function."""
    values, below, at = (np.array(part) for part in (feature.values, feature.below, feature.at))
    if not 1 <= len(values) <= KNOT_LIMIT or not len(values) == len(below) == len(at):
        return False
    if not all(np.isfinite(part).all() for part in (values, below, at)):
        return False
    upto = below + at
    ascending = bool((np.diff(values) > 0).all() and (below[1:] >= upto[:-1] - 1e-9).all())
    return ascending and bool((at >= 0).all() and below[0] >= 0 and upto[-1] <= 1 + 1e-9)
