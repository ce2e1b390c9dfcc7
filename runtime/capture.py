"""Payload capture, the choosing half: which samples are worth keeping, in the inference thread.

Nothing is kept unless the device's own `device.toml` has a `[capture]` table; nothing that comes
down from the fleet can turn it on. What is chosen here is redacted and bounded by `capture_desk`,
in the agent's thread.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

import msgspec
import numpy as np
import numpy.typing as npt

from .contract import FloatArray
from .errors import DeviceConfigError
from .prediction import Prediction
from .protocol import CaptureReason

DAY_S = 86400.0
NO_REDACTION = "none"
MAX_SAMPLE_BYTES = 256 << 10
_NAMES_TOLD = 8

Samples = npt.NDArray[np.generic]


class CaptureTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[capture]` of `device.toml`: consent, and its limits. `redact` has no default on purpose."""

    reasons: tuple[CaptureReason, ...]
    redact: str  # `module:function`, or `none`
    random_share: float = 0.001  # of all answered samples
    confidence_below: float = 0.5
    max_per_day: int = 100  # shared evenly by the reasons
    max_bytes: int = 1 << 20  # that wait on the device
    ttl_days: float = 7.0


def check_capture(table: CaptureTable) -> CaptureTable:
    """The table, when its numbers make sense.

    Raises:
        DeviceConfigError: one does not; one line that names the key.
    """
    wrong = {
        "reasons": not table.reasons or len(set(table.reasons)) < len(table.reasons),
        "redact": table.redact != NO_REDACTION and table.redact.count(":") != 1,
        "random_share": not 0 < table.random_share <= 1,
        "confidence_below": not 0 < table.confidence_below <= 1,
        "max_per_day": table.max_per_day < len(table.reasons),
        "max_bytes": table.max_bytes < 1,
        "ttl_days": not 0 < table.ttl_days <= 365,
    }
    for key, is_wrong in wrong.items():
        if is_wrong:
            value = getattr(table, key)
            raise DeviceConfigError(f"[capture] {key} = {value!r}: {_ALLOWED[key]}")
    return table


_ALLOWED = {
    "reasons": "name at least one reason, and each once",
    "redact": "write 'module:function', or 'none' to keep samples as they are",
    "random_share": "must be above 0 and at most 1",
    "confidence_below": "must be above 0 and at most 1",
    "max_per_day": "must be at least one for each reason",
    "max_bytes": "must be above 0",
    "ttl_days": "must be above 0 and at most 365",
}


def is_sample(value: object) -> TypeGuard[Samples]:
    """Whether it is an array of numbers of a size that can be sent."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        return False
    return 0 < value.nbytes <= MAX_SAMPLE_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Samples (n, *shape) and one model's answers to them; `drifting` names what is in alarm."""

    bundle_id: str
    classes: tuple[str, ...]
    samples: Samples
    indices: npt.NDArray[np.int64]  # (n,)
    confidences: FloatArray  # (n,)
    drifting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One chosen sample, a copy, as it came in; nothing is redacted yet."""

    reason: CaptureReason
    bundle_id: str
    sample: Samples
    label: str = ""
    confidence: float | None = None
    other_label: str = ""
    detail: str = ""


class CaptureTap:
    """Looks at what was answered or refused, and hands on what `table` asks for.

    For one thread at a time, but `differed`. Each reason has its share of a day's quota and spreads
    it: after one capture it rests for the time that its share allows, so a drift that lasts a day
    is seen all day.
    """

    def __init__(
        self,
        table: CaptureTable,
        post: Callable[[Candidate], None],
        monotonic_s: Callable[[], float],
        rng: np.random.Generator,
    ) -> None:
        """`post` takes a candidate and never waits."""
        self._table = table
        self._post = post
        self._monotonic_s = monotonic_s
        self._rng = rng
        self._rest_s = DAY_S * len(table.reasons) / table.max_per_day
        self._next_s = dict.fromkeys(table.reasons, -math.inf)
        self._until_random = self._draw()

    def answered(self, seen: Seen) -> None:
        """One or more samples that were answered."""
        count = len(seen.indices)
        least = int(seen.confidences.argmin())
        if seen.confidences[least] < self._table.confidence_below:
            self._offer(CaptureReason.LOW_CONFIDENCE, seen, least)
        if seen.drifting:
            told = ", ".join(seen.drifting[:_NAMES_TOLD])
            self._offer(CaptureReason.DRIFTED, seen, count - 1, told)
        self._until_random -= count
        if self._until_random < 0:
            self._offer(CaptureReason.RANDOM, seen, int(self._rng.integers(count)))
            self._until_random = self._draw()

    def refused(self, raw: Samples, rule: str, bundle_id: str) -> None:
        """What broke the contract, as it came."""
        self._hand_on(Candidate(CaptureReason.VIOLATION, bundle_id, raw, detail=rule))

    def differed(self, raw: npt.ArrayLike, new: Prediction, old: Prediction) -> None:
        """Samples that a new model and the last known good one answer differently: the first.

        From any thread: a shadow has one of its own.
        """
        pairs = zip(new.labels, old.labels, strict=True)
        row = next(row for row, (label, other) in enumerate(pairs) if label != other)
        array = np.asarray(raw)
        single = new.logits is not None and new.logits.ndim == 1
        candidate = Candidate(
            reason=CaptureReason.DISAGREEMENT,
            bundle_id=new.bundle_id,
            sample=array if single else array[row],
            label=new.labels[row],
            confidence=_known(float(new.confidences[row])),
            other_label=old.labels[row],
        )
        self._hand_on(candidate)

    def _offer(self, reason: CaptureReason, seen: Seen, row: int, detail: str = "") -> None:
        candidate = Candidate(
            reason=reason,
            bundle_id=seen.bundle_id,
            sample=seen.samples[row],
            label=seen.classes[seen.indices[row]],
            confidence=_known(float(seen.confidences[row])),
            detail=detail,
        )
        self._hand_on(candidate)

    def _due(self, reason: CaptureReason) -> bool:
        return reason in self._next_s and self._monotonic_s() >= self._next_s[reason]

    def _hand_on(self, candidate: Candidate) -> None:
        """Unless its reason rests. What is no number, or too large, nobody could use."""
        sample = candidate.sample
        if not self._due(candidate.reason) or not is_sample(sample):
            return
        self._next_s[candidate.reason] = self._monotonic_s() + self._rest_s
        self._post(dataclasses.replace(candidate, sample=sample.copy()))

    def _draw(self) -> int:
        """Samples to pass over until the next one at random."""
        return int(self._rng.geometric(self._table.random_share)) - 1


def _known(confidence: float) -> float | None:
    return confidence if math.isfinite(confidence) else None
