"""Vela's reports as it wrote them: every operator placed, cycles that add up, bytes of its file."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import CompileError, ImportModelError
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.measure_npu import NOT_ACCURATE, measure_npu
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import lower_padding
from edgekiln.compiler.plan import plan_arena
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.suitability import Asked, suitability
from edgekiln.compiler.vela import VELA, run_vela
from edgekiln.compiler.workload import workload
from edgekiln.targets import Budget, MeasurementError, MissingToolError, Npu, Tier, load_target
from edgekiln.targets.npu import AcceleratorName, MemoryModeName, SystemConfigName

Require = Callable[[str, str], None]
MODELS = ("ad_fc", "ic_resnet8", "kws_dscnn", "vww_mbv1")
NPUS = ("alif-ensemble-e7-he", "alif-ensemble-e7-hp", "alif-ensemble-e8", "imx93-evk")
U55 = Npu("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram")


def dense(*middle: Op) -> Graph:
    """Sixteen features into eight and four, with operators between them, in int8."""
    build = GraphBuilder("dense", (1, 16))
    x = build.fully_connected(build.input, np.linspace(-1, 1, 128, dtype=np.float32).reshape(8, 16))
    for op in middle:
        x = build.node(op, (x,))
    x = build.fully_connected(x, np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8))
    samples = np.random.default_rng(0).normal(0, 1, (16, 16)).astype(np.float32)
    return quantize(build.finish(x), samples)


@pytest.fixture
def _vela(require_package: Require) -> None:
    require_package(VELA, "mcu")


needs_vela = pytest.mark.usefixtures("_vela")


def vela_says(*options: str) -> str:
    command = (sys.executable, "-m", "ethosu.vela", *options)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_vela
@pytest.mark.slow
def test_names_are_those_that_vela_lists() -> None:
    listed = vela_says("--list-configs", "Arm/vela.ini")
    names = [line.strip().partition(".") for line in listed.splitlines() if "." in line]
    for section, known in (("System_Config", SystemConfigName), ("Memory_Mode", MemoryModeName)):
        assert tuple(name for head, _, name in names if head == section) == get_args(known)
    assert f"{{{','.join(get_args(AcceleratorName))}}}" in vela_says("--help")


@needs_vela
@pytest.mark.slow
@pytest.mark.parametrize("target_id", NPUS)
def test_layers_add_up_to_the_cycles_when_all_of_kws_runs_on_the_npu(
    target_id: str, mlperf_models: Path
) -> None:
    path, target = mlperf_models / "kws_dscnn_int8.tflite", load_target(target_id)
    report = measure_npu(path, target)
    cycles = report.vela.cycles
    assert report.complete
    assert report.cpu_operators == 0
    assert sum(layer.cycles for layer in report.vela.layers) == cycles.total
    assert max(dataclasses.astuple(cycles)[1:]) <= cycles.total
    assert report.latency_ms == 1e3 * cycles.total / target.clock_hz
    assert (report.tier, report.evidence) == ("T2", "emulated")
    assert NOT_ACCURATE in report.notes[0]
    # No NPU is faster than its multipliers: the accelerator's last number is MACs a cycle.
    per_cycle = int(report.vela.npu.accelerator.rpartition("-")[2])
    assert cycles.total >= workload(import_model(path)).macs / per_cycle


@needs_vela
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_left_to_the_cpu_when_a_model_is_emitted_again(
    name: str, mlperf_models: Path
) -> None:
    report = run_vela(emit_tflite(import_model(mlperf_models / f"{name}_int8.tflite")), U55)
    assert report.left_to_cpu == ()
    assert report.npu_operators >= 10
    # The file holds what flash holds, in a .tflite around it.
    assert report.off_chip_flash_bytes < report.model_bytes < report.off_chip_flash_bytes + 10_000


@needs_vela
def test_operator_is_named_and_the_latency_incomplete_when_it_is_left_to_the_cpu(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.tflite"  # Vela's table does not quote a comma in a name
    path.write_bytes(emit_tflite(dense(Op.LOG_SOFTMAX)).replace(b"log_softmax_1", b"log,softmax_1"))
    report = measure_npu(path, load_target("alif-ensemble-e7-hp"))
    assert (report.complete, report.npu_operators, report.cpu_operators) == (False, 2, 1)
    (left,) = report.vela.left_to_cpu
    assert (left.operator, left.name, left.cycles) == ("LogSoftmax", "log,softmax_1", 0)
    assert report.notes[-1] == (
        "the latency lacks what is left to the CPU: LogSoftmax 'log,softmax_1'"
    )


@needs_vela
@pytest.mark.slow
def test_model_is_refused_when_the_npu_runs_none_of_it(tmp_path: Path) -> None:
    build = GraphBuilder("float", (1, 4))
    path = tmp_path / "float.tflite"
    graph = build.finish(build.fully_connected(build.input, np.eye(2, 4, dtype=np.float32)))
    path.write_bytes(emit_tflite(graph))
    with pytest.raises(CompileError, match=r"ethos-u55-256 runs none of .*FullyConnected.*int8"):
        measure_npu(path, load_target("alif-ensemble-e7-hp"))


@needs_vela
@pytest.mark.slow
def test_one_line_is_said_when_vela_refuses(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="Vela refuses the model: ") as caught:
        run_vela(b"no model at all", U55)
    assert "\n" not in str(caught.value)
    with pytest.raises(CompileError, match="arena_mem_area"):
        run_vela(emit_tflite(dense()), dataclasses.replace(U55, memory_mode="Dedicated_Sram"))
    for name in ("model.onnx", "gone.tflite"):
        with pytest.raises(ImportModelError, match=name):
            measure_npu(tmp_path / name, load_target("imx93-evk"))
    with pytest.raises(MeasurementError, match=r"'cortex-m4' has no \[npu\]"):
        measure_npu(tmp_path, load_target("cortex-m4"))


@needs_vela
def test_ram_and_flash_are_those_of_velas_file_when_all_of_it_runs_there() -> None:
    graph, target = dense(), load_target("alif-ensemble-e7-hp")
    (found,) = suitability(graph, [Asked(target, Budget(ram_bytes=10**6))])
    report = run_vela(emit_tflite(graph), U55)
    assert found.footprint is not None
    ram, flash = found.footprint.ram, found.footprint.flash
    assert ram.value == report.ram_bytes + target.runtime.ram_overhead
    assert flash.value == report.model_bytes + target.runtime.flash_overhead
    assert run_vela(emit_tflite(graph), U55) == report  # a compile says the same every time
    assert (ram.tier, flash.tier, found.footprint.latency) == (Tier.T2, Tier.T2, None)
    assert "edgekiln targets measure shows Vela's cycles" in found.note
    assert "RAM and flash are of the file that Vela" in found.note


@needs_vela
@pytest.mark.slow
def test_ram_and_flash_are_planned_and_said_so_when_the_cpu_runs_some() -> None:
    (found,) = suitability(dense(Op.LOG_SOFTMAX), [Asked(load_target("alif-ensemble-e7-hp"))])
    assert found.footprint is not None
    assert found.footprint.ram.tier is Tier.T0
    assert "planned, not Vela's: it leaves LogSoftmax to the CPU" in found.note


@needs_vela
@pytest.mark.slow
def test_velas_ram_keeps_a_limit_that_the_plan_keeps(mlperf_models: Path) -> None:
    graph = import_model(mlperf_models / "kws_dscnn_int8.tflite")
    target = load_target("alif-ensemble-e7-hp")
    planned = plan_arena(lower_padding(graph)).arena_bytes + target.runtime.ram_overhead
    (free,) = suitability(graph, [Asked(target)])
    (tight,) = suitability(graph, [Asked(target, Budget(ram_bytes=planned))])
    assert free.footprint is not None
    assert free.footprint.ram.value > planned  # it spends what it may on speed
    assert (tight.fits, tight.reasons) == (True, ())


@needs_vela
@pytest.mark.slow
def test_latency_limit_is_not_held_to_velas_cycles() -> None:
    limited = Asked(load_target("alif-ensemble-e7-hp"), Budget(latency_ms=1e3))
    (found,) = suitability(dense(), [limited])
    assert not found.fits
    assert "limited to 1000 ms and not known" in found.reasons[0]


def test_install_line_is_said_when_the_package_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekiln.compiler.mcu.distribution_version", lambda name: "absent")
    line = rf"{VELA} is not installed; pip install edgekiln\[mcu\]"
    with pytest.raises(MissingToolError, match=line):
        run_vela(b"", U55)
    (found,) = suitability(dense(), [Asked(load_target("imx93-evk"))])
    assert found.footprint is not None
    assert found.footprint.flash.tier is Tier.T0
    assert f"planned, not Vela's: {VELA} is not installed" in found.note
