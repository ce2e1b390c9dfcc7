"""Drift detectors on the same streams: ours, windows with PSI and KS, Page-Hinkley and ADWIN.

Streams are normal values, each with a reference of 5,000 of its own, and change after 1,000
observations. **Guaranteed** is our detector as one of a device with 46 (44 features, confidence,
classes), which is the device's guarantee, or **alone**. So that delays can be compared, every
detector is also set to raise its first alarm after 20,000 observations in the mean: its threshold
(ADWIN's delta, by bisection) is what 37 % of streams without a change stay under for so long, on
streams of other seeds; Page-Hinkley's delta is then the one that finds half a standard deviation
soonest. **Default** is as the library comes; of windows, of 200, PSI over 0.2 and KS under 5 %.

A delay counts from the change to the first alarm, of streams without an alarm before it; medians
and 90 % are of all of these, infinite where fewer found it within 3,000 observations.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.drift import RUN_LENGTH, DriftDetector
from edgekiln.runtime.reference import BINS, build_reference

from . import drift_mcu, drift_peers, drift_series
from .figure import FULL, Figure, Scale

Array = npt.NDArray[np.float32]
Firsts = npt.NDArray[np.int64]
First = Callable[[Array, int], Firsts]  # (values, after) -> first alarms at or behind `after`

ROWS = 46  # detectors of a device
SAMPLES = 5000
BEFORE, BEHIND = 1000, 3000
CHANGES = {
    "+0.25 sd": (0.25, 1.0),
    "+0.5 sd": (0.5, 1.0),
    "+1 sd": (1.0, 1.0),
    "sd x1.5": (0.0, 1.5),
    "+0.03 sd, immaterial": (0.03, 1.0),
}
BATCH = 64


@dataclass(frozen=True, slots=True)
class Contender:
    """A detector with a setting; `share` of the streams is enough for what is slow."""

    name: str
    first: First
    share: float = 1.0


def run(scale: Scale) -> Iterator[Figure]:
    """False alarms, delays, cost, C on emulated cores, and real series."""
    streams = 1000 if scale == FULL else 100
    yield Figure(
        "peers: figures that differ from scipy's and river's", _wrong(scale), "of 40", "exact", 0
    )
    rng = np.random.default_rng(scale.seed)
    reference = rng.normal(size=(SAMPLES, streams)).astype(np.float32)
    contenders = _contenders(reference, scale)
    steady = _normal(rng, RUN_LENGTH, streams)
    for contender in contenders:
        found = contender.first(_part(steady, contender.share), 0)
        yield from _false_alarms(contender.name, found)
    yield from _device(scale)
    for change, (shift, spread) in CHANGES.items():
        values = _normal(rng, BEFORE + BEHIND, streams)
        values[BEFORE:] = values[BEFORE:] * np.float32(spread) + np.float32(shift)
        for contender in contenders:
            yield from _delays(f"{change}: {contender.name}", contender, values)
    yield from _sizes(scale)
    yield from _class_mix(scale)
    yield from _costs(scale)
    yield from drift_mcu.figures(scale.seed)
    yield from drift_series.figures()


def _wrong(scale: Scale) -> int:
    return drift_peers.disagreements(scale.seed)


def _normal(rng: np.random.Generator, observations: int, streams: int) -> Array:
    return rng.standard_normal((observations, streams), np.float32)


def _part(values: Array, share: float) -> Array:
    return values[:, : max(1, int(values.shape[1] * share))]


def _contenders(reference: Array, scale: Scale) -> list[Contender]:
    """Every detector with each of its settings, tuned on streams of other seeds."""
    rng = np.random.default_rng(scale.seed + 1000)
    others = 400 if scale == FULL else 60
    apart = _normal(rng, SAMPLES, others)
    steady = _normal(rng, RUN_LENGTH, others)
    samples = len(reference)
    critical = 1.358 * np.sqrt((samples + drift_peers.WINDOW) / (samples * drift_peers.WINDOW))
    makes = {
        "ours": (drift_peers.e_detector(reference, 1), drift_peers.e_detector(apart, 2)),
        "PSI": (drift_peers.psi(reference), drift_peers.psi(apart)),
        "KS": (drift_peers.ks(reference), drift_peers.ks(apart)),
        "Page-Hinkley": (drift_peers.page_hinkley(drift_peers.DELTA),) * 2,
    }
    tuned = {
        name: (path, float(np.quantile(other(steady).max(axis=0), np.exp(-1))))
        for name, (path, other) in makes.items()
    }
    ours = makes["ours"][0]
    delta = _adwin_delta(_part(steady, 0.25))
    return [
        Contender("ours, guaranteed for 46", _by_threshold(ours, RUN_LENGTH * ROWS)),
        Contender("ours, guaranteed alone", _by_threshold(ours, RUN_LENGTH)),
        *(
            Contender(f"{name}, tuned", _by_threshold(path, threshold))
            for name, (path, threshold) in tuned.items()
        ),
        Contender("ADWIN, tuned", _by_adwin(delta), share=0.2),
        Contender("PSI, default", _by_threshold(makes["PSI"][0], 0.2)),
        Contender("KS, default", _by_threshold(makes["KS"][0], float(critical))),
        Contender("Page-Hinkley, default", _by_threshold(drift_peers.page_hinkley(), 50.0)),
        Contender("ADWIN, default", _by_adwin(0.002), share=0.2),
    ]


def _by_threshold(path: drift_peers.Path, threshold: float) -> First:
    return lambda values, after: drift_peers.first_alarms(path(values), threshold, after)


def _by_adwin(delta: float) -> First:
    return lambda values, after: drift_peers.adwin_first(values, delta, after)


def _adwin_delta(steady: Array) -> float:
    """The delta with which 37 % of the streams raise no alarm."""
    low, high = -6.0, 0.0  # of its logarithm to base 10
    for _ in range(6):
        middle = (low + high) / 2
        quiet = (drift_peers.adwin_first(steady, 10**middle) == 0).mean()
        low, high = (middle, high) if quiet > np.exp(-1) else (low, middle)
    return float(10 ** ((low + high) / 2))


def _false_alarms(name: str, first: Firsts) -> Iterator[Figure]:
    """How many streams of how many alarmed, and the mean run length that this speaks for."""
    from scipy.stats import binomtest

    alarms, streams = int((first > 0).sum()), len(first)
    upper = binomtest(alarms, streams).proportion_ci(0.95, method="exact").high
    watched = int(np.where(first > 0, first, RUN_LENGTH).sum())
    yield Figure(f"no change: {name}: alarms within 20,000", alarms, f"of {streams}", "exact")
    yield Figure(f"no change: {name}: at most, with 95 %", 100 * upper, "%", "exact")
    if alarms:
        yield Figure(f"no change: {name}: mean run", watched / alarms, "samples", "exact")


def _device(scale: Scale) -> Iterator[Figure]:
    """1,000 devices with 46 detectors, independent of each other, which is when most err."""
    devices = 1000 if scale == FULL else 20
    alarmed = np.zeros(devices, np.bool_)
    for row in range(ROWS):
        rng = np.random.default_rng((scale.seed, row))
        sample = rng.standard_normal((SAMPLES, devices), np.float32)
        alarmed |= drift_peers.raised(sample, rng, RUN_LENGTH, RUN_LENGTH * ROWS)
    found = np.where(alarmed, RUN_LENGTH, 0)
    yield from _false_alarms("a device of 46 rows", found)


def _delays(name: str, contender: Contender, values: Array) -> Iterator[Figure]:
    part = _part(values, contender.share)
    early = contender.first(part[:BEFORE], 0) > 0
    behind = contender.first(part, BEFORE)[~early]
    delays = np.where(behind > 0, behind - BEFORE, np.inf)
    found = np.isfinite(delays)
    yield Figure(f"{name}: found", 100 * found.mean(), f"% of {len(delays)}", "exact")
    if found.mean() >= 0.5:
        yield Figure(
            f"{name}: median", np.quantile(delays, 0.5, method="higher"), "samples", "exact"
        )
        yield Figure(f"{name}: mean of those", delays[found].mean(), "samples", "exact")
    if found.mean() >= 0.9:
        yield Figure(f"{name}: 90 %", np.quantile(delays, 0.9, method="higher"), "samples", "exact")


def _sizes(scale: Scale) -> Iterator[Figure]:
    """Ours with references of other sizes, at +0.5 sd."""
    streams = 300 if scale == FULL else 30
    for samples in (300, 1000, 50_000):
        rng = np.random.default_rng((scale.seed, samples))
        path = drift_peers.e_detector(_normal(rng, samples, streams), 3)
        values = _normal(rng, BEFORE + BEHIND, streams)
        values[BEFORE:] += np.float32(0.5)
        ours = Contender("", _by_threshold(path, RUN_LENGTH * ROWS))
        yield from _delays(f"+0.5 sd, a reference of {samples:,}: ours for 46", ours, values)


def _class_mix(scale: Scale) -> Iterator[Figure]:
    """Ten classes, one of them three times as frequent as it was; PSI on windows of 200."""
    streams = 300 if scale == FULL else 30
    rng = np.random.default_rng(scale.seed + 7)
    was = np.full(10, 0.1)
    now = np.array([0.3, *(0.7 / 9,) * 9])
    ours, theirs = np.full(streams, np.inf), np.full(streams, np.inf)
    contract = Contract(TensorSpec("x", (1,)), tuple("abcdefghij"))
    for stream in range(streams):
        training = rng.choice(10, SAMPLES, p=was)
        reference = build_reference(
            contract, rng.random((9, 1), np.float32), rng.random(SAMPLES, np.float32), training
        )
        detector = DriftDetector(reference, RUN_LENGTH * ROWS / 3)
        answers = np.concatenate((rng.choice(10, BEFORE, p=was), rng.choice(10, BEHIND, p=now)))
        bins = rng.integers(0, BINS, (len(answers), 2))
        for at in range(0, len(answers), 10):
            detector.observe(bins[at : at + 10], answers[at : at + 10])
            if detector.take_raised()[1] and at >= BEFORE:
                ours[stream] = at + 10 - BEFORE
                break
        shares = np.bincount(training, minlength=10) / SAMPLES
        for end in range(BEFORE + drift_peers.WINDOW, len(answers) + 1, drift_peers.WINDOW):
            counts = np.bincount(answers[end - drift_peers.WINDOW : end], minlength=10)
            seen = np.maximum(counts / drift_peers.WINDOW, 1e-4)
            if ((seen - shares) * np.log(seen / shares)).sum() >= 0.2:
                theirs[stream] = end - BEFORE
                break
    for name, delays in (("ours, guaranteed for 46", ours), ("PSI, default", theirs)):
        found = np.isfinite(delays)
        yield Figure(
            f"a class of 10 % at 30 %: {name}: found",
            100 * found.mean(),
            f"% of {streams}",
            "exact",
        )
        yield Figure(
            f"a class of 10 % at 30 %: {name}: median", np.median(delays), "samples", "exact"
        )


def _costs(scale: Scale) -> Iterator[Figure]:
    """Time of an observation of 44 features, confidence and class, and the state of each."""
    from river.drift import ADWIN, PageHinkley

    rng = np.random.default_rng(scale.seed)
    contract = Contract(TensorSpec("x", (42,)), tuple("abcdefghij"))
    reference = build_reference(
        contract,
        rng.random((SAMPLES, 42), np.float32),
        rng.random(SAMPLES, np.float32),
        rng.integers(0, 10, SAMPLES),
    )
    detector = DriftDetector(reference)
    rows = len(detector.names)
    drawn = 64 * BATCH * scale.repeats
    bins, answers = rng.integers(0, BINS, (drawn, rows)), rng.integers(0, 10, drawn)
    batches = iter(range(0, drawn, BATCH))
    values = rng.normal(size=4 * BATCH).tolist()
    peers = {"Page-Hinkley": PageHinkley(), "ADWIN": ADWIN()}

    def observe() -> None:
        for _ in range(16):
            start = next(batches)
            detector.observe(bins[start : start + BATCH], answers[start : start + BATCH])

    def update(name: str) -> None:
        for value in values:
            peers[name].update(value)

    times: dict[str, list[float]] = {"ours": [], **{name: [] for name in peers}}
    for _ in range(3 * scale.repeats):  # in turn, so that all have the same machine
        times["ours"].append(_seconds(observe) / (16 * BATCH))
        for name in peers:
            times[name].append(_seconds(lambda name=name: update(name)) / len(values) * rows)
    ours_s = min(times["ours"])
    yield Figure(f"observe, {BATCH} at a time, {rows} rows: least", 1e6 * ours_s, "us/sample")
    yield Figure("the same: median", 1e6 * median(times["ours"]), "us/sample")
    yield Figure("state: ours", len(detector.to_bytes()) / (rows + 1), "B/row", "exact")
    for name, peer in peers.items():
        theirs_s = min(times[name])
        yield Figure(f"river's {name}, a row at a time: least", 1e6 * theirs_s, "us/sample")
        yield Figure(f"ours over river's {name}", ours_s / theirs_s, "x", "T3", 1)
        yield Figure(f"state: river's {name}, pickled", len(pickle.dumps(peer)), "B/row", "exact")
    window = drift_peers.WINDOW
    yield Figure("state: PSI, counts of its 10 bins in 16 bits", 2 * 10, "B/row", "exact")
    yield Figure(
        "state: KS, its window and the reference", 4 * (window + SAMPLES), "B/row", "exact"
    )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
