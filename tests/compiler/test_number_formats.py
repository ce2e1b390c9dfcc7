"""Every number format that a recipe can ask for, from the model to the runtime's answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.compiler.data import Dataset
from edgekiln.compiler.ops import Op
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.recipe import ActivationFormat, Recipe, WeightFormat
from edgekiln.compiler.request import CompileRequest, TargetRequest
from edgekiln.compiler.verify import verify_bundle
from edgekiln.runtime.model import Model
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import OpCost, Target

RECIPES = {
    "int8.v1": Recipe(),
    "int16x8.v1": Recipe(activations=ActivationFormat.INT16),
    "int4w.v1": Recipe(weights=WeightFormat.INT4),
    "float32 from float16": Recipe(
        activations=ActivationFormat.FLOAT32, weights=WeightFormat.FLOAT16
    ),
    "float32": Recipe(activations=ActivationFormat.FLOAT32, weights=WeightFormat.FLOAT32),
}


@pytest.mark.slow
@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
@pytest.mark.parametrize("name", RECIPES)
def test_bundle_is_certified_and_answers_when_the_recipe_names_a_format(
    name: str, fmt: str, digits: Dataset, student_path: Path, priced_host: Target, tmp_path: Path
) -> None:
    host = dataclasses.replace(
        priced_host,
        costs=tuple(
            dataclasses.replace(
                table, dtype=dtype, ops={op.value: OpCost(0.2, 0.1, 0.05) for op in Op}
            )
            for table in priced_host.costs
            for dtype in ("int8", "int16", "float32")
        ),
    )
    request = CompileRequest(
        "formats",
        student_path,
        digits,
        (TargetRequest(host, (fmt,)),),
        recipe=RECIPES[name],
    )
    result = compile_model(request)
    certificate = result.certificate
    assert certificate.numerics == name.partition(" ")[0]
    # TensorFlow Lite Micro, where it is installed, refuses float16 weights and says so.
    assert not [line for line in certificate.missing if not line.startswith("tflm")]
    assert certificate.diverging == {}
    exact = [row for row in certificate.engines if row.engine == "litert-reference"]
    if certificate.numerics == "float32":
        assert all(row.max_lsb is None for row in certificate.engines)
        assert all((row.max_relative or 0) < 1e-5 for row in exact)
    else:
        assert all(row.max_lsb == 0 for row in exact)
    assert len(exact) == (fmt == "tflite")
    bundle = result.write(tmp_path / "formats.ekb")
    assert {artifact.numerics for artifact in bundle.manifest.artifacts} == {certificate.numerics}
    golden = Model.open(bundle).run_golden()
    assert golden.mismatching_labels == 0
    assert golden.max_lsb <= 2
    found = Model.open(bundle).predict(digits.x[digits.validation])
    share = float((found.indices == digits.y[digits.validation]).mean())
    (accuracy,) = (row.accuracy for row in result.accuracies if row.format == fmt)
    assert share == accuracy


@pytest.mark.slow
@pytest.mark.tool
def test_c_is_certified_on_host_and_core_when_activations_are_int16(
    digits: Dataset, student_path: Path, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    for tool in ("gcc", *TOOLS):
        require_tool(tool)
    request = CompileRequest(
        "formats",
        student_path,
        digits,
        (TargetRequest(load_target("cortex-m4"), ("c",)),),
        recipe=RECIPES["int16x8.v1"],
    )
    result = compile_model(request)
    assert result.certificate.numerics == "int16x8.v1"
    assert result.certificate.missing == ()
    rows = {row.engine: row.max_lsb for row in result.certificate.engines if row.format == "c"}
    assert rows == {"c-host": 0, "c-emulated": 0}
    result.write(tmp_path / "formats.ekb")
    report = verify_bundle(tmp_path / "formats.ekb")
    assert report.passed
    assert {row.engine for row in report.rows} == {"c-host", "c-emulated"}
