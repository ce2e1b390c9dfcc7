"""The C of the update library itself: what compilers and sanitizers say, and what it weighs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import edgekiln.runtime

LIBRARY = Path(edgekiln.runtime.__file__).parent / "c" / "update"
SOURCES = sorted(str(path) for path in LIBRARY.glob("*.c") if path.name != "ek_model.c")
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion")
WARNINGS += ("-Wshadow", "-Wundef", "-Wvla", "-Wcast-align", "-Wstrict-prototypes", "-Werror")
CORTEX_M0 = ("-mcpu=cortex-m0plus", "-mthumb", "-Os", "-ffreestanding", "-std=c99")
RequireTool = Callable[[str], str]
HEADS, UPDATES = 200_000, 4_000


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_compiler_warns(compiler: str, require_tool: RequireTool) -> None:
    command = (require_tool(compiler), *WARNINGS, "-O2", "-fsyntax-only", *SOURCES)
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")


@pytest.mark.slow
def test_sanitizers_find_nothing_when_updates_are_hostile(
    tmp_path: Path,
    require_tool: RequireTool,
    sealed: Callable[..., bytes],
    release_key: Ed25519PrivateKey,
) -> None:
    hostile = tmp_path / "hostile"
    hostile.write_bytes(release_key.public_key().public_bytes_raw() + sealed(1))
    fuzz, sanitize = Path(__file__).parent / "fuzz.c", "-fsanitize=address,undefined"
    command = (require_tool("gcc"), *WARNINGS, "-O1", sanitize, "-fno-sanitize-recover=all")
    out = ("-I", str(LIBRARY), str(fuzz), *SOURCES, "-o", str(tmp_path / "fuzz"))
    subprocess.run((*command, *out), check=True)
    ran = subprocess.run(
        (tmp_path / "fuzz", hostile, str(HEADS), str(UPDATES)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    reasons = [int(number) for number in ran.stdout.split()]
    assert sum(reasons) == HEADS + UPDATES
    reached = {reason for reason, count in enumerate(reasons) if count}
    assert reached >= set(range(8)) | {16}  # each answer that a head can get


@pytest.mark.slow
@pytest.mark.tool
def test_library_is_small_and_alone_when_built_for_the_smallest_core(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    gcc = require_tool("arm-none-eabi-gcc")
    subprocess.run((gcc, *CORTEX_M0, "-c", *SOURCES), cwd=tmp_path, check=True)
    objects = sorted(str(path) for path in tmp_path.glob("*.o"))

    def said(tool: str, *options: str) -> str:
        command = (gcc.removesuffix("gcc") + tool, *options, *objects)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    (sizes,) = re.findall(r"^\s*(\d+)\s+(\d+)\s+(\d+).*TOTALS", said("size", "-t"), re.M)
    text, data, bss = map(int, sizes)
    assert text <= 9 * 1024
    assert (data, bss) == (0, 0)  # nothing global but constants
    symbols = said("nm")
    defined = set(re.findall(r" [TtRrDdBb] (\w+)$", symbols, re.M))
    wanted = set(re.findall(r" U (\w+)$", symbols, re.M)) - defined
    # What a freestanding compiler may call anywhere: memory, and arithmetic of 64 bits.
    assert {name for name in wanted if not name.startswith("__")} <= {"memcpy", "memset"}
