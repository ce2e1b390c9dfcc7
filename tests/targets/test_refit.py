"""Refits from the field: a planted device comes back, and no more is claimed than bins can say."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.runtime.telemetry import LATENCY_EDGES_US, LatencyHistogram
from edgekiln.targets import (
    CostTable,
    Evidence,
    LayerWork,
    MeasurementError,
    NoCostTableError,
    OpCost,
    Target,
    Tier,
    UnsupportedOperatorError,
    Workload,
    estimate_latency,
    load_target,
    profile_text,
    read_profile,
)
from edgekiln.targets.estimate import strongest_table
from edgekiln.targets.field import FieldLatency, merge
from edgekiln.targets.refit import refit

EDGES_MS = tuple(edge / 1e3 for edge in LATENCY_EDGES_US)
OPS = {
    "conv2d": OpCost(2.0, 0.5, 0.1),
    "depthwise_conv2d": OpCost(2.0, 1.0, 0.2),
    "fully_connected": OpCost(1.0, 0.4, 0.4),
    "softmax": OpCost(1.0, 0.0, 3.0),
}
TABLE = CostTable(OPS, "litert", "int8", Tier.T1, "published", 0.8, 1.25, per_run_us=20.0)
TARGET = dataclasses.replace(
    load_target("raspberry-pi-4"),
    costs=(TABLE,),
    evidence=(Evidence("published", Tier.T1, "somewhere"),),
)


def work(rng: np.random.Generator) -> Workload:
    """A network whose operators have shares of their own."""
    macs = rng.lognormal(13, 1.2, 3).astype(int)
    layers = [
        LayerWork(f"l{i}", op, int(n), int(n) // 50, int(n) // 100)
        for i, (op, n) in enumerate(zip(list(OPS)[:3], macs, strict=True))
    ]
    return Workload((*layers, LayerWork("end", "softmax", 0, 40, 10)), "int8")


def device(**factors: float) -> Target:
    """The target as it truly is: some operators take that many times what the table says."""
    ops = {op: times(cost, factors.get(op, 1.0)) for op, cost in OPS.items()}
    return dataclasses.replace(TARGET, costs=(dataclasses.replace(TABLE, ops=ops),))


def answering(more_us: float) -> Target:
    """The target whose runtime takes so much more around each inference."""
    table = dataclasses.replace(TABLE, per_run_us=TABLE.per_run_us + more_us)
    return dataclasses.replace(TARGET, costs=(table,))


def times(cost: OpCost, factor: float) -> OpCost:
    return OpCost(*(factor * n for n in (cost.per_call_us, cost.ns_per_mac, cost.ns_per_byte)))


def seen(
    truth: Target, workload: Workload, name: str, rng: np.random.Generator, samples: int = 400
) -> FieldLatency:
    """What three devices report: the true time, with a tenth of jitter, in the wire's bins."""
    histogram = LatencyHistogram()
    true_us = 1e3 * estimate_latency(truth, workload, "litert").value
    for factor in rng.lognormal(0, 0.1, samples):
        histogram.add(true_us * factor)
    return FieldLatency(name, "litert", workload, EDGES_MS, histogram.counts, devices=3)


def fleet(truth: Target, count: int, seed: int) -> list[FieldLatency]:
    rng = np.random.default_rng(seed)
    return [seen(truth, work(rng), f"bundle-{index}", rng) for index in range(count)]


def test_planted_device_comes_back_when_its_convolution_takes_twice_the_profile() -> None:
    truth = device(conv2d=2.0)
    table = refit(TARGET, fleet(truth, 8, seed=0)).target.costs[0]
    conv, depthwise, dense = (table.ops[op].ns_per_mac / OPS[op].ns_per_mac for op in list(OPS)[:3])
    assert 1.6 < conv < 2.3
    assert 0.75 < depthwise < 1.35
    assert 0.75 < dense < 1.35


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["twice the convolution", "longer answers"])
def test_interval_covers_what_was_held_out(truth: str) -> None:
    true = device(conv2d=2.0) if truth == "twice the convolution" else answering(300.0)
    rng, inside, errors = np.random.default_rng(99), [], []
    for seed in range(8):
        done = refit(TARGET, fleet(true, 9, seed + 100)).target
        for new in (work(rng) for _ in range(20)):
            actual = estimate_latency(true, new, "litert").value
            told = estimate_latency(done, new, "litert")
            inside.append(told.low <= actual <= told.high)
            errors.append(abs(told.value / actual - 1))
    assert np.mean(inside) >= 0.8
    assert np.median(errors) < 0.12


