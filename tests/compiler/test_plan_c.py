"""Generated C under its plan, stopped after every layer: what lives is right, what is dead may go.

Between layers all dead bytes are filled with a pattern. After each layer every live value equals
the integer reference, and nothing outside the layer's own blocks has changed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c, memory_plan
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.emit_c_layer import Layer
from edgekiln.compiler.emit_c_layers import layer as layer_of
from edgekiln.compiler.emit_c_plan import kernel_call, planned
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.plan import storage_roots
from edgekiln.compiler.plan_memory import MemoryPlan, plan_memory
from edgekiln.compiler.plan_rules import Sharing
from edgekiln.compiler.quantize import quantize, quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe
from edgekiln.compiler.reference import run_int8_all

RequireTool = Callable[[str], str]
PATTERN = 0x5A
SAMPLES = 2
MODELS = ("ad", "ic_resnet8", "kws_dscnn", "vww_mbv1")

MAIN = b"""
#include <stdio.h>
#include <string.h>
#include "golden.h"
#include "model.h"
#include "dead.h"
static model m;
static int done;
void probe(const model *stopped, const model_layer *layer) {
    int8_t *arena = (int8_t *)m.arena;
    fwrite(arena, 1, sizeof m.arena, stdout);
    for (size_t i = 0; i < sizeof dead / sizeof *dead; i++) {
        if (dead[i][0] == done) memset(arena + dead[i][1], 0x5A, (size_t)dead[i][2]);
    }
    done++;
}
int main(void) {
    for (int sample = 0; sample < GOLDEN_COUNT; sample++) {
        memset(m.arena, 0x5A, sizeof m.arena);
        memcpy(model_input(&m), golden_inputs[sample], sizeof *golden_inputs);
        done = 0;
        model_invoke(&m);
    }
    return 0;
}
"""


class _Liveness:
    """Values that are still to be read after each layer, from the graph and the order alone."""

    def __init__(self, graph: Graph, plan: MemoryPlan, layers: tuple[Layer, ...]) -> None:
        self._graph, self._plan = graph, plan
        roots = storage_roots(graph)
        reads = [{roots[name] for name in call.inputs} for call in layers]
        ends = {roots[name] for name in graph.outputs}
        self.live = [
            ({roots[graph.inputs[0]], *plan.order[: index + 1]})
            & (ends | {name for later in reads[index + 1 :] for name in later})
            for index in range(len(plan.order))
        ]

    def mask(self, names: set[str]) -> Array:
        kept = np.zeros(self._plan.arena_bytes, bool)
        for name in names:
            start = self._plan.offsets[name]
            kept[start : start + self._graph.values[name].nbytes] = True
        return kept


def _runs(mask: Array) -> list[tuple[int, int]]:
    """(start, length) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    starts, ends = edges[::2].tolist(), edges[1::2].tolist()
    return [(start, end - start) for start, end in zip(starts, ends, strict=True)]


def _probed(
    graph: Graph, golden: Array, family: Family, folder: Path, cc: str
) -> tuple[MemoryPlan, _Liveness, Array]:
    """The arena (samples, layers, bytes) as each layer leaves it."""
    layers, plan = planned(graph, family)
    liveness = _Liveness(graph, plan, layers)
    files = dict(emit_c(graph, golden, family).files)
    rows = "".join(
        f"{{{layer}, {start}, {length}}},\n"
        for layer, live in enumerate(liveness.live)
        for start, length in _runs(~liveness.mask(live))
    )
    files["dead.h"] = f"static const int dead[][3] = {{\n{rows}{{-1, 0, 0}}}};\n".encode()
    files["main.c"] = MAIN
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sources = sorted(name for name in files if name.endswith(".c"))
    hook = "-DMODEL_LAYER_HOOK=probe"
    command = (cc, "-std=c99", "-O1", "-w", hook, "-o", "run", *sources)
    subprocess.run(command, cwd=folder, check=True)
    dump = subprocess.run((folder / "run",), capture_output=True, check=True).stdout
    arenas = np.frombuffer(dump, np.int8).reshape(len(golden), len(plan.order), plan.arena_bytes)
    return plan, liveness, arenas


def _check(graph: Graph, family: Family, folder: Path, cc: str) -> None:
    rng = np.random.default_rng(1)
    kind = graph.input.dtype.numpy
    ends = np.iinfo(kind)
    shape = (SAMPLES, *graph.input.shape[1:])
    golden = rng.integers(ends.min, ends.max + 1, shape).astype(kind)
    plan, liveness, arenas = _probed(graph, golden, family, folder, cc)
    values = run_int8_all(graph, golden)
    needs = {call.output: call.scratch_bytes for call in planned(graph, family)[0]}
    before = liveness.mask({graph.inputs[0]})
    for layer, name in enumerate(plan.order):
        live = liveness.live[layer] | {name}
        for sample in range(SAMPLES):
            arena = arenas[sample, layer]
            for value in live:
                start = plan.offsets[value]
                expected = values[value][sample].reshape(-1).view(np.int8)
                np.testing.assert_array_equal(arena[start : start + expected.size], expected)
        own = before | liveness.mask(live)
        if name in plan.scratch:
            start = plan.scratch[name]
            own[start : start + needs[name]] = True
        assert (arenas[:, layer][:, ~own] == PATTERN).all()
        before = liveness.mask(liveness.live[layer])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4, 6])
