"""Merging reports: the same whatever the order and grouping, and bounded for ever."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.runtime.errors import ProtocolError
from edgekiln.runtime.kll import capacity, rank_error, sketch_of
from edgekiln.runtime.kll_bytes import decode_sketch, encode_sketch
from edgekiln.runtime.protocol import (
    BrokenRules,
    FeatureWindow,
    Lost,
    Report,
    SystemFigures,
    encode,
)
from edgekiln.runtime.rollup import merge, thinned


def _rng() -> np.random.Generator:
    return np.random.default_rng(3)


def _sketch(values: np.ndarray, k: int = 16) -> bytes:
    return encode_sketch(sketch_of(values, k, _rng())) if len(values) else b""


def _window(name: str, bins: int, rng: np.random.Generator) -> FeatureWindow:
    return FeatureWindow(
        name=name,
        bins=_counts(bins, rng),
        evidence=float(rng.uniform(0, 1e9)),
        alarm=bool(rng.random() < 0.5),
        sketch=_sketch(rng.normal(size=rng.integers(0, 40))),
    )


def _counts(size: int, rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(0, 10**6, size).tolist())


def _any_report(seed: int) -> Report:
    rng = np.random.default_rng(seed)
    seq, samples, violations, dropped, errors, shape, out, lost = _counts(8, rng)
    start_s, end_s, load, warm = rng.uniform(0, 1e9, 4).tolist()
    told = rng.random(3) < 0.5
    return Report(
        boot_id="pq"[seed % 2],
        seq=seq,
        bundle_id="b1",
        start_s=start_s,
        end_s=end_s,
        samples=samples,
        violations=violations,
        latency_us=_counts(4, rng),
        confidence=_window("confidence", 4, rng),
        classes=_counts(2, rng),
        class_drift=_window("classes", 2, rng),
        features=(_window("x", 4, rng), _window("y", 4, rng)),
        rss_bytes=samples,
        dropped=dropped,
        merged=1 + seq % 9,
        engine_errors=errors,
        broken_rules=BrokenRules(shape=shape, range=out),
        latency_sketch=_sketch(rng.lognormal(size=rng.integers(0, 40))),
        system=SystemFigures(
            cpu_s=seq / 1024,  # sums of these are exact
            wall_s=out / 1024,
            load=load if told[0] else None,
            temperature_c=warm if told[1] else None,
            throttled=bool(seq % 2) if told[2] else None,
            disk_free_bytes=shape,
        ),
        lost=Lost(sketches=lost, captures=shape, samples=out, messages=seq),
    )


def _counted(report: Report) -> Report:
    """All but the sketches' items, which depend on the coins; their n and ends do not."""
    windows = (report.confidence, report.class_drift, *report.features)
    told = [_ends(window.sketch) for window in windows]
    confidence, class_drift, *features = (
        msgspec.structs.replace(window, sketch=ends)
        for window, ends in zip(windows, told, strict=True)
    )
    return msgspec.structs.replace(
        report,
        confidence=confidence,
        class_drift=class_drift,
        features=tuple(features),
        latency_sketch=_ends(report.latency_sketch),
    )


def _ends(data: bytes) -> bytes:
    if not data:
        return b""
    sketch = decode_sketch(data)
    return f"{sketch.n} {sketch.minimum} {sketch.maximum}".encode()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_merge_counts_the_same_in_any_order_and_grouping(seed: int) -> None:
    a, b, c = (_any_report(seed + at) for at in range(3))
    rng = _rng()
    assert merge((a, b), _rng()) == merge((b, a), _rng())
    once = _counted(merge((a, b, c), rng))
    assert once == _counted(merge((merge((a, b), rng), c), rng))
    assert once == _counted(merge((a, merge((c, b), rng)), rng))
    assert once.samples == a.samples + b.samples + c.samples
    assert once.features[1].bins == tuple(
        np.sum([report.features[1].bins for report in (a, b, c)], axis=0)
    )
    assert once.merged == a.merged + b.merged + c.merged
    known = [r.system.load for r in (a, b, c) if r.system.load is not None]
    assert once.system.load == (max(known) if known else None)


def _report(values: np.ndarray, start_s: float) -> Report:
    sketch = encode_sketch(sketch_of(values, 64, _rng()))
    bins = tuple(np.histogram(values, bins=16, range=(-4, 4))[0].tolist())
    window = FeatureWindow(name="x", bins=bins, evidence=0.0, alarm=False, sketch=sketch)
    return Report(
        boot_id="b",
        seq=int(start_s),
        bundle_id="b1",
        start_s=start_s,
        end_s=start_s + 60,
        samples=len(values),
        violations=0,
        latency_us=(len(values),),
        confidence=window,
        classes=(len(values),),
        class_drift=window,
        features=(window,) * 3,
        latency_sketch=sketch,
    )


@pytest.mark.slow
def test_ten_million_samples_of_merges_do_not_grow_and_keep_their_ranks() -> None:
    rng = np.random.default_rng(11)
    windows = [_report(rng.normal(size=10_000).astype(np.float32), 60.0 * at) for at in range(20)]
    total, largest = windows[0], 0
    for at in range(1000):
        later = msgspec.structs.replace(windows[at % 20], seq=at + 1, end_s=60.0 * at + 120)
        total = merge((total, later), rng)
        largest = max(largest, len(encode(total)))
    assert total.samples == 10_010_000
    # Six sketches; a level more for each doubling, of eight items: log n, and no more.
    levels = len(decode_sketch(total.latency_sketch).levels)
    assert levels <= math.log2(total.samples / 64) + 2
    assert largest <= 6 * (32 + 4 * levels + 4 * capacity(64, levels)) + 1000
    sketch = decode_sketch(total.features[0].sketch)
    assert sketch.n == total.samples
    exact_ranks = {-1.645: 0.05, 0.0: 0.5, 1.2816: 0.9}
    for told, rank in zip(sketch.ranks(list(exact_ranks)), exact_ranks.values(), strict=True):
        assert abs(told - rank) <= rank_error(64) + 0.005


def test_thinned_report_keeps_its_counts_and_says_what_it_lost() -> None:
    report = _report(np.arange(10.0), 0.0)
    bare = thinned(report)
    assert [window.sketch for window in bare.features] == [b""] * 3
    assert bare.features[0].bins == report.features[0].bins
    assert bare.confidence == report.confidence
    assert bare.lost == Lost(sketches=3)
    assert thinned(bare) == bare


def test_merge_refuses_when_reports_do_not_belong_together() -> None:
    report = _report(np.arange(10.0), 0.0)
    renamed = msgspec.structs.replace(report.features[0], name="z")
    changed = (
        {"bundle_id": "b2"},
        {"features": report.features[1:]},
        {"features": (renamed, *report.features[1:])},
        {"latency_us": (1, 2)},
    )
    for change in changed:
        with pytest.raises(ProtocolError, match="cannot be merged"):
            merge((report, msgspec.structs.replace(report, **change)), _rng())
    broken = msgspec.structs.replace(report, latency_sketch=b"\x05\x01")
    with pytest.raises(ProtocolError, match="cannot be read"):
        merge((report, broken), _rng())
