"""The C detector equals Python's to the last bit: on computers, however compiled, and on cores."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.emit_drift import emit_drift
from edgekiln.targets.emulate import build_image, emulation_of, run_image
from edgekiln.targets.machines import MACHINES, Machine

from . import drift_vectors
from .drift_vectors import Vectors, load

RequireTool = Callable[[str], str]
PROGRAM = Path(__file__).parent / "vectors" / "drift_main.c"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TRAPPING = ("-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined")  # needs no library
FUSING = ("-std=gnu99", "-O3", "-march=native", "-ffp-contract=fast", "-flto")
M4F = Machine("mps2-an386", ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"))


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return load()


@pytest.fixture(scope="module")
def folder(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported detector with the program that runs the vectors."""
    folder = tmp_path_factory.mktemp("drift")
    reference, values, u, answers = vectors.inputs()
    files = emit_drift(reference, drift_vectors.RUN_LENGTH, drift_vectors.TOLERANCE)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    rows = values.shape[1]
    tables = {"values": values, "u": u}
    (folder / "drift_vectors.h").write_text(
        f"enum {{ VECTORS = {len(values)}, VECTORS_EVERY = {drift_vectors.EVERY} }};\n"
        "extern const unsigned char vector_answers[VECTORS];\n"
        + "".join(f"extern const float vector_{name}[VECTORS][{rows}];\n" for name in tables)
    )
    # The name under which the emulator tells data from code.
    (folder / "weights.c").write_text(
        '#include "drift_vectors.h"\n'
        f"const unsigned char vector_answers[VECTORS] = {{{', '.join(map(str, answers))}}};\n"
        + "".join(
            f"const float vector_{name}[VECTORS][{rows}] = {{\n{_rows(table)}\n}};\n"
            for name, table in tables.items()
        )
    )
    shutil.copy(PROGRAM, folder / "main.c")
    return folder


def _rows(table: np.ndarray) -> str:
    rows = (", ".join(f"{float(number).hex()}f" for number in row) for row in table)
    return ",\n".join(f"{{{row}}}" for row in rows)


def test_vectors_are_what_python_gives(vectors: Vectors) -> None:
    reference, values, u, answers = vectors.inputs()
    assert drift_vectors.lines_of(reference, values, u, answers) == vectors.lines
    alarms = {line[12:14] for line in vectors.lines if len(line) > 12}
    assert alarms == {"00", "01"}


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ("-O2",)),
        pytest.param("gcc", SANITIZE, marks=pytest.mark.slow),
        pytest.param("gcc", FUSING, marks=pytest.mark.slow),
        pytest.param("clang", ("-O2",), marks=pytest.mark.slow),
        pytest.param("clang", TRAPPING, marks=pytest.mark.slow),
        pytest.param("clang", FUSING[:-1], marks=pytest.mark.slow),
    ],
    ids=["gcc", "gcc sanitized", "gcc fusing", "clang", "clang sanitized", "clang fusing"],
)
def test_c_gives_the_vectors_when_compiled_for_this_computer(
    vectors: Vectors,
    folder: Path,
    tmp_path: Path,
    require_tool: RequireTool,
    compiler: str,
    flags: tuple[str, ...],
) -> None:
    run = tmp_path / "run"
    sources = sorted(str(path) for path in folder.glob("*.c"))
    strict = () if flags[0].startswith("-std") else WARNINGS
    _call(require_tool(compiler), *strict, *flags, *sources, "-o", str(run))
    assert tuple(_call(str(run)).split()) == vectors.lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "machine",
    [M4F, *(MACHINES[core] for core in ("cortex-m0plus", "cortex-m55", "rv32imc"))],
    ids=["cortex-m4f", "cortex-m0plus", "cortex-m55", "rv32imc"],
)
def test_c_gives_the_vectors_when_run_on_an_emulated_core(
    vectors: Vectors, folder: Path, tmp_path: Path, require_tool: RequireTool, machine: Machine
) -> None:
    """With -std=gnu99, where GCC fuses what it can; two of the cores can."""
    for tool in machine.tools:
        require_tool(tool)
    image = build_image(folder, machine, tmp_path)
    counts, text = run_image(image, machine)
    *lines, _ = text.splitlines()
    assert tuple(lines) == vectors.lines
    found = emulation_of(image, machine, counts, "stack 0")
    rows = len(load().inputs()[0].features) + 1
    # The state, room to sort classes in, and nothing else but padding.
    assert 0 <= found.ram_bytes - (20 + 76 * rows + 4 * 3) < 16


def test_object_needs_no_library_and_holds_no_state(
    folder: Path, tmp_path: Path, require_tool: RequireTool
) -> None:
    target = str(tmp_path / "ek_drift.o")
    flags = ("-std=c99", "-Os", "-ffreestanding", "-c")
    _call(require_tool("gcc"), *flags, str(folder / "ek_drift.c"), "-o", target)
    symbols = [line.split()[-2:] for line in _call("nm", target).splitlines()]
    assert {name for kind, name in symbols if kind in "UBDCbd"} == set()


