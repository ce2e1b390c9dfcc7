"""TensorFlow Lite Micro within a step of the reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks import mcu_emlearn, mcu_tflm
from benchmarks.figure import QUICK
from edgekiln.compiler.artifacts import ArtifactKind, emit_artifact
from edgekiln.compiler.bounds import bound_of, depth_of
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.certify import certify
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import CompileError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.layer_parity import compare_alone
from edgekiln.compiler.mcu import TFLM, run_tflm
from edgekiln.compiler.numerics import numerics_of
from edgekiln.compiler.ops import GeluAttrs, Op
from edgekiln.compiler.oracles import Engine
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8, run_int8_all
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.errors import MissingToolError

Require = Callable[[str, str], None]
MODELS = ("ad_fc", "ic_resnet8", "kws_dscnn", "vww_mbv1")


@pytest.mark.parametrize("seed", range(5))
def test_tflm_is_within_a_step_when_the_graph_is_random(
    random_graph: Callable[[int], Graph],
    draw_samples: Callable[..., Array],
    require_package: Require,
    seed: int,
) -> None:
    require_package(TFLM, "mcu")
    graph = random_graph(seed)
    x = draw_samples(graph, 16, 1)
    int8 = quantize(graph, draw_samples(graph, 64))
    found = run_tflm(emit_tflite(int8), x)
    expected = run_int8(int8, quantize_input(int8, x))
    assert found.dtype == np.int8
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_certificate_has_a_row_of_tflm_when_it_is_installed(
    random_graph: Callable[[int], Graph],
    draw_samples: Callable[..., Array],
    require_package: Require,
) -> None:
    require_package(TFLM, "mcu")
    graph = random_graph(1)
    x = draw_samples(graph, 40, 1)
    int8 = quantize(graph, x)
    artifacts = [emit_artifact(int8, ArtifactKind("tflite"), quantize_input(int8, x[:4]))]
    certificate = certify(graph, int8, artifacts, {}, x)
    (row,) = (row for row in certificate.engines if row.engine == "tflm")
    assert (row.samples, row.passed) == (32, True)
    assert row.max_lsb is not None
    assert row.max_lsb <= 2
    assert row.bound.startswith("at most ")
    assert {layer.engine for layer in certificate.layers} >= {"tflm", "litert-xnnpack"}
    assert certificate.diverging == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_tflm_is_within_a_step_a_layer_on_a_real_model(
    name: str, mlperf_models: Path, require_package: Require
) -> None:
    require_package(TFLM, "mcu")
    graph = import_model(mlperf_models / f"{name}_int8.tflite")
    quant = graph.input.quant
    assert quant is not None
    codes = np.random.default_rng(0).integers(-128, 128, (4, *graph.input.shape[1:]))
    x = ((codes - quant.zero_point[0]) * quant.scale[0]).astype(np.float32)
    found = run_tflm(emit_tflite(graph), x)
    recorded = run_int8_all(graph, quantize_input(graph, x))
    rows, remarks = compare_alone(graph, recorded, Engine.TFLM)
    assert (len(rows), remarks) == (len(graph.nodes), ())
    assert max(row.max_lsb for row in rows) <= 1
    expected = recorded[graph.outputs[0]].reshape(found.shape)
    bound = bound_of(Engine.TFLM, depth_of(graph), expected.dtype, numerics_of(graph))
    assert bound is not None
    assert np.abs(found.astype(int) - expected).max() <= min(2, bound.max_lsb)


def test_one_line_is_said_when_a_model_is_refused(require_package: Require) -> None:
    require_package(TFLM, "mcu")
    with pytest.raises(CompileError, match="TensorFlow Lite Micro refuses the model: ") as caught:
        run_tflm(b"no model at all", np.zeros((1, 4), np.float32))
    assert "\n" not in str(caught.value)


def test_missing_kernel_is_named_in_the_line_alone_when_it_is_why(
    require_package: Require, capfd: pytest.CaptureFixture[str]
) -> None:
    require_package(TFLM, "mcu")
    build = GraphBuilder("gelu", (1, 4))
    graph = build.finish(build.node(Op.GELU, (build.input,), GeluAttrs()))
    with pytest.raises(CompileError, match="GELU") as caught:
        run_tflm(emit_tflite(graph), np.zeros((1, 4), np.float32))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_install_line_is_said_when_the_package_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekiln.compiler.mcu.distribution_version", lambda name: "absent")
    with pytest.raises(MissingToolError, match=rf"{TFLM} is not installed; pip install edge"):
        run_tflm(b"", np.zeros((1, 4), np.float32))


@pytest.mark.parametrize("peer", [mcu_emlearn, mcu_tflm])
def test_benchmark_says_what_to_install_when_its_peer_is_absent(
    peer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "distribution_version", lambda name: "absent")
    (figure,) = peer.run(QUICK)
    assert "not installed: " in figure.name
    assert "pip install 'edgekiln[" in figure.name


@pytest.mark.slow
def test_network_needs_less_than_emlearns_when_both_run_on_the_core(
    require_package: Require, require_tool: Callable[[str], str]
) -> None:
    require_package("emlearn", "dev")
    for tool in TOOLS:
        require_tool(tool)
    figures = {figure.name: figure for figure in mcu_emlearn.run(QUICK)}
    assert all(figure.passed for figure in figures.values())
    for who in ("emlearn", "emlearn, FPU", "ours"):
        assert figures[f"network of 32: {who}: classes as scikit-learn's"].value >= 95
    assert figures["tree: emlearn: classes as scikit-learn's"].value == 100
    assert "tree: ours: not supported in C" in figures
