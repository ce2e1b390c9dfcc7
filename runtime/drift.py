"""Drift: e-detectors with a guaranteed run length, one for every feature, in a few arrays.

A detector sees which of a reference's bins each observation fell into and bets against the claim
that the bins fill as they did in training. With p the forgetting-weighted shares seen so far and
q those of the reference, the bet on bin i is the likelihood ratio p_i / q_i clipped to [a, b],
where a and b solve

    sum (p_i / b - q_i)+  =  sum (q_i - p_i / a)+  =  eps.

That is p over its projection on the ball of total variation eps around q, so its mean is at most
1 under every distribution in the ball (Huber's robust test; the reverse information projection of
Grünwald, de Heide and Koolen, 2024), and it grows as fast as any such bet can under p. The wealth

    M = bet · (M + 1) · (1 - FADE)

is a Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo, 2022): the mean time until M reaches a
threshold is at least that threshold for every distribution in the ball. K detectors that alarm at
`run_length` · K each therefore run for `run_length` observations on average before the first of
them errs, whatever the dependence between them.

eps has two parts: the mean total variation between a sample as large as the reference's and what
it was drawn from (1.55 / sqrt(n) for 16 bins), and `TOLERANCE`, which says what is material: a
change that moves fewer than one in twenty observations into another bin is worth no alarm. The sum
has to carry the noise of the pool that a device draws from as well, where that is finite: with a
reference of 300 samples it carries a pool of 300, played over and over.
"""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import numpy.typing as npt

from .errors import DriftStateError
from .reference import BINS, IntArray, Reference

RUN_LENGTH = 20_000
TOLERANCE = 0.05
FORGET = 0.99  # per observation: p rests on about the last 100
PRIOR = 20.0  # observations that the reference's own shares weigh in p
FADE = 0.005  # evidence is forgotten too, so that an alarm ends after its cause has
_REFRESH = 8  # observations between two changes of the bets: they only need to be predictable
_CAP = 1000.0  # times the threshold: bounds M and how long an alarm outlasts its cause

Float = npt.NDArray[np.float32]


class EDetectors:
    """Detectors over `rows` categorical distributions with the same number of bins."""

    def __init__(self, shares: Float, eps: Float, threshold: float) -> None:
        """Shares (rows, bins) of the reference, all positive; eps (rows,); threshold on M."""
        self._q = shares.astype(np.float32)
        self._eps = eps.astype(np.float32)[:, None]
        self._rows = np.arange(len(shares))
        self.threshold = threshold
        self.counts: Float = self._q * np.float32(PRIOR)
        self.evidence: Float = np.zeros(len(shares), np.float32)
        self._age = 0
        self.refresh()

    @property
    def alarms(self) -> npt.NDArray[np.bool_]:
        """Which rows are over the threshold now, shape (rows,)."""
        return self.evidence >= self.threshold

    def observe(self, bins: IntArray) -> None:
        """One observation: the bin of every row, shape (rows,)."""
        if self._age >= _REFRESH:
            self.refresh()
        self._age += 1
        kept = np.float32(1 - FADE)
        wealth = self._bets[self._rows, bins] * (self.evidence + 1) * kept
        self.evidence = np.minimum(wealth, np.float32(self.threshold * _CAP))
        self.counts *= np.float32(FORGET)
        self.counts += self._floor
        self.counts[self._rows, bins] += 1

    def refresh(self) -> None:
        """Set the bets from the counts so far."""
        self._age = 0
        self._floor = self._q * np.float32((1 - FORGET) * PRIOR)
        p = self.counts / self.counts.sum(axis=1, keepdims=True)
        ratio = p / self._q
        order = np.argsort(ratio, axis=1)
        p_up = np.take_along_axis(p, order, axis=1)
        q_up = np.take_along_axis(self._q, order, axis=1)
        # Both roots are extremes over prefixes of the sorted bins: for the right prefix the sum
        # above has exactly its terms, and every other prefix bounds the root from the same side.
        spare = q_up.cumsum(axis=1) - self._eps
        lows = np.divide(
            p_up.cumsum(axis=1), spare, out=np.full_like(spare, np.inf), where=spare > 0
        )
        highs = p_up[:, ::-1].cumsum(axis=1) / (q_up[:, ::-1].cumsum(axis=1) + self._eps)
        low = np.minimum(lows.min(axis=1, keepdims=True), np.float32(1))
        high = np.maximum(highs.max(axis=1, keepdims=True), np.float32(1))
        self._bets = np.clip(ratio, low, high)

    def restore(self, counts: Float, evidence: Float) -> None:
        """Take up arrays that `read_state` has checked."""
        self.counts, self.evidence = counts, evidence
        self.refresh()

    def read_state(self, counts: bytes, evidence: bytes) -> tuple[Float, Float]:
        """Saved arrays, little-endian float32, for `restore`.

        Raises:
            DriftStateError: they are of other sizes, or hold what no detector holds.
        """
        if len(counts) != self.counts.nbytes or len(evidence) != self.evidence.nbytes:
            raise DriftStateError("the saved drift state is of another size")
        # Copies: arrays over bytes cannot be written to.
        new_counts = np.frombuffer(counts, "<f4").reshape(self.counts.shape).astype(np.float32)
        new_evidence = np.frombuffer(evidence, "<f4").astype(np.float32)
        if not (np.isfinite(new_counts).all() and (new_counts > 0).all()):
            raise DriftStateError("the saved drift state holds counts that no detector has")
        if not (np.isfinite(new_evidence).all() and (new_evidence >= 0).all()):
            raise DriftStateError("the saved drift state holds evidence that no detector has")
        return new_counts, new_evidence


