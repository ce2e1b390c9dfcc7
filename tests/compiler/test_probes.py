"""Calibration: tables that price every operator, with the error of their price."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.compiler import engine_calibration, engine_plan
from edgekiln.compiler.calibration_plan import host_plan
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.engine_plan import engine_probes
from edgekiln.compiler.engine_rules import kernel_calls
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.kernel_loops import workload_on
from edgekiln.compiler.layer_counts import layer_instructions, works_by_call
from edgekiln.compiler.ops import Op
from edgekiln.compiler.probe_models import more_probes
from edgekiln.compiler.probes import Measure, Measuring, calibrate, probe_graphs
from edgekiln.compiler.workload import workload
from edgekiln.targets.emulate import machine_of
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.estimate import estimate_latency
from edgekiln.targets.evidence import Tier
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target, Tile

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


TILE = Tile(7, 16, 8, 16)


def simulated(engine_factor: float = 1.0, engine: str = "litert") -> Measure:
    """A device that takes 10 µs, and 2 for every kernel that its engine calls."""
    return lambda graph, _: (engine_factor * (10.0 + 2.0 * len(kernel_calls(graph, engine).calls)),)


def on_host(measure: Measure) -> Measuring:
    return Measuring(measure=lambda kind, fmt: measure if kind == "host" else None)


def by_engine(factor: float = 1.0) -> Measuring:
    engines = {"tflite": "litert", "onnx": "onnxruntime"}
    return Measuring(measure=lambda _, fmt: simulated(factor, engines[fmt]))


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few probes, and a tile that is known."""
    monkeypatch.setattr(engine_plan, "NEEDED_PROBES", 40)
    monkeypatch.setattr(engine_plan, "ALL_PROBES", 70)
    monkeypatch.setattr(engine_plan, "ALL_NETWORKS", 16)
    monkeypatch.setattr(engine_calibration, "choose_tile", lambda timed, engine: TILE)


