"""What generated C promises its application: a hook, any number of contexts, nothing to link."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import CSources, emit_c
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8_all
from edgekiln.targets.machines import MACHINES

RequireTool = Callable[[str], str]
WARNINGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"),
    *("-Wcast-align", "-Wvla", "-Wundef"),
)

HOOKED = b"""
#include <stdio.h>
#include <string.h>
#include "golden.h"
#include "model.h"
static model context;
void layer_done(const model *m, const model_layer *layer) {
    const int8_t *output = (const int8_t *)m->arena + layer->offset;
    printf("%s|%s|", layer->name, layer->remark);
    for (int32_t i = 0; i < layer->size; i++) printf("%02x", (unsigned)(uint8_t)output[i]);
    printf("\\n");
}
int main(void) {
    memcpy(model_input(&context), golden_inputs[0], MODEL_INPUT_SIZE);
    model_invoke(&context);
    return 0;
}
"""
THREADS = b"""
#include <pthread.h>
#include <string.h>
#include "golden.h"
#include "model.h"
static model contexts[2];
static void *run(void *first) {
    model *const context = &contexts[*(int *)first];
    long differing = 0;
    for (int round = 0; round < 200; round++) {
        const int sample = (*(int *)first + round) % GOLDEN_COUNT;
        memcpy(model_input(context), golden_inputs[sample], MODEL_INPUT_SIZE);
        model_invoke(context);
        differing += memcmp(model_output(context), golden_outputs[sample], MODEL_OUTPUT_SIZE) != 0;
    }
    return (void *)differing;
}
int main(void) {
    pthread_t threads[2];
    static int firsts[2] = {0, 1};
    long differing = 0;
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, run, &firsts[i]);
    for (int i = 0; i < 2; i++) {
        void *result;
        pthread_join(threads[i], &result);
        differing += (long)result;
    }
    return differing != 0;
}
"""


def _graph(seed: int = 0) -> Graph:
    """A layer of each kind that has kernels of families, and a name that C must not see."""
    rng = np.random.default_rng(seed)
    weights = lambda *shape: rng.normal(0, 0.5, shape).astype(np.float32)  # noqa: E731
    build = GraphBuilder('odd "name" */ ??/ \\', (1, 8, 9, 3))
    x = build.conv2d(build.input, weights(4, 3, 3, 3), weights(4), padding=((1, 1), (1, 1)))
    x = build.depthwise_conv2d(x, weights(1, 3, 3, 4), weights(4), padding=((1, 1), (1, 1)))
    y = build.depthwise_conv2d(x, weights(1, 5, 2, 4), padding=((2, 2), (1, 0)))
    x = build.add(x, build.conv2d(y, weights(4, 1, 1, 4)), activation=Activation.RELU)
    graph = build.finish(build.fully_connected(build.mean(x), weights(3, 4), weights(3)))
    return quantize(graph, rng.normal(0, 1, (16, 8, 9, 3)).astype(np.float32))


def _golden(graph: Graph, count: int = 16) -> Array:
    shape = (count, *graph.input.shape[1:])
    return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)


def _build(
    graph: Graph, family: Family, folder: Path, *command: str, main: bytes | None = None
) -> None:
    files = dict(emit_c(graph, _golden(graph), family).files)
    if main is not None:
        files["main.c"] = main
    CSources(files).write(folder)
    sources = sorted(name for name in files if name.endswith(".c"))
    if "-c" in command:  # bare cores have no stdio for main.c
        sources.remove("main.c")
    done = subprocess.run(
        (*command, *sources), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("family", Family)
def test_hook_sees_every_layer_when_the_application_names_one(
    family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    graph = _graph()
    hook = "-DMODEL_LAYER_HOOK=layer_done"
    command = (require_tool("gcc"), *WARNINGS, hook, "-o", "run")
    _build(graph, family, tmp_path, *command, main=HOOKED)
    lines = subprocess.run((tmp_path / "run",), capture_output=True, text=True, check=True).stdout
    values = run_int8_all(graph, _golden(graph)[:1])
    expected = sorted(values[node.output].tobytes().hex() for node in graph.nodes)
    rows = [line.split("|") for line in lines.splitlines()]
    assert sorted(row[2] for row in rows) == expected
    assert [row[1].split(":")[0] for row in rows] == [row[0] for row in rows]
    assert rows[1][1].startswith("depthwise_conv2d_1: 8 x 9 x 4 -> 8 x 9 x 4, window 3 x 3")


@pytest.mark.slow
def test_contexts_give_the_same_when_two_threads_run_them(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    command = (require_tool("gcc"), "-std=c99", "-O2", "-pthread", "-o", "run")
    _build(_graph(), Family.DSP, tmp_path, *command, main=THREADS)
    assert subprocess.run((tmp_path / "run",), check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", Family)
def test_no_function_reaches_itself_when_calls_are_followed(
    family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    command = (require_tool("gcc"), "-std=c99", "-O0", "-fcallgraph-info", "-c")
    _build(_graph(), family, tmp_path, *command)
    text = "".join(path.read_text() for path in tmp_path.glob("*.ci"))
    calls: dict[str, set[str]] = {}
    for caller, callee in re.findall(r'sourcename: "(\S+)" targetname: "(\S+)"', text):
        calls.setdefault(caller, set()).add(callee)
    assert any("model_invoke" in caller for caller in calls)
    finished: set[str] = set()

    def follow(function: str, path: tuple[str, ...]) -> None:
        assert function not in path, path
        if function not in finished:
            for callee in calls.get(function, ()):
                follow(callee, (*path, function))
            finished.add(function)

    for function in calls:
        follow(function, ())


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_objects_want_no_library_when_built_for_a_core(
    core: str, tmp_path: Path, require_tool: RequireTool
) -> None:
    """Neither heap nor libm nor stdio; nothing writable. libgcc has what a core cannot divide."""
    machine, graph = MACHINES[core], _graph()
    cc = require_tool(machine.tools[0])
    for family in Family:
        folder = tmp_path / family
        folder.mkdir()
        _build(graph, family, folder, cc, *machine.flags, "-std=c99", "-O2", "-ffreestanding", "-c")
        objects = sorted(path.name for path in folder.glob("*.o"))
        nm = (f"{machine.prefix}nm", *objects)
        listing = subprocess.run(nm, cwd=folder, capture_output=True, text=True, check=True).stdout
        defined = set(re.findall(r"^\S+ [TtRr] (\S+)$", listing, re.M))
        wanted = set(re.findall(r"^ +U (\S+)$", listing, re.M)) - defined
        assert {name for name in wanted if not name.startswith("__")} <= {"memcpy", "memset"}
        assert not re.findall(r"^\S+ [BbDdCc] \S+$", listing, re.M)


CLANG = {
    "host": (*Family,),
    "--target=thumbv7em-none-eabi -mcpu=cortex-m4": (Family.DSP,),
    "--target=thumbv6m-none-eabi -mcpu=cortex-m0": (Family.PORTABLE,),
    "--target=riscv32 -march=rv32imc": (Family.PORTABLE,),
}


@pytest.mark.slow
@pytest.mark.parametrize("core", CLANG)
def test_code_compiles_without_a_warning_when_the_compiler_is_clang(
    core: str, tmp_path: Path, require_tool: RequireTool
) -> None:
    command = (require_tool("clang"), *WARNINGS)
    for family in CLANG[core]:
        folder = tmp_path / family
        folder.mkdir()
        if core == "host":
            _build(_graph(), family, folder, *command, "-O1", "-o", "run")
            assert (
                subprocess.run((folder / "run",), capture_output=True, check=False).returncode == 0
            )
        else:
            _build(_graph(), family, folder, *command, *core.split(), "-O1", "-ffreestanding", "-c")
