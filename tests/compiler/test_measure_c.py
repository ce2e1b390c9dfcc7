"""Measuring generated C: figures that add up and repeat, and one line where it cannot be done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.artifacts import EmittedArtifact
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import EmitError, ImportModelError
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.measure_c import SAMPLES, measure_c
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.quantize import quantize
from edgekiln.targets.emulate import TOOLS, emulate_folder
from edgekiln.targets.errors import MeasurementError, MissingToolError
from edgekiln.targets.profiles import load_target

RequireTool = Callable[[str], str]
BundleOf = Callable[[Graph, Sequence[tuple[str, EmittedArtifact]]], Path]
TARGET = load_target("cortex-m4")


def _graph() -> Graph:
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    build = GraphBuilder("small", (1, 5, 5, 2))
    x = build.conv2d(build.input, weights(4, 3, 3, 2), weights(4), activation=Activation.RELU)
    x = build.mean(x)
    graph = build.finish(build.fully_connected(x, weights(3, 4), weights(3)))
    return quantize(graph, rng.normal(0, 1, (16, 5, 5, 2)).astype(np.float32))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return _graph()


@pytest.fixture
def folder(graph: Graph, tmp_path: Path) -> Path:
    golden = np.random.default_rng(1).integers(-128, 128, (2, 5, 5, 2)).astype(np.int8)
    emit_c(graph, golden).write(tmp_path)
    return tmp_path


@pytest.fixture
def tools(require_tool: RequireTool) -> None:
    for tool in TOOLS:
        require_tool(tool)


@pytest.mark.tool
@pytest.mark.usefixtures("tools")
def test_layers_add_up_when_a_folder_is_measured(folder: Path) -> None:
    report = measure_c(folder, TARGET)
    assert [cost.layer for cost in report.per_layer] == ["conv2d_0", "mean_1", "fully_connected_2"]
    assert report.per_layer[0].remark.startswith("5 x 5 x 2 -> 3 x 3 x 4, window 3 x 3 by 1 x 1")
    assert sum(cost.instructions for cost in report.per_layer) == report.instructions
    plain = emulate_folder(folder, TARGET)
    assert report.instructions == plain.instructions
    assert report.ram_total_bytes == plain.ram_bytes + plain.stack_bytes
    assert report.arena_bytes is not None
    assert report.arena_bytes <= report.ram_static_bytes
    assert (report.bit_exact.samples, report.bit_exact.mismatches) == (2, 0)
    assert report.notes == ()
    cycles = report.cycles_estimated
    assert cycles is not None
    assert (cycles.value, cycles.tier) == (report.instructions * 1.5, "T2")
    assert cycles.low < cycles.value < cycles.high


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.usefixtures("tools")
def test_figures_are_equal_when_measured_twice(folder: Path) -> None:
    assert measure_c(folder, TARGET) == measure_c(folder, TARGET)


@pytest.mark.tool
@pytest.mark.usefixtures("tools")
def test_golden_vector_is_counted_when_its_output_differs(folder: Path) -> None:
    path = folder / "golden.h"
    head, _, tail = path.read_text().partition("golden_outputs[GOLDEN_COUNT]")
    first, rest = tail.split("{\n    {\n    ", 1)
    number, _, others = rest.partition(",")
    wrong = str(int(number) - 1 if int(number) > 0 else int(number) + 1)
    text = f"{head}golden_outputs[GOLDEN_COUNT]{first}{{\n    {{\n    {wrong},{others}"
    path.write_text(text)
    report = measure_c(folder, TARGET)
    assert (report.bit_exact.samples, report.bit_exact.mismatches) == (2, 1)


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.usefixtures("tools")
def test_layers_are_left_out_when_model_c_names_others(folder: Path) -> None:
    path = folder / "model.c"
    path.write_text(path.read_text().replace("/* mean_1:", "/* mean 1:"))
    target = dataclasses.replace(TARGET, cycles_per_instruction=None)
    report = measure_c(folder, target)
    assert report.per_layer == ()
    assert {cost.function for cost in report.per_function} >= {"ek_conv2d", "model_invoke"}
    assert report.cycles_estimated is None
    assert "3 calls and model.c names 2 layers" in report.notes[0]
    assert "cycles_per_instruction" in report.notes[1]


@pytest.mark.tool
@pytest.mark.usefixtures("tools")
def test_kernels_are_those_of_the_core_when_a_model_is_measured(
    graph: Graph, tmp_path: Path
) -> None:
    path = tmp_path / "small.tflite"
    path.write_bytes(emit_tflite(graph))
    report = measure_c(path, TARGET)
    assert report.per_layer[0].kernel.startswith("ek_dsp_conv2d")
    assert (report.bit_exact.samples, report.bit_exact.mismatches) == (SAMPLES, 0)


@pytest.mark.tool
@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("owner", "kernel", "samples"), [("cortex-m4", "ek_conv2d", 1), ("host", "ek_dsp_conv2d", 3)]
)
@pytest.mark.slow
def test_own_c_goes_before_new_c_when_a_bundle_is_measured(
    owner: str, kernel: str, samples: int, graph: Graph, bundle_of: BundleOf
) -> None:
    golden = np.zeros((1, 5, 5, 2), np.int8)
    own = EmittedArtifact("c", emit_c(graph, golden).files, golden)
    host = EmittedArtifact("tflite", {"model.tflite": emit_tflite(graph)}, golden)
    artifacts = [(owner, own), ("host", host)]
    report = measure_c(bundle_of(graph, artifacts), TARGET)
    assert report.per_layer[0].kernel.startswith(kernel)
    assert (report.bit_exact.samples, report.bit_exact.mismatches) == (samples, 0)


def test_bundle_is_refused_when_it_has_neither_c_nor_tflite(
    graph: Graph, bundle_of: BundleOf
) -> None:
    with pytest.raises(EmitError, match="--target cortex-m4 --format c"):
        measure_c(bundle_of(graph, []), TARGET)


@pytest.mark.parametrize("name", ["missing.tflite", "model.onnx", "missing"])
def test_path_is_named_when_it_is_nothing_to_measure(name: str, tmp_path: Path) -> None:
    with pytest.raises(ImportModelError, match=name):
        measure_c(tmp_path / name, TARGET)


def test_folder_is_refused_when_it_has_no_golden_vectors(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    with pytest.raises(EmitError, match=r"no golden_outputs in golden\.h"):
        measure_c(tmp_path, TARGET)


def test_core_is_refused_in_one_line_when_no_board_has_it(folder: Path) -> None:
    with pytest.raises(MeasurementError, match="core 'host' has no emulated board"):
        measure_c(folder, load_target("host"))


def test_missing_tools_are_named_when_path_is_empty(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"make system.*gcc-arm-none-eabi"):
        measure_c(folder, TARGET)
