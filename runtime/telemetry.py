"""Telemetry: what a device says of its last few minutes, in a size that does not grow with them.

A `Window` counts; counts of two windows, two devices or two cohorts merge by addition. `Monitor`
is the whole path from an answered sample to a `Report`: features, bins, drift detectors, window.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np

from .contract import Contract, FloatArray
from .drift import DriftDetector
from .errors import MemberError, ProtocolError
from .features import extract_features, feature_names
from .model import Model, Prediction
from .protocol import FeatureWindow, Report
from .reference import BINS, Binner, IntArray, Reference

# Four a decade, 1 µs to 1 s. Count i lies between edges i - 1 and i; the first and the last count
# are open.
LATENCY_EDGES_US = tuple(round(10 ** (step / 4), 3) for step in range(25))


def p95_from_histogram(counts: Sequence[int]) -> float:
    """The 95th percentile of latency in µs from counts in `LATENCY_EDGES_US`; 0 without samples.

    Interpolated in the logarithm of the time; an open count gives the edge that it has.
    """
    total = sum(counts)
    if total == 0:
        return 0.0
    wanted, below = 0.95 * total, 0
    for index, count in enumerate(counts):
        if below + count >= wanted:
            return _inside(index, (wanted - below) / count)
        below += count
    return LATENCY_EDGES_US[-1]


class LatencyHistogram:
    """Counts of latencies in `LATENCY_EDGES_US`."""

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENCY_EDGES_US) + 1)

    @property
    def counts(self) -> tuple[int, ...]:
        """One more than there are edges."""
        return tuple(self._counts)

    def add(self, latency_us: float, samples: int = 1) -> None:
        """Count `samples` of the same latency."""
        self._counts[bisect.bisect_right(LATENCY_EDGES_US, latency_us)] += samples

    def p95_us(self) -> float:
        """See `p95_from_histogram`."""
        return p95_from_histogram(self._counts)


class Window:
    """Counts since `start_s`; for one thread."""

    def __init__(self, features: int, classes: int, start_s: float) -> None:
        self.start_s = start_s
        self.samples = 0
        self.violations = 0
        self.latency = LatencyHistogram()
        self.bins = np.zeros((features, BINS), np.int64)
        self.classes = np.zeros(classes, np.int64)
        self._rows = np.arange(features)

    def add(self, bins: IntArray, classes: IntArray, latency_us: float) -> None:
        """n answered samples: bins (n, features), classes (n,), latency per sample."""
        self.samples += len(bins)
        self.latency.add(latency_us, len(bins))
        np.add.at(self.classes, classes, 1)
        for row in bins:
            self.bins[self._rows, row] += 1


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


def merge(first: Report, second: Report) -> Report:
    """Two reports of one bundle as one: counts add, evidence is the larger, alarms are either's.

    The later report gives `boot_id` and `seq`. Commutative and associative.

    Raises:
        ProtocolError: they are of different bundles, or watch different features.
    """
    if first.bundle_id != second.bundle_id:
        raise ProtocolError("reports of different bundles cannot be merged")
    if len(first.features) != len(second.features):
        raise ProtocolError("reports that watch different features cannot be merged")
    later = max(first, second, key=lambda report: (report.end_s, report.boot_id, report.seq))
    return Report(
        boot_id=later.boot_id,
        seq=later.seq,
        bundle_id=later.bundle_id,
        start_s=min(first.start_s, second.start_s),
        end_s=later.end_s,
        samples=first.samples + second.samples,
        violations=first.violations + second.violations,
        latency_us=_add(first.latency_us, second.latency_us),
        confidence=_merge_windows(first.confidence, second.confidence),
        classes=_add(first.classes, second.classes),
        class_drift=_merge_windows(first.class_drift, second.class_drift),
        features=tuple(map(_merge_windows, first.features, second.features)),
        rss_bytes=max(first.rss_bytes, second.rss_bytes),
        dropped=first.dropped + second.dropped,
    )


def _merge_windows(first: FeatureWindow, second: FeatureWindow) -> FeatureWindow:
    if first.name != second.name:
        raise ProtocolError(f"'{first.name}' and '{second.name}' cannot be merged")
    return FeatureWindow(
        name=first.name,
        bins=_add(first.bins, second.bins),
        evidence=max(first.evidence, second.evidence),
        alarm=first.alarm or second.alarm,
    )


def _add(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    if len(first) != len(second):
        raise ProtocolError(f"counts in {len(first)} and {len(second)} bins cannot be merged")
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _inside(index: int, share: float) -> float:
    """Time at `share` of the way through count `index`."""
    if index == 0:
        return LATENCY_EDGES_US[0]
    if index == len(LATENCY_EDGES_US):
        return LATENCY_EDGES_US[-1]
    low, high = math.log(LATENCY_EDGES_US[index - 1]), math.log(LATENCY_EDGES_US[index])
    return math.exp(low + share * (high - low))


def _columns(contract: Contract, reference: Reference) -> IntArray:
    """Where the reference's features stand in `extract_features`'s columns."""
    places = {name: column for column, name in enumerate(feature_names(contract))}
    unknown = [feature.name for feature in reference.features if feature.name not in places]
    if unknown:
        raise MemberError(f"reference.bin watches '{unknown[0]}', which is not in the contract")
    if len(reference.classes) != len(contract.classes):
        raise MemberError("reference.bin has shares of other classes than the contract")
    return np.array([places[feature.name] for feature in reference.features], np.int64)
