"""Telemetry: what a device says of its last few minutes, in a size that does not grow with them.

A `Window` counts. What it counts merges with that of other windows, devices and cohorts: counts
add, sketches merge (`rollup`).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .contract import FloatArray
from .kll import KllBank, KllSketch
from .kll_bytes import encode_sketch
from .protocol import BrokenRules, FeatureWindow, Lost, Report
from .reference import BINS, IntArray

# Four a decade, 1 µs to 1 s. Count i lies between edges i - 1 and i; the first and the last count
# are open.
LATENCY_EDGES_US = tuple(round(10 ** (step / 4), 3) for step in range(25))
_EDGES = np.array(LATENCY_EDGES_US)

ANSWER_K = 200  # latency and confidence: ranks within 1.3 %, at most 2.5 kB each
FEATURE_K = 64  # ranks within 4 %, at most 1 kB each
FEATURE_SKETCH_BYTES = 4096  # for the features' sketches of one report
RULES = BrokenRules.__struct_fields__
OTHER_RULE = "other"


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the drift detectors say at the end of a window; `names` are features, then confidence.

    `evidence` and `raised` have one entry a name: the detector's value now, and whether it was
    over its threshold at any time in the window.
    """

    names: Sequence[str]
    evidence: npt.NDArray[np.floating]
    raised: npt.NDArray[np.bool_]
    class_evidence: float
    class_raised: bool


class Window:
    """Counts and sketches since `start_s`; for one thread.

    Most of what `add` costs is paid once a call, so a caller in a hurry hands over its samples 64
    or more at a time (`python -m benchmarks runtime_telemetry` prints the cost by batch).
    """

    def __init__(self, rows: int, classes: int, start_s: float, rng: np.random.Generator) -> None:
        """`rows` are the watched features and, last, the confidence; `rng` is for the sketches."""
        self._rows = rows
        self._bins = np.zeros(rows * BINS, np.int64)
        self._first = np.arange(rows) * BINS
        self._classes = np.zeros(classes, np.int64)
        self._features = KllBank(rows - 1, FEATURE_K, rng)
        self._answers = KllBank(2, ANSWER_K, rng)  # latency, confidence
        self.restart(start_s)

    def restart(self, start_s: float) -> None:
        """Forget everything, as at `start_s`."""
        self.start_s = start_s
        self.samples = 0
        self.engine_errors = 0
        self._broken = dict.fromkeys(RULES, 0)
        self._latency = np.zeros(len(LATENCY_EDGES_US) + 1, np.int64)
        for counts in (self._bins, self._classes):
            counts.fill(0)
        for bank in (self._features, self._answers):
            bank.clear()

    def add(
        self,
        bins: IntArray,
        classes: IntArray,
        latency_us: float | npt.NDArray[np.floating],
        values: FloatArray,
    ) -> None:
        """Count n answered samples.

        Args:
            bins: (n, rows) of 0 to 15, as `Binner.bins` gives them.
            classes: (n,) indices of the answers.
            latency_us: of one sample; (n,), or one number for all.
            values: (n, rows) what the bins were made of: features, and the confidence last.
        """
        count = len(bins)
        self.samples += count
        flat = (bins + self._first).ravel()
        self._bins += np.bincount(flat, minlength=len(self._bins))
        self._classes += np.bincount(classes, minlength=len(self._classes))
        answers = np.empty((count, 2), np.float32)
        answers[:, 0] = latency_us
        answers[:, 1] = values[:, -1]
        places = np.searchsorted(_EDGES, answers[:, 0], side="right")
        self._latency += np.bincount(places, minlength=len(self._latency))
        self._answers.add(answers)
        self._features.add(values[:, :-1])

    def violation(self, rule: str = OTHER_RULE, samples: int = 1) -> None:
        """Count samples that the contract refused; a rule that is not in `RULES` is `other`."""
        self._broken[rule if rule in self._broken else OTHER_RULE] += samples

    def close(
        self,
        bundle_id: str,
        end_s: float,
        verdict: Verdict,
        sketch_bytes: int = FEATURE_SKETCH_BYTES,
    ) -> Report:
        """The window as a report, and a new window from `end_s` on.

        Features in alarm get their sketches first, then those with the most evidence, until
        `sketch_bytes` are used; the others are counted in `lost`. Who sends it, and of what
        machine, is for the sender to fill in.
        """
        latency, confidence = map(_bytes_of, self._answers.sketches())
        chosen = self._chosen(verdict, sketch_bytes)
        sketches = [*chosen, confidence]
        bins = self._bins.reshape(self._rows, BINS).tolist()
        watched = tuple(
            FeatureWindow(
                name=name, bins=tuple(bins[row]), evidence=evidence, alarm=alarm, sketch=sketch
            )
            for row, (name, evidence, alarm, sketch) in enumerate(
                zip(
                    verdict.names,
                    verdict.evidence.tolist(),
                    verdict.raised.tolist(),
                    sketches,
                    strict=True,
                )
            )
        )
        classes = tuple(self._classes.tolist())
        report = Report(
            boot_id="",
            seq=0,
            bundle_id=bundle_id,
            start_s=self.start_s,
            end_s=end_s,
            samples=self.samples,
            violations=sum(self._broken.values()),
            latency_us=tuple(self._latency.tolist()),
            confidence=watched[-1],
            classes=classes,
            class_drift=FeatureWindow(
                name="classes",
                bins=classes,
                evidence=verdict.class_evidence,
                alarm=verdict.class_raised,
            ),
            features=watched[:-1],
            engine_errors=self.engine_errors,
            broken_rules=BrokenRules(**self._broken),
            latency_sketch=latency,
            lost=Lost(sketches=chosen.count(b"") if self.samples else 0),
        )
        self.restart(end_s)
        return report

    def _chosen(self, verdict: Verdict, room: int) -> list[bytes]:
        """Sketches of the features, empty where there is no room."""
        chosen = [b""] * (self._rows - 1)
        order = np.lexsort((-verdict.evidence[:-1], ~verdict.raised[:-1]))
        sketches = self._features.sketches()
        for row in order.tolist():
            data = _bytes_of(sketches[row])
            if len(data) > room:
                break
            chosen[row] = data
            room -= len(data)
        return chosen


def _bytes_of(sketch: KllSketch) -> bytes:
    return encode_sketch(sketch) if sketch.n else b""


def _inside(index: int, share: float) -> float:
    """Time at `share` of the way through count `index`."""
    if index == 0:
        return LATENCY_EDGES_US[0]
    if index == len(LATENCY_EDGES_US):
        return LATENCY_EDGES_US[-1]
    low, high = math.log(LATENCY_EDGES_US[index - 1]), math.log(LATENCY_EDGES_US[index])
    return math.exp(low + share * (high - low))
