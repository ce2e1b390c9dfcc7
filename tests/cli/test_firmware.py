"""`edgekiln firmware`: from releases to a device's program and its signed updates."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekiln.cli.main import main
from edgekiln.compiler.artifacts import ArtifactKind, emit_artifact
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8
from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.fleet.registry import find_release, quarantine, register_release
from edgekiln.fleet.store import open_store
from edgekiln.runtime.bundle import write_bundle
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.reference import build_reference

ROOT = Path(__file__).resolve().parents[2]
TARGET = "cortex-m4"


def bundle(path: Path, seed: int, width: int = 6, classes: tuple[str, ...] = ("a", "b")) -> Path:
    """A dense network of C for a Cortex-M4; its weights are the seed's, its shape is `width`'s."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder(path.stem, (1, 8))
    hidden = build.fully_connected(build.input, rng.normal(0, 1, (width, 8)).astype(np.float32))
    graph = build.finish(
        build.fully_connected(hidden, rng.normal(0, 1, (2, width)).astype(np.float32))
    )
    samples = rng.normal(0, 1, (40, 8)).astype(np.float32)
    int8 = quantize(graph, samples)
    codes = quantize_input(int8, samples[:5])
    made = emit_artifact(int8, ArtifactKind("c", Family.DSP), codes)
    contract = Contract(TensorSpec("x", (8,)), classes)
    reference = build_reference(contract, samples, np.full(40, 0.9), rng.integers(0, 2, 40))
    members = made.members(TARGET) | {
        "contract.json": msgspec.json.encode(contract),
        "golden.npz": pack_golden(Golden(samples[:5], run_int8(int8, codes), 1.0, 0)),
        "reference.bin": reference.to_bytes(),
    }
    size = EstimateRecord(1000.0, 900.0, 1100.0, "bytes", "T2", "planner")
    figures = (made.path(TARGET), made.nbytes, made.sha256, "int8.v1", 1.0)
    artifact = Artifact(TARGET, "c", *figures, None, size, size)
    draft = Manifest(path.stem, (), (artifact,), None, 1.0, Gate(True, ()), Lineage("0"), {}, {})
    write_bundle(path, draft, members)
    return path


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    """Releases `first`, `next` of one structure, and two of others."""
    made = init_fleet(tmp_path / "fleet")
    for seed, (name, options) in enumerate(
        {"first": {}, "next": {}, "wider": {"width": 9}, "named": {"classes": ("a", "c")}}.items()
    ):
        path = bundle(tmp_path / f"{name}.ekb", seed, **options)  # type: ignore[arg-type]
        register_release(made, path, alias=name)
    return made


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["firmware", *map(str, arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture
def firmware(fleet: FleetFolder, tmp_path: Path) -> Path:
    """The folder of the first release."""
    out = tmp_path / "fw"
    assert run("export", "first", "--fleet", fleet.path, "--target", TARGET, "-o", out) == 0
    return out


def test_update_of_a_release_is_made_and_checked(
    fleet: FleetFolder, firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "update.bin"
    where = ("--fleet", fleet.path, "--firmware", firmware)
    assert run("update", "next", *where, "-o", out, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["release"] == find_release(fleet, "next").bundle_id
    assert (document["security_counter"], document["block_bytes"]) == (1, 1024)
    assert run("check", out, "--fleet", fleet.path, "--json") == 0
    assert json.loads(capsys.readouterr().out) == document
    spoiled = bytearray(out.read_bytes())
    spoiled[-1] ^= 1
    out.write_bytes(spoiled)
    assert run("check", out, "--fleet", fleet.path) == 1
    assert "block 0 is not the one that was signed" in capsys.readouterr().err


def test_equal_requests_give_equal_bytes(
    fleet: FleetFolder, firmware: Path, tmp_path: Path
) -> None:
    where = ("--fleet", fleet.path, "--firmware", firmware)
    for name in ("one.bin", "two.bin"):
        assert run("update", "next", *where, "-o", tmp_path / name) == 0
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("wider", "the firmware's code cannot run this release, which differs in: memory"),
        ("named", "which differs in: interface; devices need new firmware"),
        ("moon", "no release is called 'moon'"),
    ],
)
def test_release_is_refused_by_name_when_the_firmware_cannot_run_it(
    fleet: FleetFolder,
    firmware: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    release: str,
    said: str,
) -> None:
    out = tmp_path / "update.bin"
    assert run("update", release, "--fleet", fleet.path, "--firmware", firmware, "-o", out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not out.exists()


def test_stopped_release_is_not_signed(
    fleet: FleetFolder, firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(fleet.database)
    quarantine(store, find_release(fleet, "next").bundle_id, "harm in wave 1")
    store.close()
    out = tmp_path / "update.bin"
    assert run("update", "next", "--fleet", fleet.path, "--firmware", firmware, "-o", out) == 2
    assert "was stopped: harm in wave 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda fw: (fw / "firmware.json").unlink(), "has no firmware.json"),
        (lambda fw: (fw / "firmware.json").write_text("{}"), "is no firmware.json"),
    ],
)
def test_folder_is_refused_in_one_line_when_it_is_no_firmware(
    fleet: FleetFolder,
    firmware: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    spoil(firmware)
    capsys.readouterr()
    out = tmp_path / "update.bin"
    assert run("update", "next", "--fleet", fleet.path, "--firmware", firmware, "-o", out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_missing_target_is_named_with_what_makes_it(
    fleet: FleetFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--fleet", fleet.path, "--target", "moon", "-o", tmp_path / "fw")
    assert run("export", "first", *where) == 2
    assert "has no C for 'moon'; compile it with --target moon" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["plain", "cmake"])
def test_example_takes_the_update_when_it_is_built_as_its_readme_says(
    fleet: FleetFolder, tmp_path: Path, require_tool: Callable[[str], str], layout: str
) -> None:
    require_tool("gcc")
    firmware, out = tmp_path / "fw", tmp_path / "update.bin"
    options = ("--target", TARGET, "--layout", layout, "-o", firmware)
    assert run("export", "first", "--fleet", fleet.path, *options) == 0
    where = ("--fleet", fleet.path, "--firmware", firmware)
    assert run("update", "next", *where, "-o", out) == 0
    example = tmp_path / "example"
    shutil.copytree(ROOT / "examples" / "firmware", example)
    sources = firmware if layout == "plain" else firmware / "src"
    made = subprocess.run(
        ("make", "-s", f"FIRMWARE={sources}", f"UPDATE={out}", "CC=gcc"),
        cwd=example,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    start, trial, after = made.stdout.splitlines()
    assert start.startswith("start: factory model, class ")
    assert trial.startswith("trial: model from flash on trial, class ")
    assert after.startswith("after: model from flash, class ")


@pytest.mark.slow
@pytest.mark.tool
def test_example_runs_on_an_emulated_core_when_make_says_emulate(
    fleet: FleetFolder, firmware: Path, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("arm-none-eabi-gcc")
    require_tool("qemu-system-arm")
    out = tmp_path / "update.bin"
    where = ("--fleet", fleet.path, "--firmware", firmware)
    assert run("update", "next", *where, "-o", out) == 0
    made = subprocess.run(
        (
            *("make", "-s", "emulate", f"FIRMWARE={firmware}", f"UPDATE={out}"),
            f"BUILD={tmp_path / 'build'}",
        ),
        cwd=ROOT / "examples" / "firmware",
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "after: model from flash, class " in made.stdout + made.stderr
