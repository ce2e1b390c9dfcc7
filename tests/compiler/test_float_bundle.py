"""Outputs that are no int8: certified, packed, and run by the runtime as what they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekiln.compiler.artifacts import ArtifactKind, EmittedArtifact, emit_artifact
from edgekiln.compiler.certify import certify
from edgekiln.compiler.data import Dataset
from edgekiln.compiler.errors import ParityError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.numerics import is_quantized, numerics_of, output_scale
from edgekiln.compiler.oracles import Engine
from edgekiln.compiler.parity import compare, enforce_parity, relative_error
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.request import CompileRequest, CompileResult, TargetRequest
from edgekiln.runtime.bundle import Bundle, open_bundle, write_bundle
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.model import Model
from edgekiln.targets.target import Target


def emitted(graph: Graph, x: Array) -> list[EmittedArtifact]:
    return [emit_artifact(graph, ArtifactKind(fmt), x[:4]) for fmt in ("tflite", "onnx")]


@pytest.mark.parametrize("seed", range(4))
def test_certificate_tells_relative_errors_when_the_graph_stays_float(
    random_graph: Callable[[int], Graph], draw_samples: Callable[..., Array], seed: int
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 32, 1)
    certificate = certify(None, graph, emitted(graph, x), {}, x)
    enforce_parity(certificate)
    assert certificate.numerics == "float32"
    rows = {row.engine: row for row in certificate.engines}
    assert set(rows) - {"tflm"} == {"litert-reference", "litert-xnnpack", "onnxruntime"}
    assert all(row.max_lsb is None for row in rows.values())
    assert all(0 <= (row.max_relative or 0.0) < 1e-5 for row in rows.values())
    assert certificate.first_diverging == ""


def test_parity_breaks_when_a_float_artifact_holds_other_weights(
    random_graph: Callable[[int], Graph], draw_samples: Callable[..., Array]
) -> None:
    graph = random_graph(1)
    x = draw_samples(graph, 32, 1)
    last = graph.values[graph.nodes[-1].inputs[1]]
    assert last.data is not None
    other = dataclasses.replace(last, data=last.data * np.float32(1.001))
    spoiled = graph.replace(values=[*graph.values.values(), other])
    certificate = certify(None, graph, emitted(spoiled, x), {}, x)
    with pytest.raises(ParityError, match=f"diverging layer: {graph.nodes[-1].name}"):
        enforce_parity(certificate)


def test_relative_error_is_a_share_of_the_largest_output() -> None:
    expected = np.array([[4.0, -8.0]], np.float32)
    assert relative_error(expected, np.array([[4.0, -8.4]], np.float32)) == pytest.approx(0.05)
    assert relative_error(expected, np.array([[4.0, np.nan]], np.float32)) == np.inf
    with pytest.raises(ParityError, match="gave int8 outputs"):
        compare(Engine.ONNXRUNTIME, "onnx", "", "", expected, expected.astype(np.int8))


def test_numerics_are_named_by_what_the_values_hold(
    random_graph: Callable[[int], Graph], draw_samples: Callable[..., Array]
) -> None:
    graph = random_graph(1)
    int8 = quantize(graph, draw_samples(graph, 16))
    assert (numerics_of(graph), numerics_of(int8)) == ("float32", "int8.v1")
    assert (is_quantized(graph), is_quantized(int8)) == (False, True)


@pytest.fixture(scope="module")
def float_bundle(
    digits: Dataset,
    student_path: Path,
    priced_host: Target,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Bundle, Graph]:
    """A bundle whose artifacts and golden vectors are float32."""
    request = CompileRequest("digits", student_path, digits, (TargetRequest(priced_host),))
    result: CompileResult = compile_model(request)
    graph = optimize(import_model(student_path))
    raw = digits.x[digits.validation[:16]]
    x = digits.contract.preprocess(raw)
    expected = run_float(graph, x)
    scale = output_scale(graph, expected)
    members = {**result.members, "golden.npz": pack_golden(Golden(raw, expected, scale.scale, 0))}
    emitted_again = {made.format: made for made in emitted(graph, x)}
    artifacts = []
    for artifact in result.manifest.artifacts:
        made = emitted_again[artifact.format]
        members[artifact.path] = made.model
        artifacts.append(
            msgspec.structs.replace(
                artifact, numerics="float32", bytes=made.nbytes, sha256=made.sha256
            )
        )
    draft = msgspec.structs.replace(result.manifest, artifacts=tuple(artifacts))
    path = tmp_path_factory.mktemp("float") / "float.ekb"
    write_bundle(path, draft, members)
    return open_bundle(path), graph


def test_runtime_answers_in_floats_when_the_bundle_is_float(
    float_bundle: tuple[Bundle, Graph], digits: Dataset
) -> None:
    bundle, graph = float_bundle
    assert bundle.golden().expected.dtype == np.float32
    assert Model.open(bundle).run_golden().mismatching_labels == 0
    assert Model.open(bundle).run_golden().max_lsb == 0
    raw = digits.x[digits.validation]
    expected = run_float(graph, digits.contract.preprocess(raw))
    found = Model.open(bundle).predict(raw)
    np.testing.assert_array_equal(found.indices, expected.argmax(axis=1))
    shares = np.exp(expected - expected.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        found.probabilities, shares / shares.sum(axis=1, keepdims=True), atol=1e-5
    )


def test_golden_steps_count_shares_of_the_range_when_outputs_are_float() -> None:
    expected = np.array([[0.0, 255.0]], np.float32)
    golden = Golden(np.zeros((1, 2), np.float32), expected, 1.0, 0)
    assert golden.steps(expected + np.float32(0.4)) == 0
    assert golden.steps(expected + np.float32(3.2)) == 3
