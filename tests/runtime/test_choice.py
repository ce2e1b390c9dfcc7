"""The rule that picks an artifact: each clause of it, and what it says it did."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgekiln.runtime.bundle import write_bundle
from edgekiln.runtime.choice import (
    Candidate,
    Certificate,
    EngineRow,
    Machine,
    candidates_of,
    certificate_of,
    choose,
    this_machine,
)
from edgekiln.runtime.errors import EngineError, MemberError
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest

NONE = EstimateRecord(0.0, 0.0, 0.0, "bytes", "T0", "test")
DESKTOP = Machine(
    engines=frozenset({"litert", "onnxruntime", "c"}),
    architecture="x86_64",
    cpu_flags=frozenset({"avx2", "avx512_vnni"}),
    library="libmodel-linux-x86_64.so",
    has_compiler=True,
)
WITNESSES = ("litert-xnnpack", "onnxruntime", "c-library")
CERTIFIED = Certificate(tuple(EngineRow(name, True, 2) for name in WITNESSES))


def candidate(
    fmt: str,
    numerics: str = "int8.v1",
    target: str = "host",
    files: frozenset[str] = frozenset(),
    on_board: bool = False,
) -> Candidate:
    artifact = Artifact(target, fmt, f"artifacts/{fmt}", 0, "", numerics, 1.0, None, NONE, NONE)
    return Candidate(artifact, files, on_board)


TFLITE, ONNX, C = candidate("tflite"), candidate("onnx"), candidate("c")
EVERY = (C, ONNX, TFLITE)


def picked(
    candidates: tuple[Candidate, ...] = EVERY,
    certificate: Certificate = CERTIFIED,
    **changes: object,
) -> str:
    """The engine and target that the rule picks on a machine that differs from `DESKTOP`."""
    machine = dataclasses.replace(DESKTOP, **changes)  # type: ignore[arg-type]
    choice = choose(candidates, certificate, machine, "x.ekb")
    assert "\n" not in choice.why
    return f"{choice.engine} for {choice.artifact.target}"


def without(engine: str) -> frozenset[str]:
    return DESKTOP.engines - {engine}


def failing(witness: str) -> Certificate:
    rows = tuple(EngineRow(name, name != witness, 2) for name in WITNESSES)
    return Certificate(rows)


def test_litert_comes_first_then_onnx_runtime_then_c_when_all_run() -> None:
    assert picked() == "litert for host"
    assert picked(engines=without("litert")) == "onnxruntime for host"
    assert picked(engines=frozenset({"c"})) == "c for host"


def test_an_engine_is_left_out_when_the_certificate_says_it_differed() -> None:
    assert picked(certificate=failing("litert-xnnpack")) == "onnxruntime for host"


def test_an_engine_without_a_certificate_comes_after_one_that_has_it() -> None:
    rows = tuple(EngineRow(name, True) for name in WITNESSES if name != "litert-xnnpack")
    assert picked(certificate=Certificate(rows)) == "onnxruntime for host"
    assert picked(certificate=Certificate()) == "litert for host"


@pytest.mark.parametrize(
    ("architecture", "flags", "engine"),
    [
        ("x86_64", {"avx2"}, "c"),
        ("AMD64", {"avx2"}, "c"),
        ("x86_64", {"avx_vnni"}, "onnxruntime"),
        ("aarch64", set(), "onnxruntime"),
    ],
)
def test_onnx_int8_comes_last_when_its_products_overflow_on_the_processor(
    architecture: str, flags: set[str], engine: str
) -> None:
    found = picked((ONNX, C), architecture=architecture, cpu_flags=frozenset(flags))
    assert found == f"{engine} for host"
    floats = candidate("onnx", "float32")
    assert picked((floats, C), cpu_flags=frozenset()) == "onnxruntime for host"


def test_c_is_left_out_when_neither_library_nor_compiler_is_there() -> None:
    bare = {"engines": frozenset({"c", "onnxruntime"}), "has_compiler": False}
    assert picked((C, ONNX), failing("onnxruntime")) == "c for host"
    assert picked((C, ONNX), **bare) == "onnxruntime for host"
    carried = candidate("c", files=frozenset({"libmodel-linux-x86_64.so"}))
    assert picked((carried, ONNX), failing("onnxruntime"), **bare) == "c for host"


def test_int8_comes_before_float_and_host_before_other_targets() -> None:
    floats, pi = candidate("tflite", "float32"), candidate("tflite", target="raspberry-pi-4")
    assert picked((floats, ONNX)) == "onnxruntime for host"
    assert picked((pi, TFLITE)) == "litert for host"
    assert picked((pi, ONNX)) == "litert for raspberry-pi-4"


def test_a_board_is_left_out_when_a_computer_chooses() -> None:
    board = candidate("tflite", target="cortex-m4", on_board=True)
    assert picked((board, C)) == "c for host"
    for boards in ((board,), (board, board)):
        with pytest.raises(EngineError, match="for cortex-m4\\) is for a board"):
            picked(boards)


def test_the_only_artifact_is_taken_as_it_is() -> None:
    assert picked((TFLITE,), engines=frozenset()) == "litert for host"


def test_choice_says_why_it_is_and_why_each_other_is_not() -> None:
    machine = dataclasses.replace(DESKTOP, engines=without("onnxruntime"))
    why = choose(EVERY, CERTIFIED, machine, "x.ekb").why
    assert why.startswith("litert (int8.v1, for host) is certified within 2 steps")
    assert "onnxruntime (int8.v1, for host) is not installed" in why
    assert "c (int8.v1, for host) comes second" in why


def test_choose_says_of_each_what_it_lacks_when_nothing_runs_here() -> None:
    machine = dataclasses.replace(DESKTOP, engines=frozenset({"c"}), has_compiler=False)
    with pytest.raises(EngineError, match=r"x\.ekb: nothing in it runs here") as caught:
        choose(EVERY, CERTIFIED, machine, "x.ekb")
    said = str(caught.value)
    assert said.count("is not installed") == 2
    assert "no C compiler" in said


def test_this_machine_knows_what_is_installed_without_importing_it() -> None:
    machine = this_machine()
    assert {"litert", "onnxruntime", "c"} <= machine.engines  # the tests' own environment
    assert machine.library.endswith(".so")


def test_bundle_for_boards_alone_is_refused_when_no_target_is_named(tmp_path: Path) -> None:
    gate, lineage = Gate(True, ()), Lineage("0")
    artifacts = tuple(candidate("c", target=name).artifact for name in ("cortex-m4", "mystery"))
    draft = Manifest("x", (), artifacts, None, 1.0, gate, lineage, {}, {})
    bundle = write_bundle(tmp_path / "x.ekb", draft, {"artifacts/c/model.c": b"int x;"})
    found = {c.artifact.target: c.on_board for c in candidates_of(bundle, "", "")}
    assert found == {"cortex-m4": True, "mystery": False}
    named = candidates_of(bundle, "cortex-m4", "c")
    assert [c.on_board for c in named] == [False]
    assert named[0].files == {"model.c"}
    with pytest.raises(MemberError, match="no tflite for target 'cortex-m4'"):
        candidates_of(bundle, "", "litert")


def test_damaged_certificate_is_refused_in_one_line(tmp_path: Path) -> None:
    draft = Manifest("x", (), (), None, 1.0, Gate(True, ()), Lineage("0"), {}, {})
    bundle = write_bundle(tmp_path / "x.ekb", draft, {"certificate.json": b"{\n"})
    with pytest.raises(MemberError, match=r"certificate\.json cannot be read") as caught:
        certificate_of(bundle)
    assert "\n" not in str(caught.value)