@pytest.mark.parametrize("count", [2, 3, 8])
def test_longer_answers_are_told_from_a_slower_device(count: int) -> None:
    """Inferences as the profile says, and 5 ms around each: a larger model must not pay them again.

    Scaled alike, the larger one would be told several times too slow.
    """
    truth = answering(5_000.0)
    fields = fleet(truth, count, seed=14)
    done = refit(TARGET, fields).target
    assert 3_500 < done.costs[0].per_run_us < 7_000
    layers = tuple(layer for field in fields for layer in field.workload.layers) * 20
    larger = Workload(layers, "int8")
    told, actual = (estimate_latency(t, larger, "litert").value for t in (done, truth))
    assert 1 / 2.2 < told / actual < 2.2


def test_one_bundle_alone_is_said_to_tell_little() -> None:
    done = refit(TARGET, fleet(TARGET, 1, seed=15))
    assert len(done.flags) == 1
    assert "is the only one seen there: a slower device and longer answers" in done.flags[0]


def test_flags_name_the_bundles_that_the_old_interval_missed_and_no_others() -> None:
    truth = device(conv2d=2.0)
    fields = fleet(truth, 8, seed=1)
    flags = refit(TARGET, fields).flags
    assert flags
    half = math.sqrt(EDGES_MS[1] / EDGES_MS[0])
    ratios = {
        f.bundle_id: estimate_latency(truth, f.workload, "litert").value
        / estimate_latency(TARGET, f.workload, "litert").value
        for f in fields
    }
    flagged = {flag.split()[1] for flag in flags}
    surely = {name for name, ratio in ratios.items() if ratio > 1.25 * half**2}
    maybe = {name for name, ratio in ratios.items() if ratio > 1.25}
    assert surely <= flagged <= maybe
    assert "above its interval of" in flags[0]
    assert "times the estimate of" in flags[0]


def test_nothing_is_flagged_and_little_is_moved_when_the_profile_was_right() -> None:
    done = refit(TARGET, fleet(TARGET, 6, seed=3))
    assert done.flags == ()
    for op, cost in done.target.costs[0].ops.items():
        assert 0.7 < cost.per_call_us / OPS[op].per_call_us < 1.4


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_bundles_move_every_cost_by_one_scale(count: int) -> None:
    fields = fleet(device(**dict.fromkeys(OPS, 3.0)), count, seed=4)
    table = refit(TARGET, fields).target.costs[0]
    moved = [table.ops[op].per_call_us / OPS[op].per_call_us for op in OPS]
    assert moved == pytest.approx([table.per_run_us / 20.0] * len(OPS))
    assert 2.2 < moved[0] < 4.0


def test_interval_is_the_old_one_with_half_a_bin_when_bundles_have_no_spread() -> None:
    half = math.sqrt(EDGES_MS[1] / EDGES_MS[0])
    table = refit(TARGET, fleet(TARGET, 2, seed=5)).target.costs[0]
    assert (table.low_ratio, table.high_ratio) == pytest.approx((0.8 / half, 1.25 * half), rel=1e-3)
    assert table.heldout_ratios == ()


def test_interval_is_never_narrower_than_half_a_bin_when_the_fit_is_exact() -> None:
    table = refit(TARGET, fleet(TARGET, 5, seed=6)).target.costs[0]
    assert table.high_ratio >= 10 ** (1 / 8) * 0.999
    assert table.low_ratio <= 10 ** (-1 / 8) * 1.001
    assert len(table.heldout_ratios) == 5


