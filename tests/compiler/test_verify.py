"""Verification: an honest bundle passes in every engine, a dishonest or damaged one never does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekiln.compiler.data import Dataset, load_dataset
from edgekiln.compiler.errors import DataContentError
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.request import CompileRequest, CompileResult, TargetRequest
from edgekiln.compiler.verify import verify_bundle
from edgekiln.runtime.bundle import write_bundle
from edgekiln.runtime.errors import BundleError, DigestError, NotABundleError
from edgekiln.runtime.golden import pack_golden, unpack_golden
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target


@pytest.fixture(scope="module")
def result(digits: Dataset, student_path: Path, priced_host: Target) -> CompileResult:
    targets = (TargetRequest(priced_host), TargetRequest(load_target("cortex-m4"), ("c",)))
    return compile_model(CompileRequest("digits", student_path, digits, targets))


@pytest.fixture(scope="module")
def bundle_path(result: CompileResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "digits.ekb"
    result.write(path)
    return path


def test_every_engine_passes_when_the_bundle_is_whole(
    bundle_path: Path, result: CompileResult, require_tool: Callable[[str], str]
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    report = verify_bundle(bundle_path)
    assert report.passed
    assert report.notes == ()
    assert report.bundle_id == result.bundle_id
    assert [(row.target, row.engine) for row in report.rows] == [
        ("host", "reference"),
        ("host", "litert-reference"),
        ("host", "litert-xnnpack"),
        ("host", "onnxruntime"),
        ("cortex-m4", "c-host"),
        ("cortex-m4", "c-emulated"),
    ]
    exact = {row.engine: row.max_lsb for row in report.rows}
    assert exact["litert-reference"] == exact["c-host"] == exact["c-emulated"] == 0


@pytest.mark.slow
def test_nothing_differs_when_machine_and_tools_are_those_of_the_compile(
    bundle_path: Path, digits: Dataset, result: CompileResult
) -> None:
    report = verify_bundle(bundle_path, digits)
    assert report.differences == ()
    assert report.certificate is not None
    again = {row.engine: row for row in report.certificate.engines}
    for row in result.certificate.engines:
        if row.engine in again:
            assert again[row.engine] == row
    assert {"litert-reference", "litert-xnnpack", "onnxruntime"} <= set(again)
    assert report.certificate.layers


@pytest.mark.slow
def test_differences_are_named_when_the_record_is_of_another_machine(
    result: CompileResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = result.certificate
    golden = tuple(
        msgspec.structs.replace(row, version="onnxruntime 0.1", max_lsb=9)
        if row.engine == "onnxruntime"
        else row
        for row in recorded.golden
    )
    forged = msgspec.structs.replace(recorded, cpu_flags=("sse9",), golden=golden)
    tools = {**result.manifest.tools, "numpy": "0.0"}
    path = tmp_path / "elsewhere.ekb"
    write_bundle(
        path,
        msgspec.structs.replace(result.manifest, tools=tools),
        {**result.members, "certificate.json": forged.to_bytes()},
    )
    report = verify_bundle(path)
    assert report.passed
    seen = {(item.place, item.quantity): item.recorded for item in report.differences}
    assert seen == {
        ("this machine", "CPU flags"): "sse9",
        ("numpy", "version"): "0.0",
        ("onnxruntime (onnx), golden vectors", "engine version"): "onnxruntime 0.1",
        ("onnxruntime (onnx), golden vectors", "largest difference"): "9 LSB",
    }


def test_data_is_refused_when_it_is_not_that_of_the_compile(bundle_path: Path) -> None:
    with pytest.raises(DataContentError, match="'iris' is not what"):
        verify_bundle(bundle_path, load_dataset("sklearn:iris"))


def test_engines_are_noted_and_skipped_when_tools_are_absent(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = verify_bundle(bundle_path)
    assert report.passed
    assert {row.engine for row in report.rows} == {
        *("reference", "litert-reference", "litert-xnnpack", "onnxruntime")
    }
    assert len(report.notes) == 2
    assert all("was not run" in note and "\n" not in note for note in report.notes)


@pytest.mark.slow
def test_every_engine_fails_when_the_golden_answers_are_others(
    result: CompileResult, tmp_path: Path
) -> None:
    golden = unpack_golden(result.members["golden.npz"], "test")
    rolled = np.roll(golden.expected, 1, axis=1)
    forged = pack_golden(type(golden)(golden.inputs, rolled, golden.scale, golden.zero_point))
    path = tmp_path / "forged.ekb"
    write_bundle(path, result.manifest, {**result.members, "golden.npz": forged})
    report = verify_bundle(path)
    assert report.rows
    assert not any(row.passed for row in report.rows)


@pytest.mark.slow
def test_artifact_fails_with_a_note_when_no_engine_can_load_it(
    result: CompileResult, tmp_path: Path
) -> None:
    path = "artifacts/host/model.onnx"
    broken = b"no onnx at all"
    artifacts = tuple(
        msgspec.structs.replace(a, bytes=len(broken), sha256=_sha256(broken))
        if a.path == path
        else a
        for a in result.manifest.artifacts
    )
    manifest = msgspec.structs.replace(result.manifest, artifacts=artifacts)
    write_bundle(tmp_path / "broken.ekb", manifest, {**result.members, path: broken})
    report = verify_bundle(tmp_path / "broken.ekb")
    (row,) = (row for row in report.rows if row.engine == "onnxruntime")
    assert not row.passed
    assert any("host/onnx in onnxruntime failed: " in note for note in report.notes)


@pytest.mark.slow
def test_core_alone_fails_when_generated_c_faults_there(
    result: CompileResult, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    name = "artifacts/cortex-m4/c/model.c"
    head, call, rest = result.members[name].partition(b"void model_invoke(model *m) {\n")
    trap = b"#ifdef __arm__\n__builtin_trap();\n#endif\n"
    members = {**result.members, name: head + call + trap + rest}
    write_bundle(tmp_path / "faulting.ekb", result.manifest, members)
    report = verify_bundle(tmp_path / "faulting.ekb")
    found = {row.engine: row.passed for row in report.rows if row.format == "c"}
    assert found == {"c-host": True, "c-emulated": False}
    assert any("c-emulated failed: " in note and "faulted" in note for note in report.notes)


def test_damage_is_one_line_when_any_byte_changes(bundle_path: Path, tmp_path: Path) -> None:
    data = bundle_path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 20):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        path = tmp_path / "damaged.ekb"
        path.write_bytes(damaged)
        with pytest.raises(BundleError) as caught:
            verify_bundle(path)
        assert "\n" not in str(caught.value)


def test_damage_names_the_member_when_an_artifact_changes(
    bundle_path: Path, result: CompileResult, tmp_path: Path
) -> None:
    data = bundle_path.read_bytes()
    model = result.members["artifacts/host/model.tflite"]
    changed = model[:-1] + bytes([model[-1] ^ 1])
    path = tmp_path / "changed.ekb"
    path.write_bytes(data.replace(model, changed, 1))
    with pytest.raises((DigestError, NotABundleError)):
        verify_bundle(path)


def test_one_line_is_said_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotABundleError, match=r"none\.ekb: cannot be read"):
        verify_bundle(tmp_path / "none.ekb")


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
