"""Drift: e-detectors with a guaranteed run length, one for every feature, in a few arrays.

A detector sees which of a reference's bins each observation fell into and bets against the claim
that the bins fill as they did in training, nine times over (`drift_bets.py`): on eight shapes of
change, and on what the last 128 or so observations look like. With the bets on the bin that an
observation fell into, each part of the evidence becomes

    M = (M + start) · bet

where the starts have the sum 1. A bet's mean is at most 1 for every distribution that is no drift,
so that the sum of the parts less the number of observations does not grow on average, whatever was
seen before: a Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo, 2022). The mean time until it
reaches a threshold is therefore at least that threshold. K detectors that alarm at `run_length` · K
each run for `run_length` observations on average before the first of them errs, whatever the
dependence between features. What it takes is that each observation, given those before it, is
like those of training: samples of one machine, taken milliseconds apart, are not.

Evidence over the threshold is bounded every `PERIOD` observations, so that an alarm ends after its
cause has.

c/ek_drift.c is the same for microcontrollers, to the last bit. That fixes the order of operations
here: sums of floats are written out, and counts are integers, whose sums have no order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from .drift_bets import BET_LIMIT, LEARNED_FADE, STARTS, Float, class_bets, even_bets
from .errors import DriftStateError
from .reference import BINS, IntArray, Reference

RUN_LENGTH = 20_000
TOLERANCE = 0.02  # of total variation: a shift by a twentieth of a standard deviation
PERIOD = 32  # observations between two changes of the learned bets: they need to be predictable
PRIOR = 32  # observations that the reference's own shares weigh in what was learned
CAP = 10  # times the threshold: bounds the evidence and how long an alarm outlasts its cause
PARTS = len(STARTS)
# In the place of what is not above 0: no bound, and no division by 0 either.
_NO_SPARE = np.float32(1e-30)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Standing:
    """How some detectors stand: their evidence, float32, and which are over the threshold."""

    evidence: Float
    alarms: Mask


class DriftDetector:
    """Detectors for every feature of a reference, the confidence, and the classes answered.

    Alarms that were raised and are over again are not lost: `take_raised` has all since its last
    call, wherever within a batch they were.
    """

    def __init__(
        self, reference: Reference, run_length: float = RUN_LENGTH, tolerance: float = TOLERANCE
    ) -> None:
        """What is worth an alarm, and how rarely one may be false.

        Args:
            reference: of the model.
            run_length: observations until the first false alarm of any detector, on average.
            tolerance: the share of observations, 0 to 1, that may move into other bins.
        """
        rows, classes = len(reference.features) + 1, len(reference.classes)
        cells = rows * BINS
        self.names = (*(feature.name for feature in reference.features), "confidence")
        self.threshold = np.float32(run_length * (rows + 1))
        self._limit = self.threshold * np.float32(CAP)
        self._key = state_key(reference, run_length, tolerance)
        feature = even_bets(reference.samples, tolerance)
        confidence = even_bets(reference.answers, tolerance)
        answer = class_bets(reference.classes, reference.answers, tolerance)
        # A cell is a bin of a row. The classes are the last row, which bets on no shapes.
        self._bets: Float = np.zeros((cells + classes, PARTS), np.float32)
        shapes = self._bets[:cells].reshape(BINS, rows, PARTS)[:, :, :-1]
        shapes[:, :-1], shapes[:, -1] = feature.shapes[:, None], confidence.shapes
        self._starts: Float = np.tile(np.array(STARTS, np.float32), (rows + 1, 1))
        self._starts[-1] = (*(0,) * (PARTS - 1), 1)
        self._stride = np.append(np.full(rows, rows), 1)
        self._first = np.append(np.arange(rows), cells)
        self._seen: Float = np.zeros(len(self._bets), np.float32)
        self._fresh: Float = np.zeros(len(self._bets), np.float32)
        self._parts: Float = np.zeros((rows + 1, PARTS), np.float32)
        self._raised: Mask = np.zeros(rows + 1, np.bool_)
        self._age = 0
        radius = np.array([feature.radius] * (rows - 1) + [confidence.radius])
        self._even = _EvenLearner(radius)
        self._answers = _ClassLearner(reference.classes, answer.radius)
        self._learn()

    @property
    def binned(self) -> Standing:
        """The detectors of `names`, shape (features + 1,)."""
        evidence = _total(self._parts)[:-1]
        return Standing(evidence, evidence >= self.threshold)

    @property
    def classes(self) -> Standing:
        """The detector of the answers, shape (1,)."""
        evidence = _total(self._parts)[-1:]
        return Standing(evidence, evidence >= self.threshold)

    def observe(self, bins: IntArray, classes: IntArray) -> None:
        """n observations in order: bins (n, features + 1), the confidence last; classes (n,).

        Many at once cost far less than one by one, and give the same to the last bit.
        """
        cells = np.concatenate((bins, classes[:, None]), axis=1) * self._stride + self._first
        ends = range(PERIOD - self._age, len(cells), PERIOD)
        start = 0
        for end, seen, learned in zip(ends, *self._learn_ahead(cells, ends), strict=True):
            self._observe(cells[start:end])
            self._begin_period(seen, learned)
            start = end
        self._observe(cells[start:])

    def take_raised(self) -> tuple[Mask, bool]:
        """Which of `names`, (features + 1,), and whether the classes, alarmed since the last call.

        An alarm that is on counts, whenever it was raised.
        """
        raised = self._raised | (_total(self._parts) >= self.threshold)
        self._raised = np.zeros_like(raised)
        return raised[:-1], bool(raised[-1])

    def to_bytes(self) -> bytes:
        """The state: 68 bytes a feature, bound to the claim that it is evidence against."""
        state = _State(
            key=self._key,
            age=self._age,
            seen=self._seen.astype(np.uint8).tobytes(),
            fresh=self._fresh.astype(np.uint8).tobytes(),
            parts=self._parts[:-1].astype("<f4").tobytes(),
            class_part=self._parts[-1, -1:].astype("<f4").tobytes(),
        )
        return msgspec.msgpack.encode(state)

    def restore(self, data: bytes) -> None:
        """Go on from a saved state as if there had been no break.

        Raises:
            DriftStateError: the bytes are damaged, or belong to another reference.
        """
        try:
            state = msgspec.msgpack.decode(data, type=_State)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DriftStateError(f"the saved drift state cannot be read: {error}") from error
        if state.key != self._key:
            raise DriftStateError("the saved drift state belongs to another model or tolerance")
        if (len(state.seen), len(state.fresh)) != (self._seen.size, self._fresh.size) or (
            len(state.parts),
            len(state.class_part),
        ) != (self._parts[:-1].nbytes, 4):
            raise DriftStateError("the saved drift state is of another size")
        parts = np.frombuffer(state.parts + state.class_part, "<f4").astype(np.float32)
        seen, fresh = (np.frombuffer(counts, np.uint8) for counts in (state.seen, state.fresh))
        if not (np.isfinite(parts).all() and (parts >= 0).all()):
            raise DriftStateError("the saved drift state holds evidence that no detector has")
        if not 0 <= state.age <= PERIOD or seen.max() > 4 * PERIOD or fresh.max() > state.age:
            raise DriftStateError("the saved drift state holds counts that no detector has")
        self._age = state.age
        self._seen[:], self._fresh[:] = seen, fresh
        self._parts[:-1], self._parts[-1, -1] = parts[:-1].reshape(-1, PARTS), parts[-1]
        self._learn()

    def _observe(self, cells: IntArray) -> None:
        """Cells (n, rows + 1), all of one period; n may be 0."""
        if not len(cells):
            return
        self._age += len(cells)
        path = self._bets.take(cells, axis=0)
        parts, starts, started = self._parts, self._starts, np.empty_like(self._parts)
        add, multiply = np.add, np.multiply
        for bets in path:
            add(parts, starts, started)
            multiply(started, bets, bets)
            parts = bets
        self._parts[:] = parts
        self._fresh += np.bincount(cells.ravel(), minlength=self._fresh.size)
        # Only where a part is large can a sum of so few be.
        if np.maximum.reduce(path, axis=None) * (2 * PARTS) >= self.threshold:
            self._raised |= (_total(path) >= self.threshold).any(axis=0)

    def _learn_ahead(self, cells: IntArray, ends: range) -> tuple[Float, Float]:
        """What will have been seen when the periods end, and the bets on it, each (ends, bins).

        Bets rest on counts alone, never on evidence; so all periods of a batch learn in one pass.
        """
        seen = np.empty((len(ends), self._seen.size), np.float32)
        if not ends:
            return seen, seen
        before, fresh, start = self._seen, self._fresh, 0
        for period, end in enumerate(ends):
            # A quarter of what was seen is forgotten.
            kept = np.floor(before * np.float32(0.75)) + fresh
            seen[period] = kept + np.bincount(cells[start:end].ravel(), minlength=kept.size)
            before, fresh, start = seen[period], np.zeros_like(kept), end
        return seen, self._bets_on(seen)

    def _begin_period(self, seen: Float, learned: Float) -> None:
        self._seen[:] = seen
        self._fresh[:] = 0
        self._age = 0
        np.minimum(self._parts, self._limit, out=self._parts)
        self._bets[:, -1] = learned

    def _learn(self) -> None:
        self._bets[:, -1] = self._bets_on(self._seen[None])[0]

    def _bets_on(self, seen: Float) -> Float:
        """The learned bets on counts (n, bins of all rows)."""
        classes = len(self._answers.shares)
        even, answers = seen[:, :-classes], seen[:, -classes:]
        return np.concatenate((self._even.learn(even), self._answers.learn(answers)), axis=1)


def state_key(reference: Reference, run_length: float, tolerance: float) -> bytes:
    """What a saved state belongs to: evidence against one claim is none against another."""
    claim = np.array([run_length, tolerance], "<f8").tobytes()
    return hashlib.sha256(reference.to_bytes() + claim).digest()


class _EvenLearner:
    """Bets on what was seen of rows with even bins; `radius` (rows,) is that of their `Bets`.

    The weight of a bin is its share of what was seen over that of the reference, times all that
    was seen: a whole number.
    """

    def __init__(self, radius: Float) -> None:
        count = np.arange(1, BINS + 1, dtype=np.float32)[:, None]
        self._spare = np.maximum(count - radius, _NO_SPARE)
        self._filled = (count + radius)[-2::-1]

    def learn(self, seen: Float) -> Float:
        """Bets on counts, both (n, bins · rows), clipped at the extremes of `drift_bets` over the
        weights as they rise.
        """
        weights = seen.reshape(len(seen), BINS, -1) * np.float32(BINS)
        weights += np.float32(PRIOR)
        lowest: Float = np.sort(weights, axis=1).cumsum(axis=1)
        whole: Float = lowest[:, -1:]
        total: Float = whole / np.float32(BINS)
        highest = whole - lowest[:, :-1]
        highest /= self._filled
        lowest /= self._spare
        return _bets(weights, lowest, highest, total).reshape(seen.shape)


class _ClassLearner:
    """The same of one row, the classes, which are not even."""

    def __init__(self, shares: Sequence[float], radius: np.float32) -> None:
        self.shares = np.array(shares, np.float32)
        self._radius = radius
        self._prior: Float = self.shares * np.float32(PRIOR)

    def learn(self, seen: Float) -> Float:
        """Bets on counts, both (n, classes); sums of floats go from the lowest weight up and from
        the highest down.
        """
        masses = seen + self._prior
        weights = masses / self.shares
        total: Float = np.add.reduce(seen, axis=1, keepdims=True) + np.float32(PRIOR)
        order = weights.argsort(axis=1, kind="stable")
        shares = self.shares[order]
        order += np.arange(0, masses.size, masses.shape[1])[:, None]
        masses = masses.take(order)
        lowest, highest = masses.cumsum(axis=1), masses[:, ::-1].cumsum(axis=1)
        lowest /= np.maximum(shares.cumsum(axis=1) - self._radius, _NO_SPARE)
        highest /= shares[:, ::-1].cumsum(axis=1) + self._radius
        return _bets(weights, lowest, highest, total)


def _bets(weights: Float, lowest: Float, highest: Float, total: Float) -> Float:
    """Of weights, the bounds that each prefix of them gives, and `total` (n, 1 or 1, rows)."""
    low = np.minimum.reduce(lowest, axis=1, keepdims=True)
    high = np.maximum.reduce(highest, axis=1, keepdims=True)
    np.minimum(weights, np.maximum(high, total), out=weights)
    np.maximum(weights, np.minimum(low, total), out=weights)
    weights /= total
    weights *= np.float32(1 - LEARNED_FADE)
    np.minimum(weights, np.float32(BET_LIMIT), out=weights)
    return weights


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: bytes
    age: int
    seen: bytes
    fresh: bytes
    parts: bytes
    class_part: bytes
    schema: int = 2


def _total(parts: Float) -> Float:
    """The sum over the last axis, from the first to the last."""
    total: Float = parts[..., 0].copy()
    for part in range(1, parts.shape[-1]):
        total += parts[..., part]
    return total
