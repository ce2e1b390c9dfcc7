"""Where a model fits: bytes are those of what is written, latency that of the best evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.artifacts import ArtifactKind, EmittedArtifact, emit_artifact
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import CompileError, ImportModelError
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.model_file import RANDOM_RANGES, read_for_check
from edgekiln.compiler.ops import Op
from edgekiln.compiler.oracles import litert_call, run_c_emulated
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.suitability import Asked, Suitability, suitability
from edgekiln.targets import Budget, Tier, load_target
from edgekiln.targets.emulate import TOOLS, latency_from_instructions

RequireTool = Callable[[str], str]


def dense(last: Op | None = None) -> Graph:
    """Sixteen features into four outputs, and an operator behind them."""
    build = GraphBuilder("dense", (1, 16))
    weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 16)
    x = build.fully_connected(build.input, weights)
    return build.finish(x if last is None else build.node(last, (x,)))


def int8(graph: Graph) -> Graph:
    return quantize(graph, np.random.default_rng(0).normal(0, 1, (16, 16)).astype(np.float32))


def only(graph: Graph, asked: Asked) -> Suitability:
    (found,) = suitability(graph, [asked])
    return found


def test_flash_is_the_file_and_its_runtime_when_the_format_is_tflite() -> None:
    graph, target = int8(dense()), load_target("raspberry-pi-4")
    found = only(graph, Asked(target))
    assert found.footprint is not None
    assert found.footprint.flash.value == len(emit_tflite(graph)) + target.runtime.flash_overhead
    litert_call(emit_tflite(graph), np.zeros(16, np.float32))()  # LiteRT takes those bytes
    assert found.footprint.ram.value == 16 + 16 + target.runtime.ram_overhead  # aligned to 16
    assert found.fits


def test_latency_is_the_sum_over_the_table_when_nothing_was_run() -> None:
    target = load_target("raspberry-pi-4")
    found = only(int8(dense()), Asked(target))
    cost = target.costs[0].ops["fully_connected"]
    assert found.footprint is not None
    assert found.footprint.timed.value == pytest.approx(
        (cost.per_call_us + 64 * cost.ns_per_mac / 1e3) / 1e3
    )
    assert found.footprint.timed.tier is Tier.T1


def test_latency_is_measured_when_the_target_is_this_machine() -> None:
    found = suitability(int8(dense()), [Asked(load_target("host"))])
    assert [item.format for item in found] == ["tflite", "onnx"]
    tiers = [item.footprint.timed.tier for item in found if item.footprint is not None]
    assert tiers == [Tier.T3, Tier.T3]


def test_every_broken_limit_is_a_reason() -> None:
    limits = Budget(latency_ms=1e-6, ram_bytes=20, flash_bytes=30)
    found = only(int8(dense()), Asked(load_target("raspberry-pi-4"), limits))
    assert not found.fits
    assert [reason.split()[0] for reason in found.reasons] == ["latency", "RAM", "flash"]
    assert all("over the budget" in reason for reason in found.reasons)


def test_limit_on_a_latency_that_nothing_prices_is_a_reason_with_a_way_out() -> None:
    graph, target = int8(dense()), load_target("raspberry-pi-5")
    unlimited = suitability(graph, [Asked(target)])
    assert all(item.fits and item.footprint is not None for item in unlimited)
    assert all(item.footprint is None or item.footprint.latency is None for item in unlimited)
    assert "edgekiln targets calibrate host -o" in unlimited[0].note
    limited = suitability(graph, [Asked(target, Budget(latency_ms=5.0))])
    assert all("limited to 5 ms and not known" in item.reasons[0] for item in limited)
    assert all("edgekiln targets calibrate host -o" in item.reasons[0] for item in limited)


def test_operator_without_a_price_is_named_and_its_latency_not_known() -> None:
    found = only(int8(dense(Op.LOGISTIC)), Asked(load_target("raspberry-pi-4")))
    assert found.fits
    assert "'sigmoid'" in found.note


def test_operator_outside_the_profile_is_refused_by_name() -> None:
    restricted = dataclasses.replace(
        load_target("raspberry-pi-4"), ops={"fully_connected": ("int8",)}
    )
    assert only(int8(dense()), Asked(restricted)).fits
    found = only(int8(dense(Op.LOGISTIC)), Asked(restricted))
    assert found.footprint is None
    assert "does not run operator 'sigmoid' in int8" in found.reasons[0]


def test_format_that_cannot_hold_the_model_is_refused_and_the_other_kept() -> None:
    target = load_target("cortex-m4")
    c, tflite = suitability(dense(), [Asked(target)])  # float32
    assert (c.format, tflite.format) == ("c", "tflite")
    assert "C needs an int8 or int16 graph" in c.reasons[0]
    assert tflite.footprint is not None
    assert "no cost model" in tflite.note


def test_energy_limit_is_refused() -> None:
    with pytest.raises(CompileError, match="energy"):
        suitability(int8(dense()), [Asked(load_target("host"), Budget(energy_mj=1.0))])


@pytest.mark.slow
def test_latency_is_that_of_counted_instructions_when_emulated(require_tool: RequireTool) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph, target = int8(dense()), load_target("nucleo-g0b1re")
    (found,) = suitability(graph, [Asked(target)], emulate=True)
    golden = np.zeros((1, 16), np.int8)
    files = emit_artifact(graph, ArtifactKind("c"), golden).files
    counted = latency_from_instructions(target, run_c_emulated(files, target).instructions)
    assert found.footprint is not None
    assert found.footprint.timed.value == pytest.approx(counted.value, rel=0.02)
    assert found.footprint.timed.tier is Tier.T2


@pytest.mark.slow
@pytest.mark.parametrize("target_id", ["nucleo-g0b1re", "arduino-due", "cortex-m4", "nrf5340-dk"])
def test_estimates_interval_holds_what_emulation_counts_of_a_real_model(
    target_id: str, data_dir: Path, require_tool: RequireTool
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph = import_model(data_dir / "mlperf_tiny" / "kws_dscnn_int8.tflite")
    asked = [Asked(dataclasses.replace(load_target(target_id), formats=("c",)))]
    (estimated,), (counted,) = suitability(graph, asked), suitability(graph, asked, emulate=True)
    assert estimated.footprint is not None
    assert counted.footprint is not None
    latency = estimated.footprint.timed
    assert latency.low <= counted.footprint.timed.value <= latency.high
    # Counting leaves out the doubt of the fit.
    spread = counted.footprint.timed.high - counted.footprint.timed.low
    assert spread < latency.high - latency.low


def test_float_model_is_read_with_random_ranges_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "dense.tflite"
    path.write_bytes(emit_tflite(dense()))
    read = read_for_check(path)
    assert read.notes == (RANDOM_RANGES,)
    assert read.graph.input.dtype.value == "int8"
    quantized = tmp_path / "quantized.tflite"
    quantized.write_bytes(emit_tflite(int8(dense())))
    assert read_for_check(quantized).notes == ()
    # Ranges change numbers, hardly bytes.
    assert len(emit_tflite(read.graph)) == pytest.approx(quantized.stat().st_size, rel=0.05)


def test_bundle_is_read_by_its_tflite(
    bundle_of: Callable[[Graph, Sequence[tuple[str, EmittedArtifact]]], Path],
) -> None:
    graph = int8(dense())
    golden = np.zeros((1, 16), np.int8)
    made = [("host", emit_artifact(graph, ArtifactKind(fmt), golden)) for fmt in ("onnx", "tflite")]
    read = read_for_check(bundle_of(graph, made))
    assert emit_tflite(dataclasses.replace(read.graph, name=graph.name)) == emit_tflite(graph)
    with pytest.raises(ImportModelError, match=r"no \.tflite inside.*--format tflite"):
        read_for_check(bundle_of(graph, made[:1]))


def test_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImportModelError, match="no such file"):
        read_for_check(tmp_path / "gone.tflite")
