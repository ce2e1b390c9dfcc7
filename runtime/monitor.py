"""`Monitor`: the whole path from an answered sample to a `Report`.

Features, bins, drift detectors, window: one monitor watches one model on one device. What it is
handed waits in a ring and is counted many samples at a time, when the ring is full or the window
ends: one numpy call costs as much for a hundred samples as for one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .capture import CaptureTap, Seen
from .contract import Contract
from .drift import TOLERANCE, DriftDetector
from .errors import MemberError
from .features import extract_features, feature_names
from .model import Model
from .prediction import Prediction
from .protocol import Report
from .reference import Binner, IntArray, Reference
from .ring import Answered, Ring
from .telemetry import OTHER_RULE, Verdict, Window


class Monitor:
    """Watches one model's answers on one device; for one thread at a time.

    The randomness that the constructor takes spreads values that carry mass over their bins.
    """

    def __init__(
        self,
        model: Model,
        rng: np.random.Generator,
        start_s: float,
        tap: CaptureTap | None = None,
        drift_tolerance: float = TOLERANCE,
    ) -> None:
        """Watch `model` from `start_s` on; `tap` chooses samples that the owner wants captured.

        `drift_tolerance` is `DriftDetector`'s.

        Raises:
            MemberError: the bundle's reference does not suit its contract.
        """
        reference = model.reference
        self.bundle_id = model.bundle_id
        self.drift = DriftDetector(
            reference, tolerance=drift_tolerance
        )  # knows of what has left the ring
        self._contract = model.contract
        self._shape = model.contract.input.shape
        self._columns = _columns(model.contract, reference)
        self._binner = Binner((*reference.features, reference.confidence))
        self._rng = rng
        self._tap = tap
        self._ring = Ring(self._shape)
        self._window = Window(len(self.drift.names), len(self._contract.classes), start_s, rng)

    def observe(self, raw: npt.NDArray[np.generic], prediction: Prediction) -> None:
        """Raw samples (n, *input.shape), or one, and the answers to them; the samples are copied.

        Samples of one call count with the mean of their latencies.
        """
        if raw.shape != self._shape or prediction.logits is None:
            self._observe_batch(raw, prediction)
        elif self._ring.put(raw, prediction):
            self._drain()

    def violation(self, rule: str = OTHER_RULE) -> None:
        """Count a sample that the contract refused, by the rule that it broke."""
        self._window.violation(rule)

    def engine_error(self) -> None:
        """Count a sample that the engine could not answer."""
        self._window.engine_errors += 1

    def close(self, end_s: float) -> Report:
        """End the window and start the next; the sender fills in who and how many.

        A detector's alarm stands in every window in which it was over its threshold.
        """
        self._drain()
        drift = self.drift
        raised, class_raised = drift.take_raised()
        verdict = Verdict(
            names=drift.names,
            evidence=drift.binned.evidence,
            raised=raised,
            class_evidence=float(drift.classes.evidence[0]),
            class_raised=class_raised,
        )
        return self._window.close(self.bundle_id, end_s, verdict)

    def _observe_batch(self, raw: npt.NDArray[np.generic], prediction: Prediction) -> None:
        samples = np.asarray(raw, np.float32).reshape(-1, *self._shape)
        if len(samples) == 1 and prediction.logits is not None:
            self.observe(samples[0], prediction)
            return
        self._drain()
        step = self._ring.capacity
        for start in range(0, len(samples), step):
            part = slice(start, start + step)
            chunk = samples[part]
            latencies_us = np.full(len(chunk), prediction.latency_us, np.float32)
            indices, confidences = prediction.indices[part], prediction.confidences[part]
            self._count(Answered(chunk, indices, confidences, latencies_us))

    def _drain(self) -> None:
        if len(self._ring):
            self._count(self._ring.take())

    def _count(self, answered: Answered) -> None:
        features = extract_features(self._contract, answered.samples)[:, self._columns]
        values = np.concatenate((features, answered.confidences[:, None]), axis=1)
        bins = self._binner.bins(values, self._rng.random(values.shape, np.float32))
        self._window.add(bins, answered.indices, answered.latencies_us, values)
        self.drift.observe(bins, answered.indices)
        if self._tap is not None:
            self._tap.answered(self._seen(answered))

    def _seen(self, answered: Answered) -> Seen:
        drift = self.drift
        alarms = zip(drift.names, drift.binned.alarms, strict=True)
        return Seen(
            bundle_id=self.bundle_id,
            classes=self._contract.classes,
            samples=answered.samples,
            indices=answered.indices,
            confidences=answered.confidences,
            drifting=(
                *(name for name, alarm in alarms if alarm),
                *(("classes",) if drift.classes.alarms[0] else ()),
            ),
        )


def _columns(contract: Contract, reference: Reference) -> IntArray:
    """Where the reference's features stand in `extract_features`'s columns."""
    places = {name: column for column, name in enumerate(feature_names(contract))}
    unknown = [feature.name for feature in reference.features if feature.name not in places]
    if unknown:
        raise MemberError(f"reference.bin watches '{unknown[0]}', which is not in the contract")
    if len(reference.classes) != len(contract.classes):
        raise MemberError("reference.bin has shares of other classes than the contract")
    return np.array([places[feature.name] for feature in reference.features], np.int64)
