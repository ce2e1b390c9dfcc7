"""Calibration: tables that price every operator, with the error of their price."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import pytest

from edgekiln.compiler import probes
from edgekiln.compiler.graph import Op
from edgekiln.compiler.probes import calibrate, probe_graphs
from edgekiln.compiler.workload import workload
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.estimate import estimate_latency
from edgekiln.targets.evidence import Tier
from edgekiln.targets.profiles import load_target

RequireTool = Callable[[str], str]
PRICED = {
    Op.CONV_2D,
    Op.DEPTHWISE_CONV_2D,
    Op.FULLY_CONNECTED,
    Op.ADD,
    Op.MAX_POOL_2D,
    Op.AVERAGE_POOL_2D,
    Op.MEAN,
    Op.PAD,
    Op.RESHAPE,
}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_operator_is_in_two_probes_or_more_when_seed_varies(seed: int) -> None:
    seen = Counter(op for graph in probe_graphs(seed) for op in {node.op for node in graph.nodes})
    assert set(seen) == PRICED
    assert min(seen.values()) >= 2


def test_probes_are_equal_when_seed_is_equal() -> None:
    first, second = (
        [workload(graph) for graph in probe_graphs(7)],
        [workload(graph) for graph in probe_graphs(7)],
    )
    assert first == second


def test_host_gets_a_measured_table_when_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "HOST_BUDGET_S", 0.02)
    target = calibrate(load_target("host"))
    table = target.costs[0]
    assert (table.tier, table.dtype) == (Tier.T3, "int8")
    assert set(table.ops) == {op.value for op in PRICED}
    assert table.evidence_id in {evidence.id for evidence in target.evidence}
    assert table.heldout_median_ape is not None
    largest = max(probe_graphs(1), key=lambda graph: workload(graph).macs)
    assert estimate_latency(target, workload(largest)).value > 0


@pytest.mark.slow
def test_estimates_hold_other_probes_when_microcontroller_is_calibrated(
    require_tool: RequireTool,
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    profile = load_target("cortex-m4")
    target = calibrate(profile)
    table = target.costs[0]
    assert (table.tier, target.costs[1:]) == (Tier.T2, profile.costs)
    others = [graph for graph in probe_graphs(99) if workload(graph).macs < 300_000]
    inside = 0
    for graph in others:
        estimate = estimate_latency(target, workload(graph))
        actual = probes.time_emulated(graph, target) / 1e3
        inside += estimate.low <= actual <= estimate.high
    assert inside >= 0.8 * len(others)


def test_interval_covers_cycles_per_instruction_when_emulated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were instructions a perfect model, the profile's own doubt would be all that is left."""
    monkeypatch.setattr(
        probes, "_TIMERS", {"mcu": lambda graph, _: 10.0 + workload(graph).macs / 1e3}
    )
    profile = load_target("cortex-m4")
    assert profile.cycles_per_instruction is not None
    low, value, high = profile.cycles_per_instruction
    table = calibrate(profile).costs[0]
    assert table.low_ratio <= low / value
    assert table.high_ratio >= high / value


def test_class_is_refused_when_it_cannot_run_here() -> None:
    target = dataclasses.replace(load_target("host"), id="far", device_class="linux")
    with pytest.raises(MeasurementError, match="'far' is of class linux"):
        calibrate(target)