class DriftDetector:
    """Detectors for every feature of a reference, the confidence, and the classes answered."""

    def __init__(
        self, reference: Reference, run_length: float = RUN_LENGTH, tolerance: float = TOLERANCE
    ) -> None:
        """`run_length`: observations until the first false alarm of any detector, on average."""
        rows = len(reference.features) + 1
        threshold = run_length * (rows + 1)
        self.names = (*(feature.name for feature in reference.features), "confidence")
        self._key = hashlib.sha256(reference.to_bytes()).digest()
        even = np.full((rows, BINS), 1 / BINS, np.float32)
        eps = sampling_variation(even, reference.samples) + tolerance
        eps[-1:] = sampling_variation(even[-1:], reference.answers) + tolerance
        self.binned = EDetectors(even, eps, threshold)
        shares = np.array(reference.classes, np.float32)[None]
        eps = sampling_variation(shares, reference.answers) + tolerance
        self.classes = EDetectors(shares, eps, threshold)

    def observe(self, bins: IntArray, classes: IntArray) -> None:
        """n observations in order: bins (n, features + 1), the confidence last; classes (n,)."""
        for row, answer in zip(bins, classes, strict=True):
            self.binned.observe(row)
            self.classes.observe(answer[None])

    def to_bytes(self) -> bytes:
        """The state: 68 bytes a feature, bound to the reference it belongs to."""
        state = _State(
            key=self._key,
            counts=self.binned.counts.astype("<f4").tobytes(),
            evidence=self.binned.evidence.astype("<f4").tobytes(),
            class_counts=self.classes.counts.astype("<f4").tobytes(),
            class_evidence=self.classes.evidence.astype("<f4").tobytes(),
        )
        return msgspec.msgpack.encode(state)

    def restore(self, data: bytes) -> None:
        """Go on from a saved state; the bets restart from the counts as saved.

        Raises:
            DriftStateError: the bytes are damaged, or belong to another reference.
        """
        try:
            state = msgspec.msgpack.decode(data, type=_State)
        except msgspec.DecodeError as error:
            raise DriftStateError(f"the saved drift state cannot be read: {error}") from error
        if state.key != self._key:
            raise DriftStateError("the saved drift state belongs to another model")
        binned = self.binned.read_state(state.counts, state.evidence)
        classes = self.classes.read_state(state.class_counts, state.class_evidence)
        self.binned.restore(*binned)
        self.classes.restore(*classes)


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: bytes
    counts: bytes
    evidence: bytes
    class_counts: bytes
    class_evidence: bytes
    schema: int = 1


def sampling_variation(shares: Float, samples: int) -> Float:
    """Mean total variation between shares (rows, bins) and a sample of that size drawn from them.

    Half the sum of the mean absolute deviations, each sqrt(2 / pi) of its standard deviation.
    """
    deviation = np.sqrt(shares * (1 - shares) / samples)
    variation: Float = (np.sqrt(0.5 / np.pi) * deviation.sum(axis=1)).astype(np.float32)
    return variation
