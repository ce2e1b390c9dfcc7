"""Layouts of generated C: CMake's builds and proves itself, the others have the right form."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.c_layouts import Layout, identifier, lay_out
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.quantize import quantize

# What names sources one by one, and what says where headers are.
LISTS = {
    Layout.CMAKE: ("CMakeLists.txt", "PUBLIC src)"),
    Layout.ZEPHYR: ("CMakeLists.txt", "zephyr_include_directories(src)"),
    Layout.ESP_IDF: ("CMakeLists.txt", "INCLUDE_DIRS src\n"),
}


@pytest.fixture(scope="module")
def plain() -> Mapping[str, bytes]:
    rng = np.random.default_rng(0)
    build = GraphBuilder("dense", (1, 6))
    weights = rng.normal(0, 0.5, (3, 6)).astype(np.float32)
    graph = build.finish(build.fully_connected(build.input, weights))
    graph = quantize(graph, rng.normal(0, 1, (16, 6)).astype(np.float32))
    return emit_c(graph, rng.integers(-128, 128, (2, 6)).astype(np.int8)).files


def _made(plain: Mapping[str, bytes], layout: Layout) -> dict[str, str]:
    laid = lay_out(plain, "My model 2", 'two "lines"\nof text', layout)
    return {path: data.decode("ascii") for path, data in laid.items()}


@pytest.mark.parametrize("layout", Layout)
def test_program_is_apart_from_the_library_when_laid_out(
    plain: Mapping[str, bytes], layout: Layout
) -> None:
    laid = lay_out(plain, "m", "text", layout)
    kept = {path.rpartition("/")[2]: data for path, data in laid.items()}
    replaced = {"main.c"} if layout is Layout.ARDUINO else set()
    assert kept.items() >= {name: plain[name] for name in plain.keys() - replaced}.items()
    program = {path.rpartition("/")[0] for path in laid if path.endswith(("main.c", "golden.h"))}
    assert len(program) == 1
    assert (program == {""}) == (layout is Layout.PLAIN)


@pytest.mark.parametrize("layout", LISTS)
def test_sources_are_those_that_exist_when_a_build_file_lists_them(
    plain: Mapping[str, bytes], layout: Layout
) -> None:
    made = _made(plain, layout)
    file, headers = LISTS[layout]
    listed = re.findall(r"^ +(src/\w+\.c)", made[file], re.M)
    assert listed == [path for path in made if path.startswith("src/") and path.endswith(".c")]
    assert headers in made[file]
    assert "src/model.h" in made
    assert made[file].count("(") == made[file].count(")")


@pytest.mark.slow
@pytest.mark.tool
def test_library_builds_and_proves_itself_when_cmake_runs(
    plain: Mapping[str, bytes], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    cmake = require_tool("cmake")
    require_tool("gcc")
    for path, data in lay_out(plain, "dense", "text", Layout.CMAKE).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    build = tmp_path / "build"
    for command in (
        (cmake, "-S", str(tmp_path), "-B", str(build)),
        (cmake, "--build", str(build)),
        (str(build / "dense_golden"),),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2
    assert (build / "libdense.a").is_file()


def test_arduino_library_has_its_properties_and_a_sketch(plain: Mapping[str, bytes]) -> None:
    made = _made(plain, Layout.ARDUINO)
    rows = dict(line.split("=", 1) for line in made["library.properties"].splitlines())
    assert rows.keys() >= {"name", "version", "author", "maintainer", "sentence", "paragraph"}
    assert rows.keys() >= {"category", "url", "architectures"}
    assert (rows["name"], rows["includes"]) == ("my_model_2", "model.h")
    assert re.fullmatch(r"\d+\.\d+\.\d+", rows["version"])
    sketch = made["examples/golden/golden.ino"]
    assert "examples/golden/golden.h" in made
    assert "examples/golden/main.c" not in made
    assert 'extern "C"' in sketch


def test_zephyr_module_points_at_its_own_files(plain: Mapping[str, bytes]) -> None:
    made = _made(plain, Layout.ZEPHYR)
    assert made["zephyr/module.yml"].splitlines() == [
        "name: my_model_2",
        "build:",
        "  cmake: .",
        "  kconfig: Kconfig",
    ]
    assert made["Kconfig"] == 'config MY_MODEL_2\n\tbool "two  lines  of text"\n'
    assert "if(CONFIG_MY_MODEL_2)" in made["CMakeLists.txt"]


def test_esp_idf_component_has_a_manifest(plain: Mapping[str, bytes]) -> None:
    made = _made(plain, Layout.ESP_IDF)
    assert made["idf_component.yml"].splitlines() == [
        'version: "1.0.0"',
        'description: "two  lines  of text"',
    ]
    assert made["CMakeLists.txt"].startswith("idf_component_register(")


def test_platformio_library_names_its_folder(plain: Mapping[str, bytes]) -> None:
    made = _made(plain, Layout.PLATFORMIO)
    document = json.loads(made["library.json"])
    assert (document["name"], document["version"]) == ("my_model_2", "1.0.0")
    assert any(path.startswith(f"{document['build']['srcDir']}/") for path in made)
    assert f"src/{document['headers']}" in made


@pytest.mark.parametrize(
    ("name", "word"), [("My-Model", "my_model"), ("2 x", "model_2_x"), ("ü", "model")]
)
def test_name_is_an_identifier_whatever_it_was(name: str, word: str) -> None:
    assert identifier(name) == word