@pytest.mark.slow
@pytest.mark.usefixtures("small_plan")
def test_host_gets_a_measured_table_of_every_engine_when_calibrated() -> None:
    target = calibrate(load_target("host"), measuring=by_engine())
    assert [table.engine for table in target.costs] == ["litert", "onnxruntime"]
    evidence = {item.id: item for item in target.evidence}
    graphs = [probe.int8 for probe in itertools.islice(engine_probes(0), 150)]
    simulations = (simulated(), simulated(engine="onnxruntime"))
    for table, measured in zip(target.costs, simulations, strict=True):
        assert (table.tier, table.dtype, table.tile) == (Tier.T3, "int8", TILE)
        assert {op.value for op in (*PRICED, Op.SOFTMAX)} <= set(table.ops)
        assert "edgekiln targets calibrate host --seed 0" in evidence[table.evidence_id].source
        assert (table.interval, len(table.heldout_ratios)) == ("family-out", 14)
        for graph in graphs:
            work = workload_on(graph, target, table.engine)
            estimate = estimate_latency(target, work, table.engine).value
            assert estimate == pytest.approx(measured(graph, target)[0] / 1e3, rel=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("small_plan")
def test_float_table_is_litert_s_alone_when_both_formats_are_asked_for() -> None:
    how = by_engine()
    target = calibrate(load_target("host"), measuring=how, dtypes=("int8", "float32"))
    found = [(table.engine, table.dtype) for table in target.costs]
    assert found == [("litert", "int8"), ("litert", "float32"), ("onnxruntime", "int8")]
    assert len({table.evidence_id for table in target.costs}) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("small_plan")
def test_operators_that_onnx_lacks_are_priced_in_litert_alone() -> None:
    target = calibrate(load_target("host"), ops=("svdf", "lstm"), measuring=Measuring(budget_s=0))
    priced = {table.engine: set(table.ops) for table in target.costs}
    assert {"svdf", "lstm"} <= priced["litert"]
    assert not {"svdf", "lstm"} & priced["onnxruntime"]


@pytest.mark.slow
@pytest.mark.usefixtures("small_plan")
def test_host_is_timed_in_every_engine_when_nothing_is_injected() -> None:
    target = calibrate(load_target("host"))
    for table in target.costs:
        work = workload_on(next(probe_graphs(1)), target, table.engine)
        assert estimate_latency(target, work, table.engine).value > 0


@pytest.mark.slow
@pytest.mark.usefixtures("small_plan")
def test_calibration_replaces_the_one_before_when_repeated() -> None:
    target = load_target("host")
    found = []
    for factor in (1.0, 3.0):
        target = calibrate(target, measuring=by_engine(factor))
        assert len(target.costs) == 2
        assert len({item.id for item in target.evidence}) == len(target.evidence)
        work = workload_on(next(probe_graphs(0)), target, "litert")
        found.append(estimate_latency(target, work, "litert").value)
    assert found[1] == pytest.approx(3 * found[0], rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("small_plan")
def test_calibration_that_was_stopped_goes_on_from_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "host.jsonl"
    counted = Counter[str]()

    def stopping_after(most: int) -> Measure:
        def measure(graph: Graph, target: Target) -> tuple[float, ...]:
            counted["calls"] += 1
            if counted["calls"] > most:
                raise KeyboardInterrupt
            return simulated()(graph, target)

        return measure

    how = dataclasses.replace(on_host(stopping_after(25)), journal=path)
    with pytest.raises(KeyboardInterrupt):
        calibrate(load_target("host"), measuring=how)
    with path.open("ab") as file:
        file.write(b'{"type":"meas')  # a line that was torn
    whole = calibrate(load_target("host"), measuring=on_host(simulated()))
    needed = 2 * sum(
        3 if probe.family else 1
        for probe in itertools.takewhile(lambda probe: probe.needed, engine_probes(0))
    )
    counted.clear()
    how = dataclasses.replace(on_host(stopping_after(10**6)), journal=path)
    assert calibrate(load_target("host"), measuring=how) == whole
    assert counted["calls"] == needed - 25


@pytest.mark.slow
@pytest.mark.usefixtures("small_plan")
def test_measuring_goes_on_until_the_budget_is_spent() -> None:
    times = iter(range(10**6))
    samples, held = [], []
    for budget_s in (None, 20.0, 10_000.0):
        how = dataclasses.replace(by_engine(), budget_s=budget_s, clock=lambda: float(next(times)))
        table = calibrate(load_target("host"), measuring=how).costs[0]
        samples.append(table.samples)
        held.append(len(table.heldout_ratios))
    needed = [p for p in itertools.takewhile(lambda p: p.needed, engine_probes(0)) if not p.family]
    assert len(needed) == samples[0] < samples[1] < samples[2] == len(needed) + 30
    assert (held[0], held[2]) == (14, 16)


def test_plan_has_every_operator_twice_when_the_budget_is_nothing() -> None:
    plan = host_plan(0, ())
    seen = Counter(
        op for model in plan.probes[: plan.fewest] for op in {n.op for n in model.graph.nodes}
    )
    assert min(seen.values()) >= 2
    keys = [model.key for model in (*plan.needed, *plan.wanted)]
    assert len(keys) == len(set(keys)) == len(plan.probes) + len(plan.networks)


def test_held_out_networks_take_no_part_in_the_fit() -> None:
    plan = host_plan(0, ())
    fitted = [workload(model.graph) for model in plan.probes]
    assert not any(workload(model.graph) in fitted for model in plan.networks)


def test_libraries_stay_quiet_when_the_host_is_calibrated() -> None:
    """LiteRT's line about its delegate comes from C++, once a process: so in one of its own."""
    code = (
        "from edgekiln.compiler import probes; graph = next(probes.probe_graphs(0));"
        "probes.time_on_host(graph, 'tflite')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.slow
def test_interval_covers_cycles_per_instruction_when_emulated() -> None:
    """Were instructions a perfect model, the profile's own doubt would be all that is left."""
    profile = load_target("cortex-m4")
    assert profile.cycles_per_instruction is not None
    low, value, high = profile.cycles_per_instruction

    def per_loop(graph: Graph, _: Target) -> tuple[float, ...]:
        return tuple(
            sum(3 * passes for layer in layers for _, passes in layer.loops)
            for layers in works_by_call(graph, Family.DSP)
        )

    how = Measuring(measure=lambda kind, fmt: per_loop if fmt == "c" else None)
    table = calibrate(profile, measuring=how).costs[0]
    assert (table.tier, table.engine, table.interval) == (Tier.T2, "c", "split")
    assert table.low_ratio == pytest.approx(low / value, rel=1e-3)
    assert table.high_ratio == pytest.approx(high / value, rel=1e-3)


def test_class_is_refused_when_it_cannot_run_here() -> None:
    target = dataclasses.replace(load_target("host"), id="far", device_class="linux")
    with pytest.raises(MeasurementError, match="'far' is of class linux"):
        calibrate(target)


@pytest.mark.slow
def test_code_builds_when_the_compiler_calls_memset_by_itself(
    require_tool: Callable[[str], str],
) -> None:
    target = load_target("nucleo-g0b1re")
    for tool in machine_of(target).tools:
        require_tool(tool)
    (graph, *_) = more_probes(["minimum"], 0)
    assert sum(layer_instructions(graph, target)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("target_id", ["nucleo-f746zg", "cortex-m4"])
def test_every_layer_is_told_apart_when_the_caller_is_aligned(
    target_id: str, require_tool: Callable[[str], str]
) -> None:
    """A Cortex-M7's compiler aligns what follows a call, which is no call itself."""
    target = load_target(target_id)
    for tool in machine_of(target).tools:
        require_tool(tool)
    (graph, *_) = more_probes(["concatenation"], 0)
    assert len(layer_instructions(graph, target)) == len(graph.nodes)
