"""What telemetry costs a device: a window, a report, its sketches, the outbox.

Times are CPU of one thread, medians; DataSketches does the same work in the same run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median

import datasketches
import msgspec
import numpy as np

from edgekiln.runtime.capture import CaptureTable, CaptureTap, Seen
from edgekiln.runtime.kll import KllSketch, merge_sketches, rank_error, sketch_of
from edgekiln.runtime.kll_bytes import decode_sketch, encode_sketch
from edgekiln.runtime.outbox import Outbox
from edgekiln.runtime.protocol import CaptureReason, Report, encode
from edgekiln.runtime.rollup import merge
from edgekiln.runtime.telemetry import ANSWER_K, FEATURE_K, Verdict, Window

from .figure import QUICK, Figure, Scale

FEATURES, CLASSES = 44, 12
BATCHES = (1, 16, 64, 256)
Theirs = datasketches.kll_floats_sketch


def run(scale: Scale) -> Iterator[Figure]:
    """Every figure; ratios compare both sides in this run."""
    rng = np.random.default_rng(scale.seed)
    yield from _window(scale, rng)
    yield from _sketches(scale, rng)
    yield from _reports(scale, rng)
    yield from _outbox(scale, rng)


def _cpu_us(call: Callable[[], object], repeats: int) -> float:
    """Median CPU of one call, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.thread_time_ns()
        call()
        times.append(time.thread_time_ns() - start)
    return median(times) / 1e3


class Load:
    """A window, and batches of answered samples for it."""

    def __init__(self, rng: np.random.Generator, features: int = FEATURES) -> None:
        self.rows = features + 1
        self.window = Window(self.rows, CLASSES, 0.0, rng)
        self.bins = rng.integers(0, 16, (1024, self.rows))
        self.classes = rng.integers(0, CLASSES, 1024)
        self.values = rng.normal(size=(1024, self.rows)).astype(np.float32)
        self.latencies = rng.lognormal(5, 0.2, 1024).astype(np.float32)

    def add(self, samples: int, batch: int) -> None:
        """Count so many samples."""
        for at in range(0, samples, batch):
            part = slice(at % 1024, at % 1024 + batch)
            self.window.add(
                self.bins[part], self.classes[part], self.latencies[part], self.values[part]
            )

    def close(self, end_s: float = 1.0) -> Report:
        """The window as a report."""
        names = [f"audio[{row},0]" for row in range(self.rows)]
        quiet = Verdict(names, np.zeros(self.rows), np.zeros(self.rows, np.bool_), 0.0, False)
        return self.window.close("b" * 64, end_s, quiet)


def _window(scale: Scale, rng: np.random.Generator) -> Iterator[Figure]:
    load, samples = Load(rng), 4096
    for batch in BATCHES:
        spent = _cpu_us(lambda batch=batch: load.add(samples, batch), scale.repeats)
        yield Figure(f"window: one sample, batches of {batch}", spent / samples, "µs")
        if batch == 64:
            ours_us = spent
    theirs_us = _cpu_us(lambda: _theirs_of(load, samples), scale.repeats)
    yield Figure("DataSketches alone, batches of 64", theirs_us / samples, "µs")
    yield Figure("window over DataSketches alone", ours_us / theirs_us, "ratio", "T3", 1.0)

    def closed() -> None:
        load.add(1024, 64)
        load.close()

    filled = _cpu_us(lambda: load.add(1024, 64), scale.repeats)
    yield Figure("window: closing", _cpu_us(closed, scale.repeats) - filled, "µs")
    table = CaptureTable(reasons=tuple(CaptureReason), redact="none")
    tap = CaptureTap(table, lambda candidate: None, time.monotonic, rng)
    classes = tuple(map(str, range(CLASSES)))
    confident = np.full(64, 0.9, np.float32)
    answered = Seen("b", classes, load.values[:64], load.classes[:64], confident)
    spent = _cpu_us(lambda: [tap.answered(answered) for _ in range(100)], scale.repeats)
    yield Figure("capture: looking at one sample, batches of 64", spent / 6400, "µs")


def _theirs_of(load: Load, samples: int) -> None:
    """The same sketches by DataSketches: features at k 64, latency and confidence at k 200."""
    sketches = [Theirs(FEATURE_K) for _ in range(FEATURES)]
    answers = Theirs(ANSWER_K), Theirs(ANSWER_K)
    for at in range(0, samples, 64):
        part = slice(at % 1024, at % 1024 + 64)
        columns = np.ascontiguousarray(load.values[part].T)
        for sketch, column in zip(sketches, columns[:-1], strict=True):
            sketch.update(column)
        answers[0].update(load.latencies[part])
        answers[1].update(columns[-1])