def test_new_table_is_used_and_its_evidence_counts_what_it_rests_on(tmp_path: Path) -> None:
    done = refit(TARGET, fleet(device(conv2d=2.0), 5, seed=7)).target
    (tmp_path / "mine.toml").write_text(profile_text(done, "mine"))
    again = read_profile(tmp_path / "mine.toml")
    table = strongest_table(again, "litert", "int8")
    assert (table.tier, table.evidence_id, table.samples) == (Tier.T4, "field-litert-int8", 5)
    said = next(item for item in again.evidence if item.id == table.evidence_id)
    assert said.tier is Tier.T4
    assert "bundles: 5, devices of each: 3, inferences: 2,000" in said.source
    assert [old.evidence_id for old in again.costs] == ["field-litert-int8", "published"]
    assert tomllib.loads((tmp_path / "mine.toml").read_text())["evidence"][-1]["note"]


def test_second_refit_replaces_the_first_and_changes_little() -> None:
    fields = fleet(device(conv2d=2.0), 6, seed=8)
    once = refit(TARGET, fields)
    twice = refit(once.target, fields)
    assert len(twice.target.costs) == len(once.target.costs)
    assert len(twice.target.evidence) == len(once.target.evidence)
    assert twice.flags == ()


def test_loops_are_scaled_when_the_table_prices_them() -> None:
    cost = OpCost(0.0, 0.0, 0.0, loops={"dot_call": 100.0, "dot_pairs": 2.0})
    table = CostTable({"fully_connected": cost}, "c", "int8", Tier.T2, "counted", 0.9, 1.1)
    target = dataclasses.replace(load_target("cortex-m4"), costs=(table,))
    loops = (("dot_call", 1), ("dot_pairs", 100_000))
    workload = Workload((LayerWork("a", "fully_connected", 0, 0, 0, loops=loops),), "int8")
    histogram = LatencyHistogram()
    histogram.add(600.0, 50)
    field = FieldLatency("b", "c", workload, EDGES_MS, histogram.counts, devices=1)
    done = refit(target, [field])
    scaled = done.target.costs[0].ops["fully_connected"].loops
    assert scaled["dot_pairs"] / scaled["dot_call"] == pytest.approx(0.02)
    assert estimate_latency(done.target, workload, "c").value == pytest.approx(0.75, rel=0.01)
    assert "3.75 times the estimate of 0.2 ms" in done.flags[0]


def test_each_engine_gets_a_table_of_its_own_when_several_were_seen() -> None:
    other = dataclasses.replace(TABLE, engine="c", evidence_id="published")
    target = dataclasses.replace(TARGET, costs=(TABLE, other))
    fields = fleet(TARGET, 2, seed=9)
    done = refit(target, (fields[0], dataclasses.replace(fields[1], engine="c")))
    assert [table.engine for table in done.target.costs[:2]] == ["c", "litert"]


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(6)), st.integers(2, 5))
def test_refit_is_the_same_however_the_counts_come_in(order: list[int], cut: int) -> None:
    whole = fleet(device(conv2d=2.0), 3, seed=10)
    split = [
        dataclasses.replace(
            field,
            counts=tuple(n // cut if part else n - n // cut for n in field.counts),
            devices=1 + part,
        )
        for field in whole
        for part in (0, 1)
    ]
    assert refit(TARGET, [split[index] for index in order]) == refit(TARGET, whole)


def test_refit_is_an_error_when_nothing_prices_the_engine_or_the_operator() -> None:
    (field,) = fleet(TARGET, 1, seed=11)
    with pytest.raises(NoCostTableError, match="onnxruntime"):
        refit(TARGET, [dataclasses.replace(field, engine="onnxruntime")])
    strange = Workload((LayerWork("a", "gelu", 0, 4, 4),), "int8")
    with pytest.raises(UnsupportedOperatorError, match="gelu"):
        refit(TARGET, [dataclasses.replace(field, workload=strange)])
    with pytest.raises(MeasurementError, match="nothing was seen of target 'raspberry-pi-4'"):
        refit(TARGET, [])


def test_merge_is_an_error_when_the_work_differs() -> None:
    first, second = fleet(TARGET, 2, seed=12)
    with pytest.raises(MeasurementError, match="cannot be merged"):
        merge(first, second)
