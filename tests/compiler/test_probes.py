"""Calibration: tables that price every operator, with the error of their price."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from edgekiln.compiler import probes
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Op
from edgekiln.compiler.probes import calibrate, more_probes, probe_graphs
from edgekiln.compiler.workload import workload
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.estimate import estimate_latency
from edgekiln.targets.evidence import Tier
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

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


def test_operators_with_windows_have_several_sizes_of_them() -> None:
    """One size alone, and a tap's cost could not be told from an output's."""
    taps = {
        (layer.op, layer.macs // layer.output_elements)
        for graph in probe_graphs(0)
        for layer in workload(graph).layers
    }
    assert {count for op, count in taps if op == Op.DEPTHWISE_CONV_2D} == {9, 25}
    reads = {
        (layer.op, round(layer.bytes_moved / layer.output_elements))
        for graph in probe_graphs(0)
        for layer in workload(graph).layers
    }
    for op in (Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D):
        assert len({ratio for kind, ratio in reads if kind == op}) >= 3


def test_host_gets_a_measured_table_of_every_engine_when_calibrated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes, "HOST_BUDGET_S", 0.01)
    target = calibrate(load_target("host"))
    assert [table.engine for table in target.costs] == ["litert", "onnxruntime"]
    largest = max(probe_graphs(1), key=lambda graph: workload(graph).macs)
    evidence = {item.id: item for item in target.evidence}
    for table in target.costs:
        assert (table.tier, table.dtype) == (Tier.T3, "int8")
        assert set(table.ops) == {op.value for op in PRICED}
        assert "edgekiln targets calibrate host --seed 0" in evidence[table.evidence_id].source
        assert table.heldout_median_ape is not None
        assert estimate_latency(target, workload(largest), table.engine).value > 0


def test_calibration_replaces_the_one_before_when_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter((1.0, 3.0))

    def timers() -> dict[tuple[str, str], Callable[[Graph, Target], float]]:
        factor = next(times)
        return {("mcu", "c"): lambda graph, _: factor * (10.0 + workload(graph).macs / 1e3)}

    target = load_target("cortex-m4")
    shipped = [table.engine for table in target.costs]
    work = workload(next(probe_graphs(0)))
    found = []
    for _ in range(2):
        monkeypatch.setattr(probes, "_TIMERS", timers())
        target = calibrate(target)
        assert [table.engine for table in target.costs] == shipped
        assert len({item.id for item in target.evidence}) == len(target.evidence)
        found.append(estimate_latency(target, work, "c").value)
    assert found[1] == pytest.approx(3 * found[0], rel=1e-3)


def test_libraries_stay_quiet_when_the_host_is_calibrated() -> None:
    """LiteRT's line about its delegate comes from C++, once a process: so in one of its own."""
    code = (
        "from edgekiln.compiler import probes; graph = next(probes.probe_graphs(0));"
        "probes.HOST_BUDGET_S = 0.01; probes.time_on_host(graph, 'tflite')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.fixture(scope="module")
def emulated(require_tool: RequireTool) -> Target:
    for tool in TOOLS:
        require_tool(tool)
    return calibrate(load_target("cortex-m4"))


@pytest.mark.slow
def test_estimates_hold_unseen_probes_when_microcontroller_is_calibrated(emulated: Target) -> None:
    table = emulated.costs[0]
    assert (table.tier, table.engine) == (Tier.T2, "c")
    assert emulated.costs[1:] == load_target("cortex-m4").costs[1:]
    others = [graph for graph in probe_graphs(99) if workload(graph).macs < 300_000]
    errors, inside = [], 0
    for graph in others:
        estimate = estimate_latency(emulated, workload(graph), "c")
        actual = probes.time_emulated(graph, emulated) / 1e3
        inside += estimate.low <= actual <= estimate.high
        errors.append(abs(estimate.value / actual - 1))
    assert inside >= 0.9 * len(others)
    assert statistics.median(errors) < 0.10


@pytest.mark.slow
def test_shipped_table_is_the_one_that_calibration_gives(emulated: Target) -> None:
    """Another compiler gives other instructions, so nearly the same is enough."""
    shipped = load_target("cortex-m4")
    for graph in probe_graphs(99):
        work = workload(graph)
        ours = estimate_latency(emulated, work, "c").value
        assert estimate_latency(shipped, work, "c").value == pytest.approx(ours, rel=0.2)


def test_interval_covers_cycles_per_instruction_when_emulated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were instructions a perfect model, the profile's own doubt would be all that is left."""
    monkeypatch.setattr(
        probes, "_TIMERS", {("mcu", "c"): lambda graph, _: 10.0 + workload(graph).macs / 1e3}
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


@pytest.mark.slow
def test_code_builds_when_the_compiler_calls_memset_by_itself(require_tool: RequireTool) -> None:
    for tool in TOOLS:
        require_tool(tool)
    (graph, *_) = more_probes(["minimum"], 0)
    target = dataclasses.replace(load_target("nucleo-g0b1re"), clock_hz=1_000_000)
    assert probes.time_emulated(graph, target) > 0
