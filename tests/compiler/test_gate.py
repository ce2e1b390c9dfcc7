"""The gate: what passes, what fails, and what a failure tells its reader to do."""

from __future__ import annotations

import dataclasses

import pytest

from edgekiln.compiler.errors import CompileError, GateError
from edgekiln.compiler.gate import (
    AccuracyLimits,
    Priced,
    check_gate,
    effective_budget,
    enforce,
)
from edgekiln.targets.evidence import Budget, Estimate, Footprint, Tier
from edgekiln.targets.profiles import load_target

LIMITS = AccuracyLimits()


def priced(budget: Budget, latency: tuple[float, float, float] = (0.8, 1.0, 1.4)) -> Priced:
    low, value, high = latency
    footprint = Footprint(
        latency=Estimate(value, low, high, "ms", Tier.T2, "test"),
        ram=Estimate.exact(20_000, "bytes", Tier.T0, "planner"),
        flash=Estimate.exact(50_000, "bytes", Tier.T0, "emitter"),
    )
    return Priced("cortex-m4", "c", footprint, budget)


def test_gate_passes_when_everything_is_within_budget() -> None:
    gate = check_gate(0.97, 0.96, LIMITS, [priced(Budget(2.0, 30_000, 60_000))])
    assert gate.passed
    assert [check.quantity for check in gate.checks] == [
        "accuracy drop",
        "cortex-m4/c latency",
        "cortex-m4/c RAM",
        "cortex-m4/c flash",
    ]
    assert enforce(gate, "") is gate


def test_gate_fails_on_the_upper_bound_when_the_value_alone_would_pass() -> None:
    gate = check_gate(0.97, 0.97, LIMITS, [priced(Budget(latency_ms=1.0))])
    (_, latency) = gate.checks
    assert not latency.passed
    assert latency.found == 1.4
    assert "needs 1.40× fewer MACs or a surer estimate" in latency.message
    assert "emulated T2" in latency.message


def test_failure_lists_every_check_in_one_line_when_several_fail() -> None:
    gate = check_gate(
        0.97, 0.90, AccuracyLimits(minimum=0.95), [priced(Budget(0.5, 16_000, 40_000))]
    )
    with pytest.raises(GateError) as caught:
        enforce(gate, "  ")
    text = str(caught.value)
    assert "\n" not in text
    for part in (
        "0.0700 is lost where 0.0200 may be",
        "0.0500 is missing",
        "needs 2.80× fewer MACs",
        "RAM 20000 bytes is over the budget of 16000",
        "needs 4000 bytes less of activations",
        "needs 10000 bytes less of weights",
    ):
        assert part in text


def test_forced_gate_keeps_failed_checks_and_the_reason_when_reason_is_given() -> None:
    gate = check_gate(0.97, 0.90, LIMITS, [])
    forced = enforce(gate, " demo of a bad release ")
    assert not forced.passed
    assert forced.checks == gate.checks
    assert forced.forced_reason == "demo of a bad release"


def test_accuracy_passes_when_the_drop_equals_its_limit() -> None:
    assert check_gate(0.92, 0.90, AccuracyLimits(max_drop=0.02), []).passed
    assert check_gate(0.90, 0.95, AccuracyLimits(minimum=0.95), []).passed
    assert not check_gate(0.92, 0.8999, AccuracyLimits(max_drop=0.02), []).passed


def test_budget_of_the_request_counts_when_the_target_has_one_too() -> None:
    target = dataclasses.replace(load_target("cortex-m4"), budget=Budget(5.0, 100_000, None))
    budget = effective_budget(target, Budget(latency_ms=9.0))
    assert budget.latency_ms == 9.0
    assert budget.ram_bytes == 100_000
    assert budget.flash_bytes == target.memory.flash_available_bytes


def test_memory_of_the_device_counts_when_a_budget_asks_for_more() -> None:
    target = load_target("cortex-m4")
    budget = effective_budget(target, Budget(ram_bytes=1 << 40, flash_bytes=1 << 40))
    assert budget.ram_bytes == target.memory.ram_available_bytes
    assert budget.flash_bytes == target.memory.flash_available_bytes


def test_energy_budget_is_refused_when_nothing_can_check_it() -> None:
    with pytest.raises(CompileError, match="energy budget cannot be checked"):
        effective_budget(load_target("host"), Budget(energy_mj=1.0))


def test_verdict_names_the_number_format_when_it_is_not_int8() -> None:
    (check,) = check_gate(0.97, 0.965, LIMITS, [], "int16x8").checks
    assert check.message == "int16x8 accuracy 0.9650 against float 0.9700"
