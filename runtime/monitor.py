"""`Monitor`: the whole path from an answered sample to a `Report`.

Features, bins, drift detectors, window: one monitor watches one model on one device.
"""

from __future__ import annotations

import numpy as np

from .contract import Contract, FloatArray
from .drift import DriftDetector
from .errors import MemberError
from .features import extract_features, feature_names
from .model import Model, Prediction
from .protocol import Report
from .reference import Binner, IntArray, Reference
from .telemetry import OTHER_RULE, Verdict, Window


class Monitor:
    """Watches one model's answers on one device; for one thread.

    The randomness that the constructor takes spreads values that carry mass over their bins.
    """

    def __init__(self, model: Model, rng: np.random.Generator, start_s: float) -> None:
        """Watch `model` from `start_s` on.

        Raises:
            MemberError: the bundle's reference does not suit its contract.
        """
        reference = model.reference
        self.bundle_id = model.bundle_id
        self.drift = DriftDetector(reference)
        self._contract = model.contract
        self._columns = _columns(model.contract, reference)
        self._binner = Binner((*reference.features, reference.confidence))
        self._rng = rng
        self._window = Window(len(self.drift.names), len(self._contract.classes), start_s, rng)
        self._calm()

    def observe(self, raw: FloatArray, prediction: Prediction) -> None:
        """Raw samples (n, *input.shape), or one, and the answers to them."""
        samples = np.asarray(raw, np.float32).reshape(-1, *self._contract.input.shape)
        features = extract_features(self._contract, samples)[:, self._columns]
        values = np.concatenate((features, prediction.confidences[:, None]), axis=1)
        bins = self._binner.bins(values, self._rng.random(values.shape, np.float32))
        self._window.add(bins, prediction.indices, prediction.latency_us, values)
        for row, answer in zip(bins, prediction.indices, strict=True):
            self.drift.observe(row[None], answer[None])
            self._raised |= self.drift.binned.alarms
            self._class_raised |= bool(self.drift.classes.alarms[0])

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
        drift = self.drift
        verdict = Verdict(
            names=drift.names,
            evidence=drift.binned.evidence,
            raised=self._raised,
            class_evidence=float(drift.classes.evidence[0]),
            class_raised=self._class_raised,
        )
        report = self._window.close(self.bundle_id, end_s, verdict)
        self._calm()
        return report

    def _calm(self) -> None:
        self._raised = np.zeros(len(self.drift.names), np.bool_)
        self._class_raised = False


def _columns(contract: Contract, reference: Reference) -> IntArray:
    """Where the reference's features stand in `extract_features`'s columns."""
    places = {name: column for column, name in enumerate(feature_names(contract))}
    unknown = [feature.name for feature in reference.features if feature.name not in places]
    if unknown:
        raise MemberError(f"reference.bin watches '{unknown[0]}', which is not in the contract")
    if len(reference.classes) != len(contract.classes):
        raise MemberError("reference.bin has shares of other classes than the contract")
    return np.array([places[feature.name] for feature in reference.features], np.int64)
