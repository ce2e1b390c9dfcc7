"""`Monitor`: the whole path from an answered sample to a `Report`.

Features, bins, drift detectors, window: one monitor watches one model on one device.
"""

from __future__ import annotations

import numpy as np

from .contract import Contract, FloatArray
from .drift import DriftDetector
from .errors import MemberError
from .features import extract_features, feature_names
from .model import Model
from .prediction import Prediction
from .protocol import FeatureWindow, Report
from .reference import Binner, IntArray, Reference
from .telemetry import Window


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
        self._start(start_s)

    def observe(self, raw: FloatArray, prediction: Prediction) -> None:
        """Raw samples (n, *input.shape), or one, and the answers to them."""
        samples = np.asarray(raw, np.float32).reshape(-1, *self._contract.input.shape)
        features = extract_features(self._contract, samples)[:, self._columns]
        values = np.concatenate((features, prediction.confidences[:, None]), axis=1)
        bins = self._binner.bins(values, self._rng.random(values.shape, np.float32))
        self._window.add(bins, prediction.indices, prediction.latency_us)
        for row, answer in zip(bins, prediction.indices, strict=True):
            self.drift.observe(row[None], answer[None])
            self._raised |= self.drift.binned.alarms
            self._class_raised |= bool(self.drift.classes.alarms[0])

    def violation(self) -> None:
        """Count a sample that the contract refused."""
        self._window.violations += 1

    def close(self, end_s: float) -> Report:
        """End the window and start the next; the sender fills in who and how many.

        A detector's alarm stands in every window in which it was over its threshold.
        """
        window, drift = self._window, self.drift
        watched = tuple(
            FeatureWindow(name=name, bins=tuple(bins), evidence=evidence, alarm=alarm)
            for name, bins, evidence, alarm in zip(
                drift.names,
                window.bins.tolist(),
                drift.binned.evidence.tolist(),
                self._raised.tolist(),
                strict=True,
            )
        )
        classes = tuple(window.classes.tolist())
        report = Report(
            boot_id="",
            seq=0,
            bundle_id=self.bundle_id,
            start_s=window.start_s,
            end_s=end_s,
            samples=window.samples,
            violations=window.violations,
            latency_us=window.latency.counts,
            confidence=watched[-1],
            classes=classes,
            class_drift=FeatureWindow(
                name="classes",
                bins=classes,
                evidence=float(drift.classes.evidence[0]),
                alarm=self._class_raised,
            ),
            features=watched[:-1],
        )
        self._start(end_s)
        return report

    def _start(self, start_s: float) -> None:
        names = len(self.drift.names)
        self._window = Window(names, len(self._contract.classes), start_s)
        self._raised = np.zeros(names, np.bool_)
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
