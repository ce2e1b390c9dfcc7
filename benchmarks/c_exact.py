"""Generated C against the integer reference, byte for byte: counts of what was run, and of faults.

    python -m benchmarks c_exact

The int8 models of MLPerf Tiny run on this machine with every family of kernels, and twice on each
emulated core with its own; both runs must give the same counts and bytes. Small graphs that
hypothesis draws (`drawn_graphs`) run on this machine and on an emulated Cortex-M4.
"""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.emit_c import CSources, emit_c
from edgekiln.compiler.emit_c_family import Family, family_of_core
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import Emulation, emulate_folder, missing_tools
from edgekiln.targets.machines import MACHINES, PACKAGES
from edgekiln.targets.profiles import load_target

from .c_batches import MOST, batch_sources, differing_on_core, differing_on_host
from .drawn_graphs import draw_graphs
from .figure import FULL, Figure, Scale
from .plausible import MODELS, models_folder, plausible_codes, random_codes

CORES = (
    *("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imc"),
)
TARGET = "cortex-m4"
GRAPH_SAMPLES = 6

# Reads inputs and writes outputs as long as there are any.
_MAIN = b"""
#include <stdio.h>
#include "model.h"
static model context;
int main(void) {
    while (fread(model_input(&context), 1, MODEL_INPUT_SIZE, stdin) == MODEL_INPUT_SIZE) {
        model_invoke(&context);
        fwrite(model_output(&context), 1, MODEL_OUTPUT_SIZE, stdout);
    }
    return 0;
}
"""


@dataclass(frozen=True, slots=True)
class _Counts:
    host_inputs: int
    core_inputs: int
    graphs: int


_FULL = _Counts(1000, 20, 500)
_QUICK = _Counts(20, 1, 40)


def run(scale: Scale) -> Iterator[Figure]:
    """Inputs and graphs that ran, and how many of them differ."""
    if absent := missing_tools(PACKAGES):
        yield Figure(f"not installed: {', '.join(absent)} (make system)", 0, "models", "exact")
        return
    counts = _FULL if scale.samples >= FULL.samples else _QUICK
    folder = models_folder()
    if folder is None:
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
    else:
        for name in MODELS:
            graph = import_model(folder / f"{name}_int8.tflite")
            yield from _model(graph, name, counts, scale.seed)
    yield from _drawn(counts.graphs)


def _model(graph: Graph, name: str, counts: _Counts, seed: int) -> Iterator[Figure]:
    inputs = _inputs(graph, counts.host_inputs, seed)
    expected = run_int8(graph, inputs).reshape(len(inputs), -1)
    for family in Family:
        wrong = (_on_host(graph, family, inputs) != expected).any(axis=1)
        yield _differing(f"{name}, host, {family}: {len(inputs)} inputs", int(wrong.sum()))
    few, right = inputs[: counts.core_inputs], expected[: counts.core_inputs]
    unlike = 0
    for core in CORES:
        wrong_runs, repeated = _on_core(graph, core, few, right)
        yield _differing(f"{name}, {core}: {len(few)} inputs, twice", wrong_runs)
        unlike += not repeated
    yield Figure(f"{name}: cores whose runs are not equal", unlike, "cores", "T2", 0)


def _differing(what: str, count: int) -> Figure:
    return Figure(f"{what}, differing", count, "inputs", "exact", 0)


def _on_host(graph: Graph, family: Family, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Outputs (n, elements) of a build with gcc -O2."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-exact-") as name:
        folder = Path(name)
        files = {**emit_c(graph, inputs[:1], family).files, "main.c": _MAIN}
        CSources(files).write(folder)
        sources = sorted(file for file in files if file.endswith(".c"))
        subprocess.run(("gcc", "-std=c99", "-O2", *sources, "-o", "run"), cwd=folder, check=True)
        done = subprocess.run(
            (folder / "run",), input=inputs.tobytes(), capture_output=True, check=True
        )
    return np.frombuffer(done.stdout, np.int8).reshape(len(inputs), -1)


def _on_core(
    graph: Graph, core: str, inputs: npt.NDArray[np.int8], expected: npt.NDArray[np.int8]
) -> tuple[int, bool]:
    """Inputs that differ in two runs, and whether both gave the same counts and bytes."""
    most = MACHINES[core].code[1] // 3 // (inputs[0].size + expected[0].size)  # of one image
    wrong, repeated = 0, True
    for start in range(0, len(inputs), most):
        first, second = _two_runs(graph, core, inputs[start : start + most])
        right = expected[start : start + most]
        for found in (first, second):
            outputs = np.frombuffer(found.outputs, np.int8).reshape(right.shape)
            wrong += int((outputs != right).any(axis=1).sum())
        repeated &= first == second
    return wrong, repeated


def _two_runs(graph: Graph, core: str, inputs: npt.NDArray[np.int8]) -> tuple[Emulation, Emulation]:
    target = dataclasses.replace(load_target(TARGET), core=core)
    with tempfile.TemporaryDirectory(prefix="edgekiln-exact-") as name:
        emit_c(graph, inputs, family_of_core(core)).write(Path(name))
        return emulate_folder(Path(name), target), emulate_folder(Path(name), target)


def _drawn(count: int) -> Iterator[Figure]:
    on_host = on_core = 0
    target = load_target(TARGET)
    family = family_of_core(target.core)
    graphs = draw_graphs(count)
    for start in range(0, count, MOST):
        files = batch_sources(graphs[start : start + MOST], GRAPH_SAMPLES, family)
        on_host += sum(map(bool, differing_on_host(files, "-O1")))
        on_core += sum(map(bool, differing_on_core(files, target)))
    for where, differing in (("host", on_host), (TARGET, on_core)):
        yield Figure(f"{count} drawn graphs, {where}, differing", differing, "graphs", "exact", 0)


def _inputs(graph: Graph, count: int, seed: int) -> npt.NDArray[np.int8]:
    """Noise over all of int8 with both its ends, and plausible inputs, one after the other."""
    rng = np.random.default_rng(seed)
    inputs = random_codes(graph, count, rng).astype(np.int8)
    inputs[1::2] = plausible_codes(graph, count // 2, rng)
    inputs[:1], inputs[2:3] = -128, 127
    return inputs
