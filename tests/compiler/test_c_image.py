"""C whose learned numbers are an image: the same bytes, and every image of its structure runs."""

from __future__ import annotations

import dataclasses
import re
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drawn_graphs import draw_graphs
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.c_image import HEAD, MAGIC, Updatable, updatable
from edgekiln.compiler.c_structure import differing
from edgekiln.compiler.c_tables import read_matrices, read_tables
from edgekiln.compiler.emit_c import CSources, emit_c
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import TOOLS, emulate_folder
from edgekiln.targets.profiles import load_target

PINNED = {
    Family.PORTABLE: "236f15e983c40c63",
    Family.DSP: "7b4c29da21ddd7ad",
    Family.HELIUM: "8c601c887a6b9349",
}
RequireTool = Callable[[str], str]
RandomGraph = Callable[[int], Graph]
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
WARNINGS += ("-Wcast-align=strict", "-Wvla", "-Wundef", "-Wmissing-prototypes")
SANITIZE = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def _codes(graph: Graph, count: int = 4) -> Array:
    rng = np.random.default_rng(1)
    return rng.integers(-128, 128, (count, *graph.input.shape[1:])).astype(np.int8)


def _image(graph: Graph, family: Family = Family.PORTABLE, interface: str = "") -> Updatable:
    return updatable(emit_c(graph, _codes(graph), family).files, interface, vectors=2)


def _proves(files: Mapping[str, bytes], folder: Path, *flags: str) -> bool:
    """Whether the program of main.c finds its golden vectors."""
    folder.mkdir()
    CSources(files).write(folder)
    sources = sorted(path.name for path in folder.glob("*.c"))
    command = ("gcc", *WARNINGS, *(flags or SANITIZE), *sources, "-o", "run")
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run((folder / "run",), capture_output=True, check=False)
    assert ran.returncode in (0, 1), ran.stderr
    return ran.returncode == 0


def _retrained(graph: Graph, seed: int) -> Graph:
    """The same network with other weights, of similar size."""
    rng = np.random.default_rng(seed)
    values = [
        dataclasses.replace(value, data=_moved(rng, value.data))
        for value in graph.values.values()
        if value.data is not None and value.data.dtype == np.float32
    ]
    return graph.replace(values=(*graph.values.values(), *values))


def _moved(rng: np.random.Generator, data: Array) -> Array:
    noise = rng.normal(0, 0.2 * float(np.abs(data).mean() + 0.01), data.shape)
    return (data + noise).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("family", Family)
def test_outputs_are_the_references_when_graphs_are_drawn(
    family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    require_tool("gcc")
    for index, graph in enumerate(draw_graphs(2)):
        flags = SANITIZE if family is Family.DSP else ("-O1",)
        assert _proves(_image(graph, family).files, tmp_path / str(index), *flags)


@pytest.mark.slow
def test_program_runs_another_models_image_when_only_weights_changed(
    random_graph: RandomGraph,
    draw_samples: Callable[..., Array],
    tmp_path: Path,
    require_tool: RequireTool,
) -> None:
    require_tool("gcc")
    fitting = 0
    for seed in range(4):
        graph = random_graph(seed)
        first = quantize(graph, draw_samples(graph, 64))
        second = quantize(_retrained(graph, seed), 1.3 * draw_samples(graph, 64, 7))
        program, other = _image(first), _image(second)
        assert program.image != other.image
        if program.structure == other.structure:
            fitting += 1
            theirs = {name: other.files[name] for name in ("weights.c", "golden.h")}
            assert _proves({**program.files, **theirs}, tmp_path / f"{seed}")
    assert fitting >= 3
    own = {**program.files, "golden.h": other.files["golden.h"]}
    assert not _proves(own, tmp_path / "own", "-O1")


@pytest.mark.slow
@pytest.mark.tool
def test_cost_is_a_few_loads_when_a_core_runs_the_image(
    random_graph: RandomGraph,
    draw_samples: Callable[..., Array],
    tmp_path: Path,
    require_tool: RequireTool,
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graph = quantize(random_graph(3), draw_samples(random_graph(3), 32))
    plain, changed = tmp_path / "plain", tmp_path / "changed"
    for folder, files in (
        (plain, emit_c(graph, _codes(graph), Family.DSP).files),
        (changed, _image(graph, Family.DSP).files),
    ):
        folder.mkdir()
        CSources(files).write(folder)
    target = load_target("cortex-m4")
    before, after = emulate_folder(plain, target), emulate_folder(changed, target)
    assert after.outputs == before.outputs == run_int8(graph, _codes(graph)).tobytes()
    assert after.instructions <= before.instructions + 60 * len(graph.nodes)
    assert after.ram_bytes <= before.ram_bytes + 8  # the pointer


def test_golden_vectors_lie_in_the_image_where_its_head_says(
    random_graph: RandomGraph, draw_samples: Callable[..., Array]
) -> None:
    graph = quantize(random_graph(1), draw_samples(random_graph(1), 32))
    image = _image(graph).image
    magic, total, start, count, in_bytes, out_bytes, zero = HEAD.unpack_from(image)
    assert (magic, total, count, zero) == (MAGIC, len(image), 2, 0)
    assert total % 32 == 0
    inputs = image[start : start + count * in_bytes]
    outputs = image[start + len(inputs) : start + len(inputs) + count * out_bytes]
    assert inputs == _codes(graph)[:2].tobytes()
    assert outputs == run_int8(graph, _codes(graph)[:2]).tobytes()
    scale, zero_point = struct.unpack_from("<fi", image, 32)
    quant = graph.input.quant
    assert quant is not None
    assert (np.float32(quant.scale[0]), quant.zero_point[0]) == (np.float32(scale), zero_point)


def test_image_ends_with_its_numbers_when_no_vectors_go_along(
    random_graph: RandomGraph, draw_samples: Callable[..., Array]
) -> None:
    graph = quantize(random_graph(1), draw_samples(random_graph(1), 32))
    files = emit_c(graph, _codes(graph)).files
    none, some = updatable(files, "", 0), updatable(files, "", 2)
    _, total, start, *rest = HEAD.unpack_from(none.image)
    assert (total - start < 32, rest) == (True, [0, 0, 0, 0])
    assert none.image[32:start] == some.image[32:start]
    assert none.structure == some.structure


def test_structure_stays_when_only_names_and_weights_change(
    random_graph: RandomGraph, draw_samples: Callable[..., Array]
) -> None:
    graph = random_graph(1)
    first = quantize(graph, draw_samples(graph, 64))
    renamed = dataclasses.replace(_retrained(graph, 1), name="another")
    second = quantize(renamed, draw_samples(graph, 64))
    assert _image(first).structure == _image(second).structure


def test_structure_is_the_one_that_devices_in_the_field_hold() -> None:
    """Where this changes no update reaches a device that is out: do not change it in passing."""
    build = GraphBuilder("fixed", (1, 4, 4, 2))
    weights = (np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2) - 27) / 27
    x = build.conv2d(build.input, weights)
    x = build.reshape(x, (1, 12))
    last = (np.arange(24, dtype=np.float32).reshape(2, 12) - 12) / 12
    samples = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 4, 4, 2)
    graph = quantize(build.finish(build.fully_connected(x, last)), samples)
    digests = {family: _image(graph, family).structure.hex()[:16] for family in Family}
    assert digests == PINNED