def test_header_is_taken_by_a_cpp_compiler(folder: Path, require_tool: RequireTool) -> None:
    compiler = require_tool("gcc")
    header = str(folder / "drift_reference.h")
    _call(compiler, "-x", "c++", "-std=c++11", "-Wall", "-Werror", "-fsyntax-only", header)


class _Head(ctypes.Structure):
    _fields_ = (("kept", ctypes.c_char * 12), ("bounds", ctypes.c_float * 2))


class _Row(ctypes.Structure):
    _fields_ = (("kept", ctypes.c_char * 68), ("bounds", ctypes.c_float * 2))


class _State(ctypes.Structure):
    """Of the vectors' six rows and three classes; what is kept is what the program prints."""

    _fields_ = (("head", _Head), ("rows", _Row * 6), ("classes", ctypes.c_char * 6))

    def load(self, kept: bytes) -> None:
        ctypes.memmove(ctypes.byref(self), kept[:12], 12)
        for row in range(6):
            ctypes.memmove(ctypes.byref(self.rows[row]), kept[12 + 68 * row :], 68)
        ctypes.memmove(ctypes.addressof(self) + _State.classes.offset, kept[-6:], 6)

    def kept(self) -> bytes:
        whole = bytes(self)
        first = [0, *(20 + 76 * row for row in range(6)), 20 + 76 * 6]
        sizes = [12, *(68,) * 6, 6]
        return b"".join(
            whole[start : start + size] for start, size in zip(first, sizes, strict=True)
        )


@pytest.fixture(scope="module")
def library(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, require_gcc: str
) -> ctypes.CDLL:
    """The exported detector as a shared library."""
    path = tmp_path_factory.mktemp("library") / "drift.so"
    sources = [str(folder / name) for name in ("ek_drift.c", "drift_reference.c")]
    _call(require_gcc, "-std=c99", "-O2", "-shared", "-fPIC", *sources, "-o", str(path))
    return ctypes.CDLL(str(path))


@pytest.fixture(scope="module")
def require_gcc() -> str:
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("gcc is not here")
    return found


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"\x01\x02\x03\x04"),  # another model's
        (4, (33).to_bytes(4, "little")),  # an age that no period reaches
        (4, (3).to_bytes(4, "little")),  # more observations than the rows have
        (8, np.float32("nan").tobytes()),
        (8, np.float32("inf").tobytes()),
        (8, np.float32(-1).tobytes()),
        (12, b"\x81"),  # counts that are too high
        (12 + 32, np.float32("nan").tobytes()),
        (12 + 32 + 4 * 8, np.float32(-1).tobytes()),
    ],
)
def test_state_is_refused_when_no_detector_can_have_it(
    library: ctypes.CDLL, vectors: Vectors, place: int, value: bytes
) -> None:
    saved = bytes.fromhex(vectors.lines[99][14:])
    memory = _State.in_dll(library, "drift_memory")
    drift = ctypes.byref((ctypes.c_char * 40).in_dll(library, "drift_detector"))
    memory.load(saved)
    assert library.ek_drift_start(drift) == 1
    assert memory.kept() == saved
    memory.load(saved[:place] + value + saved[place + len(value) :])
    assert library.ek_drift_start(drift) == 0
    assert memory.kept() == saved[:4] + bytes(len(saved) - 4)
    assert library.ek_drift_start(drift) == 1


def test_restored_state_goes_on_as_if_there_had_been_no_break(
    library: ctypes.CDLL, vectors: Vectors
) -> None:
    """A break between two looks at the state, in the midst of a period."""
    _, _, _, answers = vectors.inputs()
    saved, after = (bytes.fromhex(vectors.lines[line][14:]) for line in (119, 139))
    memory = _State.in_dll(library, "drift_memory")
    drift = ctypes.byref((ctypes.c_char * 40).in_dll(library, "drift_detector"))
    memory.load(saved)
    assert library.ek_drift_start(drift) == 1
    for line, answer in zip(vectors.lines[120:140], answers[120:140], strict=True):
        library.ek_drift_observe(drift, bytes.fromhex(line[:12]), int(answer))
    assert memory.kept() == after


def test_limits_of_c_and_python_are_the_same(folder: Path) -> None:
    from edgekiln.runtime import drift, drift_bets

    header, code = ((folder / name).read_text() for name in ("ek_drift.h", "ek_drift.c"))
    stated = dict(re.findall(r"EK_DRIFT_(\w+) = (\d+),", header))
    assert stated == {
        "BINS": "16",
        "SHAPES": str(len(drift_bets.SHAPES)),
        "PERIOD": str(drift.PERIOD),
        "PRIOR": str(drift.PRIOR),
    }
    assert f"bet_limit = {drift_bets.BET_LIMIT}f;" in code
    assert f"learned_kept = {1 - drift_bets.LEARNED_FADE}f;" in code


def _call(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
