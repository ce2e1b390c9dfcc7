"""The certificate: exact engines are exact, others keep their bound, damage is caught."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekiln.compiler.artifacts import ArtifactKind, EmittedArtifact, emit_artifact
from edgekiln.compiler.bounds import depth_of
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.certify import certify
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.errors import ParityError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.layer_parity import compare_alone
from edgekiln.compiler.ops import Op
from edgekiln.compiler.oracles import Engine
from edgekiln.compiler.parity import (
    Certificate,
    compare,
    compare_layers,
    cpu_flags,
    diverging,
    enforce_parity,
    first_diverging,
)
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8_all

Draw = Callable[..., Array]


def emitted(graph: Graph, x: Array, formats: tuple[str, ...]) -> list[EmittedArtifact]:
    golden = quantize_input(graph, x[:4])
    return [emit_artifact(graph, ArtifactKind(fmt), golden) for fmt in formats]


@pytest.mark.parametrize("seed", range(6))
def test_certificate_holds_when_the_graph_is_random(
    random_graph: Callable[[int], Graph], draw_samples: Draw, seed: int
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 64, 1)
    int8 = quantize(graph, draw_samples(graph, 64))
    certificate = certify(graph, int8, emitted(int8, x, ("tflite", "onnx")), {}, x)
    enforce_parity(certificate)
    rows = {row.engine: row for row in certificate.engines}
    always = {"float", "litert-reference", "litert-xnnpack", "onnxruntime"}
    assert set(rows) - {"tflm"} == always
    assert rows["litert-reference"].max_lsb == 0
    assert certificate.first_diverging == ""
    assert certificate.layers


def test_c_row_is_exact_when_a_compiler_is_here(
    random_graph: Callable[[int], Graph], draw_samples: Draw, require_tool: Callable[[str], str]
) -> None:
    require_tool("gcc")
    graph = random_graph(3)
    x = draw_samples(graph, 20, 1)
    int8 = quantize(graph, x)
    certificate = certify(graph, int8, emitted(int8, x, ("c",)), {}, x)
    (row,) = (row for row in certificate.engines if row.engine == "c-host")
    assert (row.samples, row.max_lsb, row.passed) == (20, 0, True)


def test_every_family_has_a_row_of_its_own_when_c_of_several_is_certified(
    random_graph: Callable[[int], Graph], draw_samples: Draw, require_tool: Callable[[str], str]
) -> None:
    require_tool("gcc")
    graph = random_graph(3)
    x = draw_samples(graph, 20, 1)
    int8 = quantize(graph, x)
    golden = quantize_input(int8, x[:4])
    artifacts = [emit_artifact(int8, ArtifactKind("c", family), golden) for family in Family]
    assert [artifact.family for artifact in artifacts] == list(Family)
    certificate = certify(graph, int8, artifacts, {}, x)
    rows = [row for row in certificate.engines if row.engine == "c-host"]
    assert [(row.kernels, row.max_lsb) for row in rows] == [(family, 0) for family in Family]
    assert rows[1].form == "c, dsp kernels"


def test_missing_compiler_is_noted_when_generated_c_is_certified(
    random_graph: Callable[[int], Graph],
    draw_samples: Draw,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    graph = random_graph(3)
    x = draw_samples(graph, 8, 1)
    int8 = quantize(graph, x)
    artifacts = emitted(int8, x, ("c",))
    monkeypatch.setenv("PATH", str(tmp_path))
    certificate = certify(graph, int8, artifacts, {}, x)
    assert [row.engine for row in certificate.engines] == ["float"]
    assert "gcc not found" in certificate.missing[0]


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_parity_breaks_when_an_artifact_holds_other_weights(
    random_graph: Callable[[int], Graph], draw_samples: Draw, fmt: str
) -> None:
    graph = random_graph(1)
    x = draw_samples(graph, 64, 1)
    int8 = quantize(graph, x)
    certificate = certify(graph, int8, emitted(rolled(int8), x, (fmt,)), {}, x)
    assert not all(row.passed for row in certificate.engines)
    place = f"; first diverging layer: {int8.nodes[-1].name}" if fmt == "tflite" else ""
    with pytest.raises(ParityError, match=rf"\({fmt}\) differs from the integer.*{place}$"):
        enforce_parity(certificate)


def rolled(graph: Graph) -> Graph:
    """The graph with the rows of its last weights moved by one: every label means another."""
    weights = graph.values[graph.nodes[-1].inputs[1]]
    assert weights.data is not None
    other = dataclasses.replace(weights, data=np.roll(weights.data, 1, axis=0))
    return graph.replace(values=[*graph.values.values(), other])


def test_layers_agree_when_the_file_is_of_the_graph(
    random_graph: Callable[[int], Graph], draw_samples: Draw
) -> None:
    graph = random_graph(2)
    x = draw_samples(graph, 8, 1)
    int8 = quantize(graph, x)
    rows = compare_layers(int8, emitted(int8, x, ("tflite",))[0].model, x)
    assert first_diverging(rows) == ""
    assert {row.name for row in rows} <= {node.name for node in int8.nodes}
    assert rows[-1].name == int8.nodes[-1].name


@pytest.mark.parametrize(
    ("engine", "shift", "depth", "passed"),
    [
        (Engine.LITERT_REFERENCE, 1, 9, False),
        (Engine.C_HOST, 1, 9, False),
        (Engine.LITERT_XNNPACK, 1, 1, True),
        (Engine.LITERT_XNNPACK, 2, 1, False),  # every output
        (Engine.LITERT_XNNPACK, 2, 4, True),
        (Engine.LITERT_XNNPACK, 3, 4, False),
        (Engine.ONNXRUNTIME, 7, 100, False),  # no depth excuses that
        (Engine.ONNXRUNTIME, 40, 100, False),
        (Engine.FLOAT, 40, 1, True),
    ],
)
def test_bound_follows_the_depth_when_every_output_is_shifted(
    engine: Engine, shift: int, depth: int, passed: bool
) -> None:
    expected = np.random.default_rng(0).integers(-60, 60, (50, 4)).astype(np.int8)
    found = (expected + shift).astype(np.int8)
    row = compare(engine, "tflite", "", "", expected, found, depth)
    assert (row.max_lsb, row.mean_lsb, row.label_flips, row.passed) == (shift, shift, 0, passed)
    assert row.beyond_one == (row.outputs if shift > 1 else 0)


def test_bound_breaks_when_one_output_is_far_off() -> None:
    expected = np.zeros((100, 4), np.int8)
    found = expected.copy()
    found[7, 2] = 8
    assert compare(Engine.ONNXRUNTIME, "onnx", "", "", expected, found, 4).passed
    found[7, 2] = 9
    row = compare(Engine.ONNXRUNTIME, "onnx", "", "", expected, found, 4)
    assert (row.max_lsb, row.label_flips, row.passed) == (9, 1, False)


def test_reference_kernels_may_round_otherwise_when_layers_run_in_float_between_integers() -> None:
    expected = np.tile(np.array([[5, 0]], np.int8), (20, 1))
    found = expected.copy()
    found[0, 0] += 1
    for numerics, passed in (
        ("int8.v1", False),
        ("int4w.v1+int16x8.v1", False),
        ("float32+int8.v1", True),
    ):
        engine = Engine.LITERT_REFERENCE
        row = compare(engine, "tflite", "", "1", expected, found, numerics=numerics)
        assert row.passed is passed
    exact = compare(Engine.REFERENCE, "", "", "1", expected, found, numerics="float32+int8.v1")
    assert not exact.passed


def test_depth_counts_layers_that_round_on_the_longest_path() -> None:
    build = GraphBuilder("depth", (1, 8, 8, 3))
    kernel = np.ones((3, 1, 1, 3))
    one = build.conv2d(build.input, kernel)
    padded = build.pad(one, ((1, 1), (0, 0)))
    two = build.conv2d(build.conv2d(padded, np.ones((3, 3, 1, 3))), kernel)
    both = build.mean(build.add(one, two))
    assert depth_of(build.finish(build.reshape(both, (1, 3)))) == 5


@pytest.mark.parametrize("seed", range(4))
def test_layer_alone_is_within_one_step_when_the_graph_is_random(
    random_graph: Callable[[int], Graph], draw_samples: Draw, seed: int
) -> None:
    graph = random_graph(seed)
    int8 = quantize(graph, draw_samples(graph, 64))
    recorded = run_int8_all(int8, quantize_input(int8, draw_samples(graph, 16, 1)))
    for engine in (Engine.LITERT_XNNPACK, Engine.ONNXRUNTIME):
        rows, remarks = compare_alone(int8, recorded, engine)
        assert remarks == ()
        assert [row.name for row in rows] == [node.name for node in int8.nodes]
        assert all(row.max_lsb <= 1 and not row.diverges for row in rows)
        assert all(row.off <= max(1, 0.2 * row.elements) for row in rows)


def test_layer_alone_diverges_and_is_named_when_its_engine_computes_another(
    random_graph: Callable[[int], Graph], draw_samples: Draw
) -> None:
    """The reference's record of a layer in the middle is moved: only its row may say so."""
    int8 = quantize(random_graph(2), draw_samples(random_graph(2), 64))
    recorded = run_int8_all(int8, quantize_input(int8, draw_samples(int8, 16, 1)))
    node = int8.nodes[len(int8.nodes) // 2]
    spoiled = dict(recorded)
    moved = recorded[node.output].astype(np.int16) // 2 - 3
    spoiled[node.output] = moved.astype(np.int8)
    rows, _ = compare_alone(int8, spoiled, Engine.LITERT_XNNPACK)
    assert diverging(rows)["litert-xnnpack"] == node.name


def test_comparison_is_refused_when_shapes_differ() -> None:
    zeros = np.zeros((2, 3), np.int8)
    with pytest.raises(ParityError, match=r"outputs of shape \(2, 2\)"):
        compare(Engine.C_HOST, "c", "", "", zeros, zeros[:, :2])


def test_certificate_survives_json_when_written(
    random_graph: Callable[[int], Graph], draw_samples: Draw
) -> None:
    graph = random_graph(1)
    x = draw_samples(graph, 8, 1)
    int8 = quantize(graph, x)
    certificate = certify(graph, int8, emitted(int8, x, ("tflite",)), {}, x)
    assert msgspec.json.decode(certificate.to_bytes(), type=Certificate) == certificate


def test_cpu_flags_are_the_ones_that_choose_kernels_when_told(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nflags : fpu avx2 sse avx512_vnni\n")
    assert cpu_flags(info) == ("avx2", "avx512_vnni")
    info.write_text("Features : fp asimd asimddp\n")
    assert cpu_flags(info) == ("asimd", "asimddp")
    assert cpu_flags(tmp_path / "none") == ()


def test_reference_kernels_are_no_witness_when_they_lack_an_operator(draw_samples: Draw) -> None:
    build = GraphBuilder("elu", (1, 6))
    graph = build.finish(build.node(Op.ELU, (build.input,)))
    int8 = quantize(graph, draw_samples(graph, 64))
    x = draw_samples(graph, 64, 1)
    certificate = certify(graph, int8, emitted(int8, x, ("tflite", "onnx")), {}, x)
    enforce_parity(certificate)
    engines = {row.engine for row in certificate.engines} - {"tflm"}
    assert engines == {"float", "litert-xnnpack", "onnxruntime"}
    layers = {row.engine for row in certificate.layers} - {"tflm"}
    assert layers == {"litert-xnnpack", "onnxruntime"}
    assert any("reference kernels lack operator ELU" in said for said in certificate.missing)