def _sketches(scale: Scale, rng: np.random.Generator) -> Iterator[Figure]:
    count, runs = 100_000, max(3, scale.repeats // 3)
    for k in (FEATURE_K, ANSWER_K):
        ours, theirs = [], []
        for _ in range(runs):
            values = rng.normal(size=count).astype(np.float32)
            ours.append(_worst(sketch_of(values, k, rng), values))
            other = Theirs(k)
            other.update(values)
            theirs.append(_worst(decode_sketch(other.serialize()), values))
        yield Figure(f"k {k}: worst rank error, mean of {runs}", 100 * mean(ours), "%", "exact")
        yield Figure(f"k {k}: the same, DataSketches", 100 * mean(theirs), "%", "exact")
        yield Figure(f"k {k}: error in 99 of 100", 100 * rank_error(k), "%", "exact")
    parts = [
        encode_sketch(sketch_of(rng.normal(size=600), ANSWER_K, rng)) for _ in range(scale.samples)
    ]
    ours_us = _cpu_us(lambda: merge_sketches([decode_sketch(part) for part in parts], rng), 5)
    theirs_us = _cpu_us(lambda: _merged_by_theirs(parts), 5)
    yield Figure("sketches read and merged", 1e6 * len(parts) / ours_us, "1/s")
    yield Figure("the same, DataSketches", 1e6 * len(parts) / theirs_us, "1/s")


def _worst(sketch: KllSketch, values: np.ndarray) -> float:
    ordered = np.sort(values)
    asked = ordered[:: len(ordered) // 1000]
    exact = np.searchsorted(ordered, asked, side="right") / len(ordered)
    return float(np.abs(np.array(sketch.ranks(asked.tolist())) - exact).max())


def _merged_by_theirs(parts: list[bytes]) -> None:
    whole = Theirs(ANSWER_K)
    for part in parts:
        whole.merge(Theirs.deserialize(part))


def _report(rng: np.random.Generator, features: int, samples: int) -> Report:
    load = Load(rng, features)
    load.add(samples, min(samples, 64))
    return load.close()


def _reports(scale: Scale, rng: np.random.Generator) -> Iterator[Figure]:
    for features in (4, FEATURES):
        for samples in (64, 4096):
            report = _report(rng, features, samples)
            name = f"report: {features} features, {samples} samples"
            yield Figure(name, len(encode(report)), "bytes", "exact")
    hour = [_report(rng, FEATURES, 1024) for _ in range(60)]
    spent = _cpu_us(lambda: merge(hour, rng), max(3, scale.repeats // 10))
    yield Figure("reports merged, 60 at a time", 60e6 / spent, "1/s")
    yield Figure("report of 60 merged", len(encode(merge(hour, rng))), "bytes", "exact")


def _outbox(scale: Scale, rng: np.random.Generator) -> Iterator[Figure]:
    report = _report(rng, FEATURES, 1024)
    count = scale.samples // 4
    with tempfile.TemporaryDirectory() as folder:
        box = Outbox(Path(folder) / "outbox", rng=rng)

        def numbered(seq: int, start_s: float) -> Report:
            return msgspec.structs.replace(report, boot_id="b", seq=seq, start_s=start_s)

        started = time.perf_counter()
        for seq in range(count):
            box.put_report(numbered(seq, 60.0 * seq))
        yield Figure("outbox: reports put", count / (time.perf_counter() - started), "1/s")
        started = time.perf_counter()
        while waiting := box.pending(0, 32):
            box.mark_sent([message.id for message in waiting])
            for message in waiting:
                box.ack(message.boot_id, message.seq)
        yield Figure("outbox: marked, acknowledged", count / (time.perf_counter() - started), "1/s")
        box.close()
        days = 3 if scale == QUICK else 30
        box = Outbox(Path(folder) / "away", max_messages=200, max_bytes=2 << 20, rng=rng)
        for window in range(days * 48):
            box.put_report(numbered(window, 1800.0 * window))
        yield Figure(f"outbox: {days} days away, bytes kept", box.size_bytes, "bytes", "exact")
        yield Figure(f"outbox: {days} days away, reports lost", box.dropped, "", "exact", 0.0)
        box.close()
