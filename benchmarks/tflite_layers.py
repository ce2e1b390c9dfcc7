"""Imported models against LiteRT's reference kernels: every layer, every byte.

The models are the int8 reference models of MLPerf Tiny v1, looked for in `mlperf_tiny` of the data
folder (`EDGEKILN_DATA`); without them there is nothing to compare. Counts are exact; only the
samples per second are timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.reference import run_int8_all

from .figure import FULL, Figure, Scale
from .plausible import MODELS, models_folder, plausible_codes, random_codes

FULL_SAMPLES, QUICK_SAMPLES = (1000, 200), (40, 10)  # random, plausible
_BATCH = 50  # bounds the memory of every layer's outputs


def run(scale: Scale) -> Iterator[Figure]:
    """Samples, layers, bytes that differ, and identical outputs after emission, per model."""
    folder = models_folder()
    if folder is None:
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    counts = FULL_SAMPLES if scale.samples >= FULL.samples else QUICK_SAMPLES
    for name in MODELS:
        yield from _compare(folder / f"{name}_int8.tflite", name, counts, scale.seed)


def _compare(path: Path, name: str, counts: tuple[int, int], seed: int) -> Iterator[Figure]:
    graph = import_model(path)
    original = _interpreter(path.read_bytes(), keep=True)
    emitted = _interpreter(emit_tflite(graph), keep=False)
    differing = total = identical = 0
    seconds = 0.0
    for batch in _batches(graph, counts, np.random.default_rng(seed)):
        started = time.perf_counter()
        ours = run_int8_all(graph, batch)
        seconds += time.perf_counter() - started
        for row, sample in enumerate(batch):
            theirs = _outputs(original, sample)
            output = theirs[graph.outputs[0]]
            identical += int(np.array_equal(_output(emitted, sample), output))
            for value, found in ours.items():
                differing += int(np.count_nonzero(found[row] != theirs[value][0]))
                total += found[row].size
    noise, smooth = counts
    samples = noise + smooth
    yield Figure(f"{name}: random samples", noise, "samples", "exact")
    yield Figure(f"{name}: plausible samples", smooth, "samples", "exact")
    yield Figure(f"{name}: layers", len(graph.nodes), "layers", "exact")
    yield Figure(f"{name}: bytes compared", total, "bytes", "exact")
    yield Figure(f"{name}: bytes that differ", differing, "bytes", "exact", at_most=0)
    yield Figure(f"{name}: emitted again, identical outputs", identical, "samples", "exact")
    yield Figure(
        f"{name}: emitted again, other outputs", samples - identical, "samples", "exact", at_most=0
    )
    yield Figure(f"{name}: integer reference", samples / seconds, "samples/s")


def _batches(graph: Graph, counts: tuple[int, int], rng: np.random.Generator) -> Iterator[Array]:
    """Random and plausible inputs, a batch at a time."""
    for draw, count in zip((random_codes, plausible_codes), counts, strict=True):
        for start in range(0, count, _BATCH):
            yield draw(graph, min(_BATCH, count - start), rng)


def _interpreter(model: bytes, *, keep: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=keep,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    return interpreter


def _output(interpreter: Any, sample: Array) -> Array:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _outputs(interpreter: Any, sample: Array) -> Mapping[str, Array]:
    _output(interpreter, sample)
    return {
        detail["name"]: interpreter.get_tensor(detail["index"])
        for detail in interpreter.get_tensor_details()
        if detail["name"]
    }