def test_layers_leave_live_bytes_alone_when_activations_are_int16(
    seed: int,
    random_graph: Callable[[int], Graph],
    draw_samples: Callable[..., Array],
    tmp_path: Path,
    require_tool: RequireTool,
) -> None:
    graph = random_graph(seed)
    recipe = Recipe(activations=ActivationFormat.INT16)
    graph = quantize_by(graph, draw_samples(graph, 16, seed), recipe).int8_graph
    _check(graph, Family.PORTABLE, tmp_path, require_tool("gcc"))


@pytest.mark.slow
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MODELS)
def test_layers_leave_live_bytes_alone_when_the_model_is_real(
    name: str, family: Family, mlperf_models: Path, tmp_path: Path, require_tool: RequireTool
) -> None:
    (path,) = (mlperf_models).glob(f"{name}*_int8.tflite")
    _check(import_model(path), family, tmp_path, require_tool("gcc"))


@pytest.mark.parametrize("seed", [2, 5, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 9))])
def test_layers_leave_live_bytes_alone_when_the_graph_is_random(
    seed: int,
    random_graph: Callable[[int], Graph],
    quantized: Callable[[Graph, int], Graph],
    tmp_path: Path,
    require_tool: RequireTool,
) -> None:
    graph = quantized(random_graph(seed), seed)
    _check(graph, list(Family)[seed % 3], tmp_path, require_tool("gcc"))


def test_branches_run_one_after_the_other_when_that_takes_less(
    tmp_path: Path, require_tool: RequireTool
) -> None:
    """Both branches grow and shrink again; given interleaved, they would be large together."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("branches", (1, 6, 6, 4))
    wide = [build.conv2d(build.input, rng.normal(0, 1, (24, 3, 3, 4))) for _ in range(2)]
    small = [build.conv2d(x, rng.normal(0, 1, (4, 1, 1, 24))) for x in wide]
    graph = build.finish(build.add(*small))
    graph = quantize(graph, rng.normal(0, 1, (8, 6, 6, 4)).astype(np.float32))
    assert memory_plan(graph).order == (wide[0], small[0], wide[1], small[1], graph.outputs[0])
    assert memory_plan(graph).gap_bytes == 0
    _check(graph, Family.PORTABLE, tmp_path, require_tool("gcc"))


def _narrow_wide_narrow(seed: int, stride: int, kernel: int) -> Graph:
    """What MobileNetV2 is made of, twice; the first of them has a sum around it."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("narrow_wide_narrow", (1, 13, 9, 4))
    x = build.input
    for step in (1, stride):
        pad = (kernel // 2, kernel // 2)
        wide = build.conv2d(x, rng.normal(0, 1, (28, 1, 1, 4)), activation=Activation.RELU6)
        y = build.depthwise_conv2d(
            wide,
            rng.normal(0, 1, (1, kernel, kernel, 28)),
            rng.normal(0, 1, 28),
            stride=(step, step),
            padding=(pad, pad),
            activation=Activation.RELU,
        )
        y = build.conv2d(y, rng.normal(0, 1, (4, 1, 1, 28)))
        x = build.add(x, y) if step == 1 else y
    return quantize(build.finish(x), rng.normal(0, 1, (8, 13, 9, 4)).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (2, 5), (3, 5)])
def test_strips_leave_live_bytes_alone_when_they_take_less(
    stride: int, kernel: int, family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    graph = _narrow_wide_narrow(kernel, stride, kernel)
    layers, plan = planned(graph, family)
    assert sum(bool(call.parts) for call in layers) == 2
    alone = (layer_of(graph, node, index, family) for index, node in enumerate(graph.nodes))
    assert plan.arena_bytes < plan_memory(graph, map(kernel_call, alone)).arena_bytes
    _check(graph, family, tmp_path, require_tool("gcc"))


@pytest.mark.slow
def test_strips_keep_outputs_apart_when_a_kernel_writes_nothing_in_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, require_tool: RequireTool
) -> None:
    graph = _narrow_wide_narrow(0, 2, 3)
    in_place = planned(graph, Family.DSP)[1].arena_bytes
    monkeypatch.setattr("edgekiln.compiler.emit_c_strips.sharing", lambda *_: Sharing())
    graph = _narrow_wide_narrow(0, 2, 3)  # another one: a graph is planned once
    layers, plan = planned(graph, Family.DSP)
    assert any(call.parts for call in layers)
    assert plan.arena_bytes > in_place
    _check(graph, Family.DSP, tmp_path, require_tool("gcc"))
