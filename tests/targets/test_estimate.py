"""Estimates: the arithmetic, the choice of table, and never 0 ms for an unknown operator."""

from __future__ import annotations

import dataclasses

import pytest

from edgekiln.targets import (
    Budget,
    CostTable,
    LayerWork,
    NoCostTableError,
    OpCost,
    TargetError,
    Tier,
    UnsupportedOperatorError,
    Workload,
    estimate_latency,
    footprint,
    load_target,
)
from edgekiln.targets.evidence import Estimate, Footprint


def table(tier: Tier = Tier.T1, evidence: str = "first", engine: str = "c") -> CostTable:
    costs = {"conv2d": OpCost(2.0, 10.0, 1.0, 5.0), "add": OpCost(1.0, 0.0, 0.5)}
    return CostTable(costs, engine, "int8", tier, evidence, 0.5, 2.0, per_run_us=3.0)


WORK = Workload(
    (LayerWork("a", "conv2d", 1000, 100, 10), LayerWork("b", "add", 0, 200, 10)), dtype="int8"
)
TARGET = dataclasses.replace(load_target("cortex-m4"), costs=(table(),))


def test_latency_adds_run_calls_macs_bytes_and_outputs() -> None:
    estimate = estimate_latency(TARGET, WORK, "c")
    microseconds = 3.0 + (2.0 + 10.0 + 0.1 + 0.05) + (1.0 + 0.1)
    assert estimate.value == pytest.approx(microseconds / 1e3)
    assert estimate.low == pytest.approx(estimate.value * 0.5)
    assert estimate.high == pytest.approx(estimate.value * 2.0)
    assert (estimate.unit, estimate.tier, estimate.evidence_id) == ("ms", Tier.T1, "first")


def test_latency_uses_the_strongest_tier_and_then_the_first() -> None:
    tables = (table(), table(Tier.T2, "second"), table(Tier.T2, "third"))
    target = dataclasses.replace(TARGET, costs=tables)
    assert estimate_latency(target, WORK, "c").evidence_id == "second"


def test_latency_never_uses_a_stronger_table_of_another_engine() -> None:
    target = dataclasses.replace(TARGET, costs=(table(Tier.T2), table(Tier.T1, "its", "tflm")))
    assert estimate_latency(target, WORK, "tflm").evidence_id == "its"


@pytest.mark.parametrize(
    ("target_id", "engine", "way_out"),
    [
        ("host", "onnxruntime", "edgekiln targets calibrate host$"),
        ("raspberry-pi-4", "litert", "on the device itself: edgekiln targets calibrate host -o"),
    ],
)
def test_latency_is_an_error_with_a_way_out_when_no_table_is_of_the_engine(
    target_id: str, engine: str, way_out: str
) -> None:
    target = dataclasses.replace(load_target(target_id), costs=(table(engine="other"),))
    with pytest.raises(NoCostTableError, match=rf"'{target_id}'.*'{engine}'.*{way_out}"):
        estimate_latency(target, WORK, engine)


def test_latency_is_an_error_that_names_the_operator_when_it_has_no_cost() -> None:
    work = Workload((LayerWork("logits", "gelu", 0, 4, 4),), "int8")
    with pytest.raises(UnsupportedOperatorError, match=r"'cortex-m4'.*'gelu'.*layer 'logits'"):
        estimate_latency(TARGET, work, "c")


def test_latency_is_an_error_that_names_the_way_out_when_no_table_has_the_dtype() -> None:
    with pytest.raises(NoCostTableError, match=r"float32.*targets calibrate cortex-m4"):
        estimate_latency(TARGET, dataclasses.replace(WORK, dtype="float32"), "c")


def priced() -> Footprint:
    latency = estimate_latency(TARGET, WORK, "c")
    return footprint(TARGET, latency, arena_bytes=1000, model_bytes=2000)


def test_footprint_is_exact_in_bytes_and_counts_the_overheads() -> None:
    cost = priced()
    assert cost.ram == Estimate.exact(1000 + 4096, "bytes", Tier.T0, "planner")
    assert cost.flash == Estimate.exact(2000 + 16384, "bytes", Tier.T0, "emitter")


def test_budget_is_checked_against_the_upper_bound() -> None:
    cost = priced()
    value = cost.latency.value
    (check,) = cost.check(Budget(latency_ms=value * 1.5))
    assert not check.passed
    assert "over the budget" in check.message
    assert "estimated T1" in check.message
    assert all(item.passed for item in cost.check(Budget(value * 2.1, 5096, 18384)))


def test_measured_is_said_of_t3_and_t4_alone() -> None:
    words = [tier.word for tier in Tier]
    assert words == ["estimated", "estimated", "emulated", "measured", "measured"]


@pytest.mark.parametrize("bounds", [(2.0, 3.0), (0.0, 0.5), (0.0, float("inf"))])
def test_estimate_is_an_error_when_the_interval_does_not_hold_the_value(bounds) -> None:
    with pytest.raises(TargetError, match="outside its interval"):
        Estimate(1.0, *bounds, "ms", Tier.T1, "x")


@pytest.mark.parametrize(
    ("target_id", "engine"),
    [("cortex-m4", "tflm"), ("raspberry-pi-4", "litert")],
)
def test_shipped_tables_grow_with_work(target_id: str, engine: str) -> None:
    target = load_target(target_id)
    sizes = [Workload(WORK.layers * count, "int8") for count in (1, 2, 3)]
    small, twice, thrice = (estimate_latency(target, work, engine) for work in sizes)
    assert thrice.value - twice.value == pytest.approx(twice.value - small.value)
    assert twice.value > 1.5 * small.value
    assert small.low < small.value < small.high