def test_difference_is_named_when_structures_differ(
    random_graph: RandomGraph, draw_samples: Callable[..., Array]
) -> None:
    graph = quantize(random_graph(1), draw_samples(random_graph(1), 32))
    other = quantize(random_graph(2), draw_samples(random_graph(2), 32))
    ours = _image(graph)
    assert ours.structure != _image(other).structure
    assert "memory" in differing(ours.parts, _image(other).parts)
    assert differing(ours.parts, _image(graph, interface="classes").parts) == ("interface",)
    kernels = differing(ours.parts, _image(graph, Family.DSP).parts)
    assert kernels
    assert "interface" not in kernels


@pytest.mark.parametrize("family", Family)
def test_no_number_of_an_image_decides_where_memory_is_read(
    family: Family, random_graph: RandomGraph, draw_samples: Callable[..., Array]
) -> None:
    learned = re.compile(r"\.(\w+) = (?:LEARNED|LEARNED_FLOAT)\(")
    found: set[str] = set()
    for seed in range(12):
        graph = quantize(random_graph(seed), draw_samples(random_graph(seed), 16))
        found |= set(learned.findall(_image(graph, family).files["model.c"].decode()))
    places = {"size", "rows", "columns", "channels", "in_channels", "taps", "pairs", "stride_width"}
    assert found
    assert not found & places
    assert {"zero_point", "input_zero_point", "minimum", "maximum"} <= found


def test_channel_multiplier_of_a_depthwise_layer_stays_in_the_program() -> None:
    texts = (_image(graph).files["model.c"].decode() for graph in draw_graphs(12))
    depthwise = [text for text in texts if "ek_depthwise_conv2d_params" in text]
    assert depthwise
    assert all(re.search(r"\.channels = \d+, \.multiplier = \d+", text) for text in depthwise)


def test_tables_read_back_as_what_was_written() -> None:
    text = (
        '#include "weights.h"\n\nconst int8_t a[3] = {\n    1, -2, 3\n};\n'
        "\nconst uint32_t b[1] = {\n    0x01020304\n};\n"
        "\nconst int64_t c[1] = {\n    INT64_C(-5)\n};\n"
        "\nconst double d[1] = {\n    0x1.8p+1\n};\n"
    )
    data = {table.name: table.data for table in read_tables(text)}
    assert data == {
        "a": b"\x01\xfe\x03",
        "b": b"\4\3\2\1",
        "c": struct.pack("<q", -5),
        "d": struct.pack("<d", 3.0),
    }


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda files: files.pop("weights.c"), "it has no weights.c"),
        (lambda files: files.update({"weights.c": b"int x;\n"}), "not an array: int x;"),
        (lambda files: files.update({"model.c": b""}), "it has no model_invoke"),
        (lambda files: files.update({"golden.h": b""}), "it has no inputs and outputs"),
    ],
)
def test_files_are_refused_in_one_line_when_they_are_no_generated_c(
    spoil: Callable[[dict[str, bytes]], None],
    said: str,
    random_graph: RandomGraph,
    draw_samples: Callable[..., Array],
) -> None:
    graph = quantize(random_graph(1), draw_samples(random_graph(1), 16))
    files = dict(emit_c(graph, _codes(graph)).files)
    spoil(files)
    with pytest.raises(EmitError, match=said):
        updatable(files, "", 2)


def test_golden_matrices_are_read_row_by_row() -> None:
    text = "static const int8_t golden_inputs[GOLDEN_COUNT][X] = {\n    {\n    1, 2\n    },\n"
    rows = read_matrices(text + "    {\n    3, 4\n    }\n};\n")["golden_inputs"]
    assert [row.data for row in rows] == [b"\1\2", b"\3\4"]
