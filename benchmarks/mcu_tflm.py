"""TensorFlow Lite Micro as PyPI has it, beside the integer reference: outputs, arena, operators.

The wheel has the portable kernels and no CMSIS-NN, and runs on this machine: it tells what the
interpreter computes and refuses, and what its own allocator says of its arena, whose structures
have pointers of 64 bits here. Instructions on the core are those that `mcu` records.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekiln.compiler.emit_c import memory_plan
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import CompileError
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.mcu import TFLM, run_tflm_codes
from edgekiln.compiler.ops import Op
from edgekiln.compiler.oracles import distribution_version
from edgekiln.compiler.probe_extras import EXTRAS, extra_probes
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8

from .figure import FULL, Figure, Scale

MODELS = ("ic_resnet8", "kws_dscnn", "vww_mbv1", "ad_fc")
SAMPLES, QUICK_SAMPLES = 20, 2
ARENA = """
import pathlib, sys
from tflite_micro.python.tflite_micro import runtime
model = pathlib.Path(sys.argv[1]).read_bytes()
runtime.Interpreter.from_bytes(model, arena_size=16 << 20).print_allocations()
"""


def run(scale: Scale) -> Iterator[Figure]:
    """Bytes that differ, arena bytes, and operators that it runs, refuses or rounds otherwise."""
    if distribution_version(TFLM) == "absent":
        yield Figure(f"not installed: {TFLM} (pip install 'edgekiln[mcu]')", 0, "models", "exact")
        return
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EDGEKILN_DATA", default)) / "mlperf_tiny"
    if not folder.is_dir():
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
    else:
        samples = SAMPLES if scale.samples >= FULL.samples else QUICK_SAMPLES
        for name in MODELS:
            yield from _model(folder / f"{name}_int8.tflite", name, samples, scale.seed)
    yield from _operators(scale.seed)


def _model(path: Path, name: str, samples: int, seed: int) -> Iterator[Figure]:
    graph = import_model(path)
    shape = (samples, *graph.input.shape[1:])
    inputs = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    expected = run_int8(graph, inputs).reshape(-1).astype(int)
    steps = np.abs(run_tflm_codes(emit_tflite(graph), [inputs]).reshape(-1) - expected)
    yield Figure(f"{name}: outputs that differ", 100 * float((steps > 0).mean()), "%", "exact")
    yield Figure(f"{name}: furthest output", int(steps.max()), "steps", "exact")
    yield Figure(f"{name}: arena, its allocator", _arena_bytes(path), "bytes", "exact")
    ours = memory_plan(graph, family_of_core("cortex-m4")).arena_bytes
    yield Figure(f"{name}: arena, ours in C", ours, "bytes", "exact")


def _arena_bytes(path: Path) -> int:
    """What its recording allocator prints, from C++, hence in a process of its own."""
    command = (sys.executable, "-c", ARENA, str(path))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Arena allocation total (\d+) bytes", done.stderr + done.stdout)
    if found is None:
        raise RuntimeError(f"{TFLM} printed no arena: {done.stderr[:200]}")
    return int(found[1])


def _operators(seed: int) -> Iterator[Figure]:
    """Every operator that has a probe of its own, alone in an int8 model."""
    refused, rounded = [], []
    for op in EXTRAS:
        try:
            steps = _furthest(op, np.random.default_rng(seed))
        except CompileError:
            refused.append(op.value)
            continue
        if steps > 0:
            rounded.append(f"{op.value} {steps}")
    yield Figure("operators asked, each alone in int8", len(EXTRAS), "operators", "exact")
    for what, found in (("refused", refused), ("steps from LiteRT's reference", rounded)):
        names = f": {', '.join(found)}" if found else ""
        yield Figure(f"operators {what}{names}", len(found), "operators", "exact")


def _furthest(op: Op, rng: np.random.Generator) -> int:
    """Steps between its output and the integer reference's. Raises CompileError."""
    graph = next(extra_probes({op.value}, rng))
    shape = graph.input.shape[1:]
    int8 = quantize(graph, rng.normal(0, 1, (16, *shape)).astype(np.float32))
    inputs = rng.integers(-128, 128, (4, *shape)).astype(np.int8)
    found = run_tflm_codes(emit_tflite(int8), [inputs]).reshape(-1).astype(float)
    return int(np.ceil(np.abs(found - run_int8(int8, inputs).reshape(-1)).max()))
