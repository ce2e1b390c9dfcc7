"""Where time, RAM and bytes go, and what would make a model fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.compiler.changes import smallest_changes
from edgekiln.compiler.emit_c import memory_plan
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.emit_c_plan import planned_chains
from edgekiln.compiler.explain import explain
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.kernel_loops import workload_on
from edgekiln.compiler.kernel_probes import strip_probes
from edgekiln.compiler.layer_counts import layer_instructions
from edgekiln.compiler.plan import plan_arena
from edgekiln.compiler.slim import channel_groups, narrowed, slim
from edgekiln.compiler.suitability import Asked, suitability
from edgekiln.compiler.workload import workload
from edgekiln.targets import Budget, estimate_latency, load_target
from edgekiln.targets.emulate import TOOLS

from .test_slim import residual

RequireTool = Callable[[str], str]


def test_times_of_layers_add_up_to_the_estimate() -> None:
    graph, target = residual(), load_target("raspberry-pi-4")
    found = explain(graph, target, "tflite")
    total_ms = sum(layer.time_us or 0 for layer in found.layers) / 1e3
    assert total_ms == pytest.approx(estimate_latency(target, workload(graph), "litert").value)
    assert found.tier == "T1"


def test_arena_is_the_planners_and_never_covered_beyond_it() -> None:
    graph, target = residual(), load_target("cortex-m4")
    for fmt, arena_bytes in (
        ("c", memory_plan(graph, family_of_core(target.core)).arena_bytes),
        ("tflite", plan_arena(graph).arena_bytes),
    ):
        found = explain(graph, target, fmt)
        assert found.arena_bytes == arena_bytes
        assert all(block.offset + block.nbytes <= arena_bytes for block in found.blocks)
        assert max(layer.live_bytes for layer in found.layers) <= arena_bytes
        for number, layer in enumerate(found.layers, start=1):
            live = [b.nbytes for b in found.blocks if b.first <= number <= b.last]
            assert max(live) <= layer.live_bytes <= sum(live)


def test_constants_are_those_of_every_layer() -> None:
    graph = residual()
    found = explain(graph, load_target("cortex-m4"), "c")
    whole = sum(value.nbytes for value in graph.values.values() if value.data is not None)
    assert sum(layer.constant_bytes for layer in found.layers) == whole


def test_no_time_is_named_when_nothing_prices_it() -> None:
    found = explain(residual(), load_target("esp32-c3"), "c")
    assert found.tier is None
    assert {layer.time_us for layer in found.layers} == {None}
    assert "cycles_per_instruction" in found.note


@pytest.mark.slow
def test_counted_times_add_up_to_the_emulated_whole(require_tool: RequireTool) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph, target = residual(), load_target("nucleo-g0b1re")
    found = explain(graph, target, "c", emulate=True)
    (whole,) = suitability(graph, [Asked(target)], emulate=True)
    assert whole.footprint is not None
    total_ms = sum(layer.time_us or 0 for layer in found.layers) / 1e3
    assert total_ms == pytest.approx(whole.footprint.timed.value, rel=0.02)
    assert found.tier == "T2"


def test_every_layer_is_told_when_some_run_in_strips() -> None:
    graph, target = list(strip_probes(0, 2))[1], load_target("cortex-m4")
    assert planned_chains(graph, family_of_core(target.core))
    found = explain(graph, target, "c")
    assert {layer.name for layer in found.layers} == {node.name for node in graph.nodes}
    work = workload_on(graph, target, "c")
    total_ms = sum(layer.time_us or 0 for layer in found.layers) / 1e3
    assert total_ms == pytest.approx(estimate_latency(target, work, "c").value)


@pytest.mark.slow
def test_counted_times_of_layers_in_strips_add_up_to_their_calls(require_tool: RequireTool) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph, target = list(strip_probes(0, 2))[1], load_target("cortex-m4")
    found = explain(graph, target, "c", emulate=True)
    assert target.cycles_per_instruction is not None
    us = target.cycles_per_instruction[1] * 1e6 / target.clock_hz
    total_us = sum(layer.time_us or 0 for layer in found.layers)
    assert total_us == pytest.approx(us * sum(layer_instructions(graph, target)), rel=1e-3)
    assert all(layer.time_us for layer in found.layers if layer.macs)


@pytest.mark.slow
def test_every_change_fits_and_one_step_more_does_not() -> None:
    graph, target = residual(), load_target("cortex-m4")
    (c, _) = suitability(graph, [Asked(target)])
    assert c.footprint is not None
    limits = Budget(latency_ms=c.footprint.timed.high * 0.6)
    changes = smallest_changes(graph, Asked(target, limits), "c")
    assert {change.kind for change in changes} >= {"width", "input"}
    assert all(change.price.fits for change in changes)
    assert [c.macs_share for c in changes] == sorted((c.macs_share for c in changes), reverse=True)
    width = next(change for change in changes if change.kind == "width")
    factor = float(width.what.split()[2]) + 1 / 16
    wider = {g.root: narrowed(g.channels, factor) for g in channel_groups(graph)}
    again = suitability(slim(graph, wider), [Asked(target, limits)])
    assert not again[0].fits or workload(slim(graph, wider)).macs == workload(graph).macs


@pytest.mark.slow
def test_another_format_is_a_change_when_it_fits() -> None:
    graph, target = residual(), load_target("cortex-m4")
    needed = memory_plan(graph, family_of_core(target.core)).arena_bytes
    assert needed < plan_arena(graph).arena_bytes
    limits = Budget(ram_bytes=target.runtime.ram_overhead + needed)
    changes = smallest_changes(graph, Asked(target, limits), "tflite")
    c = next((change for change in changes if change.kind == "format"), None)
    assert c is not None
    assert c.what == "c instead of tflite"


@pytest.mark.slow
def test_nothing_is_proposed_when_nothing_can_fit() -> None:
    target = dataclasses.replace(load_target("cortex-m4"), formats=("c",))
    assert smallest_changes(residual(), Asked(target, Budget(flash_bytes=1)), "c") == ()


@pytest.mark.slow
def test_real_model_is_brought_into_its_limit(data_dir: Path) -> None:
    graph = import_model(data_dir / "mlperf_tiny" / "ic_resnet8_int8.tflite")
    asked = Asked(load_target("raspberry-pi-pico"), Budget(latency_ms=500.0))
    assert not suitability(graph, [asked])[0].fits
    changes = smallest_changes(graph, asked, "c")
    assert {"width", "input"} <= {change.kind for change in changes}
    for change in changes:
        assert change.price.footprint is not None
        assert change.price.footprint.timed.high <= 500.0
