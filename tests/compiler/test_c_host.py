"""Generated C for this machine: priced, built, certified and verified as a device will run it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.data import Dataset
from edgekiln.compiler.errors import CompileError
from edgekiln.compiler.ops import Op
from edgekiln.compiler.oracles import answer_c_host
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.probes import Measuring, calibrate
from edgekiln.compiler.request import CompileRequest, CompileResult, TargetRequest
from edgekiln.compiler.verify import verify_bundle
from edgekiln.runtime.bundle import write_bundle
from edgekiln.runtime.c_library import library_name
from edgekiln.runtime.model import Model
from edgekiln.targets.evidence import Tier
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import CostTable, OpCost, Target

pytestmark = pytest.mark.tool
FOLDER = "artifacts/host/c"


@pytest.fixture(scope="module")
def request_c(digits: Dataset, student_path: Path, priced_host: Target) -> CompileRequest:
    ops = {op: OpCost(per_call_us=1.0, ns_per_mac=1.0, ns_per_byte=0.1) for op in Op}
    table = CostTable(ops, "c", "int8", Tier.T1, "made-up-c", 0.5, 2.0)
    target = dataclasses.replace(priced_host, costs=(table, *priced_host.costs))
    wanted = TargetRequest(target, ("c", "tflite"))
    return CompileRequest("digits", student_path, digits, (wanted,))


@pytest.fixture(scope="module")
def result(request_c: CompileRequest, require_tool: Callable[[str], str]) -> CompileResult:
    require_tool("gcc")
    return compile_model(request_c)


@pytest.fixture(scope="module")
def path(result: CompileResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "digits.ekb"
    result.write(path)
    return path


@pytest.mark.slow
def test_shared_library_is_a_member_when_c_is_compiled_for_this_machine(
    result: CompileResult,
) -> None:
    library = result.members[f"{FOLDER}/{library_name()}"]
    listed = {member.path for member in result.manifest.members}
    assert f"{FOLDER}/{library_name()}" in listed
    artifact = next(a for a in result.manifest.artifacts if a.format == "c")
    assert (artifact.flash.value, artifact.latency.evidence_id) == (len(library), "made-up-c")
    report = next(a for a in result.artifacts if a.format == "c")
    assert report.measured is not None
    assert (report.measured.tier, report.measured.value > 0) == (Tier.T3, True)
    assert any(library_name() in note for note in result.notes)


@pytest.mark.slow
def test_certificate_has_the_sources_and_the_library_when_c_is_for_this_machine(
    result: CompileResult,
) -> None:
    rows = {row.engine: (row.samples, row.mismatches) for row in result.certificate.engines}
    assert (rows["c-host"], rows["c-library"]) == ((200, 0), (256, 0))
    assert "c-emulated" not in rows


@pytest.mark.slow
def test_verification_runs_the_library_when_the_bundle_carries_one(
    result: CompileResult, path: Path, digits: Dataset
) -> None:
    report = verify_bundle(path, digits)
    assert report.passed
    assert (report.notes, report.differences) == ((), ())
    of_c = [(row.engine, row.samples, row.mismatches) for row in report.rows if row.format == "c"]
    assert of_c == [("c-host", 20, 0), ("c-library", 20, 0)]
    assert report.certificate is not None
    again = {row.engine: row for row in report.certificate.engines}
    for row in result.certificate.engines:
        assert row.engine == "float" or again[row.engine] == row


@pytest.mark.slow
def test_verification_fails_when_the_library_is_another_models(
    result: CompileResult, tmp_path: Path
) -> None:
    members = dict(result.members)
    model = members[f"{FOLDER}/model.c"]
    members[f"{FOLDER}/model.c"] = model.replace(b"int8_t *arena = (int8_t *)m->arena;", b"return;")
    assert members[f"{FOLDER}/model.c"] != model
    members[f"{FOLDER}/{library_name()}"] = b"no library"
    write_bundle(tmp_path / "forged.ekb", result.manifest, members)
    report = verify_bundle(tmp_path / "forged.ekb")
    assert not report.passed
    assert report.broken == ("host/c",)


@pytest.mark.slow
def test_answers_are_those_of_the_reference_when_the_runtime_is_asked_for_c(
    path: Path, digits: Dataset
) -> None:
    model = Model.open(path, engine="c")
    golden = model.run_golden()
    assert (golden.vectors, golden.max_lsb, golden.mismatching_labels) == (20, 0, 0)
    found = model.predict(digits.x[digits.validation]).indices
    assert (found == digits.y[digits.validation]).mean() == model.artifact.accuracy
    assert Model.open(path).artifact.format == "tflite"


@pytest.mark.slow
def test_bundles_are_equal_when_c_for_this_machine_is_compiled_twice(
    request_c: CompileRequest, result: CompileResult
) -> None:
    assert compile_model(request_c).data == result.data


@pytest.mark.slow
def test_host_gets_a_measured_table_of_c_when_it_is_asked_for(
    require_tool: Callable[[str], str],
) -> None:
    require_tool("gcc")
    target = calibrate(load_target("host"), formats=("c",), measuring=Measuring(budget_s=0))
    (table,) = target.costs
    assert (table.engine, table.tier, table.dtype) == ("c", Tier.T3, "int8")
    (evidence,) = (item for item in target.evidence if item.id == table.evidence_id)
    assert "generated C, " in evidence.source
    assert "edgekiln targets calibrate host --seed 0" in evidence.source


def test_program_that_does_not_end_well_is_an_error_when_samples_are_answered(
    require_tool: Callable[[str], str],
) -> None:
    require_tool("gcc")
    files = {
        "model.h": b"#include <stdint.h>\n#include <stdlib.h>\n#define MODEL_INPUT_SIZE 2\n"
        b"#define MODEL_OUTPUT_SIZE 1\ntypedef struct { int8_t in[2], out[1]; } model;\n"
        b"static int8_t *model_input(model *m) { return m->in; }\n"
        b"static const int8_t *model_output(const model *m) { return m->out; }\n"
        b"static void model_invoke(model *m) { if (m->in[0] < 0) abort(); "
        b"m->out[0] = (int8_t)(m->in[0] + m->in[1]); }\n"
    }
    samples = np.array([[1, 2], [3, 4], [5, 6]], np.int8)
    like = np.zeros((1, 1), np.int8)
    np.testing.assert_array_equal(answer_c_host(files, samples, like), [[3], [7], [11]])
    with pytest.raises(CompileError, match="model failed"):
        answer_c_host(files, -samples, like)
