"""Compiles that stay near a base: a small exact delta, at the accuracy that was asked for."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.data import Dataset
from edgekiln.compiler.errors import CompileError
from edgekiln.compiler.graph import DType, Graph
from edgekiln.compiler.load_model import load_file
from edgekiln.compiler.near_base import read_base
from edgekiln.compiler.passes import untraced
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.recipe import Recipe, WeightFormat
from edgekiln.compiler.request import CompileRequest, TargetRequest, UpdateRequest
from edgekiln.runtime.bundle import parse_bundle
from edgekiln.runtime.delta import apply_delta
from edgekiln.runtime.delta_plan import make_delta
from edgekiln.runtime.tensor_map import tensors_of
from edgekiln.targets.target import Target

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def request_for(digits: Dataset, student_path: Path, priced_host: Target) -> CompileRequest:
    wanted = TargetRequest(priced_host, ("tflite", "onnx"))
    return CompileRequest("digits", student_path, digits, (wanted,), force_reason="a test")


@pytest.fixture(scope="module")
def base_path(request_for: CompileRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.ekb"
    compile_model(request_for).write(path)
    return path


def moved(path: Path, digits: Dataset, share: float) -> Graph:
    """The model with every weight moved by about `share` of its tensor's deviation."""
    graph = load_file(path, digits, untraced).graph
    rng = np.random.default_rng(5)
    values = [
        dataclasses.replace(
            value,
            data=(value.data + share * value.data.std() * rng.normal(size=value.shape)).astype(
                np.float32
            ),
        )
        if value.data is not None and value.dtype is DType.FLOAT32
        else value
        for value in graph.values.values()
    ]
    return graph.replace(values=values)


def test_update_is_small_exact_and_no_worse_when_a_base_is_given(
    request_for: CompileRequest, base_path: Path, student_path: Path, digits: Dataset
) -> None:
    graph = moved(student_path, digits, 0.05)
    plain = dataclasses.replace(request_for, model=graph)
    alone = compile_model(plain)
    near = compile_model(dataclasses.replace(plain, update=UpdateRequest(base_path)))
    assert alone.update is None
    report = near.update
    assert report is not None
    assert report.near
    assert near.manifest.accuracy_int8 >= report.accuracy_alone == alone.manifest.accuracy_int8
    base = base_path.read_bytes()
    ordinary = make_delta(base, alone.data)
    delta = make_delta(base, near.data)
    assert report.delta_bytes == len(delta) < 0.6 * len(ordinary)
    assert report.changed < 0.5
    for data, made in ((alone.data, ordinary), (near.data, delta)):
        out = io.BytesIO()
        apply_delta(io.BytesIO(base), io.BytesIO(made).read, out, (len(base), len(data)))
        assert out.getvalue() == data
    assert all(row.passed for row in near.certificate.engines)
    assert any("update from" in note for note in near.notes)
    assert near.manifest.inputs["base"] != ""
    spans = tensors_of(parse_bundle(near.data, "near"))
    assert {member.rsplit(".", 1)[1] for member in spans} == {"tflite", "onnx"}


def test_bytes_are_those_of_the_base_when_nothing_was_trained(
    request_for: CompileRequest, base_path: Path
) -> None:
    again = compile_model(dataclasses.replace(request_for, update=UpdateRequest(base_path)))
    base = parse_bundle(base_path.read_bytes(), "base")
    name = "artifacts/host/model.tflite"
    report = again.update
    assert report is not None
    assert report.changed < 0.02
    assert len(again.members[name]) == len(base.read(name))
    assert report.delta_bytes < 0.03 * report.full_bytes


def test_model_is_quantized_by_itself_and_said_so_when_nothing_nearer_is_good_enough(
    request_for: CompileRequest,
    base_path: Path,
    teacher_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    student_path: Path,
    digits: Dataset,
) -> None:
    monkeypatch.setattr("edgekiln.compiler.near.PRICES", ())
    graph = moved(student_path, digits, 0.05)
    request = dataclasses.replace(request_for, model=graph, update=UpdateRequest(base_path))
    done = compile_model(request)
    assert done.update is not None
    assert not done.update.near
    assert any("quantized by itself" in note for note in done.notes)
    with pytest.raises(CompileError, match=r"no int8 tensor '.*' as this model has it"):
        compile_model(dataclasses.replace(request, model=teacher_path))
    with pytest.raises(CompileError, match="int4 tensor"):
        compile_model(dataclasses.replace(request, recipe=Recipe(weights=WeightFormat.INT4)))
    with pytest.raises(CompileError, match="not within 0 to 100"):
        compile_model(dataclasses.replace(request, update=UpdateRequest(base_path, float("nan"))))


def test_base_is_refused_when_it_has_no_codes_to_stay_near_to(
    request_for: CompileRequest, tmp_path: Path
) -> None:
    (wanted,) = request_for.targets
    only = dataclasses.replace(wanted, formats=("onnx",))
    path = tmp_path / "onnx.ekb"
    compile_model(dataclasses.replace(request_for, targets=(only,))).write(path)
    with pytest.raises(CompileError, match="has no tflite artifact"):
        read_base(path)
