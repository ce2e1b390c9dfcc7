"""`edgekiln export`: what lands in the folder, and what is refused in one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from edgekiln.cli.export import LAYOUTS
from edgekiln.cli.main import main
from edgekiln.compiler.c_layouts import Layout
from edgekiln.compiler.emit_drift import emit_drift
from edgekiln.runtime.bundle import write_bundle
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.reference import build_reference

C_FILES = {name: name.encode() for name in ("golden.h", "main.c", "model.c", "model.h")}
MEMBERS = {"artifacts/board/model.tflite": b"TFL3", "artifacts/host/model.onnx": b"onnx"}
REFERENCE = build_reference(
    Contract(TensorSpec("x", (2,)), ("a", "b")),
    np.random.default_rng(0).random((90, 2), np.float32),
    np.random.default_rng(1).random(40, np.float32),
    np.arange(40, dtype=np.int64) % 2,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Board: C, then tflite; host: onnx."""
    none = EstimateRecord(0.0, 0.0, 0.0, "bytes", "T0", "test")

    def artifact(target: str, fmt: str, path: str) -> Artifact:
        data = MEMBERS.get(path, b"")
        digest = hashlib.sha256(data).hexdigest()
        return Artifact(target, fmt, path, len(data), digest, "int8.v1", 1.0, None, none, none)

    artifacts = (
        artifact("board", "c", "artifacts/board/c"),
        artifact("board", "tflite", "artifacts/board/model.tflite"),
        artifact("host", "onnx", "artifacts/host/model.onnx"),
    )
    members = MEMBERS | {f"artifacts/board/c/{name}": data for name, data in C_FILES.items()}
    members |= {"contract.json": b"{}", "golden.npz": b"", "reference.bin": REFERENCE.to_bytes()}
    draft = Manifest("tiny", (), artifacts, None, 1.0, Gate(True, ()), Lineage("0"), {}, {})
    write_bundle(tmp_path / "tiny.ekb", draft, members)
    return tmp_path / "tiny.ekb"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["export", *map(str, arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def files_in(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_first_artifact_is_written_when_no_format_is_named(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert run(bundle, "--target", "board", "-o", out) == 0
    assert files_in(out) == C_FILES


def test_named_format_is_written_when_the_target_has_it(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(bundle, "--target", "board", "--format", "tflite", "-o", out) == 0
    assert files_in(out) == {"model.tflite": b"TFL3"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_document_lists_what_is_in_the_folder(
    layout: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(bundle, "--target", "board", "--layout", layout, "-o", out, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["layout"]) == ("c", layout)
    assert sorted(document["files"]) == sorted(files_in(out))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "moon"), "nothing for target 'moon'; it has: board, host"),
        (("--target", "host", "--format", "c"), "no c for 'host', which has: onnx"),
        (("--target", "host", "--layout", "cmake"), "no c for 'host', which has: onnx"),
        (("--target", "host", "--format", "onnx", "--layout", "cmake"), "--layout is for C"),
        (("--target", "host", "--drift"), "--drift is C, the artifact is onnx"),
        (("--target", "board", "--drift-tolerance", "0.1"), "are of --drift: add it"),
    ],
)
def test_choice_is_refused_in_one_line_when_the_bundle_lacks_it(
    options: tuple[str, ...],
    said: str,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(bundle, *options, "-o", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_drift_detection_goes_with_the_model_when_it_is_wanted(
    bundle: Path, tmp_path: Path
) -> None:
    out, laid = tmp_path / "out", tmp_path / "laid"
    assert run(bundle, "--target", "board", "--drift", "-o", out) == 0
    assert files_in(out) == C_FILES | emit_drift(REFERENCE)
    stated = ("--drift-tolerance", "0.1", "--drift-run-length", "500", "--layout", "cmake")
    assert run(bundle, "--target", "board", "--drift", *stated, "-o", laid) == 0
    files = files_in(laid)
    for name, data in emit_drift(REFERENCE, 500.0, 0.1).items():
        assert files[f"src/{name}"] == data
    assert b"src/ek_drift.c\n" in files["CMakeLists.txt"]


def test_folder_is_left_alone_when_it_holds_files(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle, "--target", "board", "-o", tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err
    assert files_in(tmp_path).keys() == {"tiny.ekb"}


def test_damaged_bundle_is_refused_before_anything_is_written(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle.write_bytes(bundle.read_bytes().replace(b"TFL3", b"TFL4"))
    assert run(bundle, "--target", "board", "-o", tmp_path / "out") == 2
    assert "model.tflite" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_choices_are_those_of_the_compiler() -> None:
    assert tuple(Layout) == LAYOUTS
