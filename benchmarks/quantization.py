"""The quantizer on float models: what int8 and int4 cost, beside the reference files in int8.

The models are the float and int8 reference models of MLPerf Tiny v1, looked for in `mlperf_tiny` of
the data folder (`EDGEKILN_DATA`). Their data sets are not there: inputs are made up, octaves of
noise of any contrast over the range that the reference file's input takes. Calibration and
measurement use different seeds. An answer agrees where its largest output is that of the float
model; outputs of the anomaly detector are also compared by their reconstruction error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.importers.tflite_file import FileRecord, read_file
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import DEFAULT_RECIPE, Recipe, Step, WeightFormat
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8

from .figure import FULL, Figure, Scale
from .plausible import MODELS

AUTOENCODER = "ad_fc"
INT4_MODELS = ("ic_resnet8", "kws_dscnn")
FULL_SAMPLES, QUICK_SAMPLES = 500, 100
CALIBRATION_SAMPLES = 200
_CORRECTED = Recipe(steps=(Step.BIAS_CORRECT,))
_ADAROUND = Recipe(steps=(Step.ADAROUND, Step.BIAS_CORRECT))
_INT4 = Recipe(weights=WeightFormat.INT4)
_INT4_ADAROUND = Recipe(weights=WeightFormat.INT4, steps=(Step.ADAROUND,))
_OCTAVES = (32, 16, 8, 4, 2, 1)  # sizes of the blocks that one level of noise is made of

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A float model, its reference in int8, and inputs with the float model's answers."""

    name: str
    graph: Graph
    reference: Graph
    reference_bytes: int
    calibration: Floats
    x: Floats
    wanted: Floats


def run(scale: Scale) -> Iterator[Figure]:
    """Agreement, size and what the file holds, per model; then what corrections and int4 do."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EDGEKILN_DATA", default)) / "mlperf_tiny"
    if not folder.is_dir():
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    samples = FULL_SAMPLES if scale.samples >= FULL.samples else QUICK_SAMPLES
    yield Figure("inputs are made up: octaves of noise", samples, "samples", "exact")
    for name in MODELS:
        case = _case(folder, name, samples, scale.seed)
        yield from _default(case)
        yield from _corrections(case)
        if name in INT4_MODELS:
            yield from _four_bits(case)


def _case(folder: Path, name: str, samples: int, seed: int) -> Case:
    graph = optimize(import_model(folder / f"{name}_float.tflite"))
    path = folder / f"{name}_int8.tflite"
    reference = import_model(path)
    x = made_up(reference, samples, np.random.default_rng([seed, 0]))
    calibration = made_up(reference, CALIBRATION_SAMPLES, np.random.default_rng([seed, 1]))
    wanted = run_float(graph, x)
    return Case(name, graph, reference, path.stat().st_size, calibration, x, wanted)


def made_up(reference: Graph, count: int, rng: np.random.Generator) -> Floats:
    """Inputs (n, …): sums of block noise of every size, over a random part of the input's range."""
    quant = reference.input.quant
    assert quant is not None
    low, high = ((end - quant.zero_point[0]) * quant.scale[0] for end in (-128, 127))
    shape = reference.input.shape[1:]
    image = shape if len(shape) > 1 else (*shape, 1)
    found = np.stack([_octaves(image, rng) for _ in range(count)])
    ends = np.sort(rng.uniform(0.0, 1.0, (count, 2)), axis=1)
    ends[::2] = (0.0, 1.0)  # every other one has full contrast
    first, last = (ends[:, side].reshape(-1, *[1] * len(image)) for side in (0, 1))
    scaled = low + (high - low) * (first + (last - first) * found)
    return scaled.reshape(count, *shape).astype(np.float32)


def _octaves(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """One sample from 0 to 1; its channels are alike, as colours are."""
    total = np.zeros(shape)
    for size in _OCTAVES:
        weight = rng.exponential() * size ** rng.uniform(-0.5, 1.0)
        blocks = [-(-extent // size) for extent in shape[:-1]]
        noise = rng.normal(size=(*blocks, shape[-1])) + 2.0 * rng.normal(size=(*blocks, 1))
        for axis, extent in enumerate(shape[:-1]):
            noise = noise.repeat(size, axis).take(range(extent), axis)
        total += weight * noise
    spread = max(float(np.ptp(total)), 1e-9)
    return ((total - total.min()) / spread).astype(np.float32)


def _default(case: Case) -> Iterator[Figure]:
    """The default recipe against the reference file."""
    quantized = quantize_by(case.graph, case.calibration, DEFAULT_RECIPE).int8_graph
    ours, theirs = _answers(quantized, case.x), _answers(case.reference, case.x)
    data = emit_tflite(quantized)
    labels = len(np.unique(case.wanted.argmax(axis=1)))
    yield Figure(f"{case.name}: labels of the float model", labels, "labels", "exact")
    agree, reference = _agreement(case, ours), _agreement(case, theirs)
    yield Figure(f"{case.name}: int8 agrees with float", agree, "%", "exact")
    yield Figure(f"{case.name}: the reference file agrees", reference, "%", "exact")
    behind = f"{case.name}: points behind the reference file"
    yield Figure(behind, max(reference - agree, 0.0), "points", "exact", at_most=0)
    yield from _errors(case, ours, theirs)
    if case.name == AUTOENCODER:
        yield from _anomaly_scores(case, ours, theirs)
    yield Figure(f"{case.name}: int8 file", len(data), "bytes", "exact")
    share = len(data) / case.reference_bytes
    yield Figure(f"{case.name}: of the reference file's size", share, "", "exact", at_most=1)
    yield from _contents(case.name, read_file(data, case.name))


def _errors(case: Case, ours: Floats, theirs: Floats) -> Iterator[Figure]:
    error, reference = _rms(ours - case.wanted), _rms(theirs - case.wanted)
    power = _rms(case.wanted)
    yield Figure(f"{case.name}: error of int8 outputs", 100.0 * error / power, "% rms", "exact")
    name = f"{case.name}: of the reference file's error"
    yield Figure(name, error / max(reference, 1e-12), "", "exact", at_most=1)


def _anomaly_scores(case: Case, ours: Floats, theirs: Floats) -> Iterator[Figure]:
    """Mean squared errors of reconstruction, by which the detector ranks samples."""
    exact = _scores(case, case.wanted)
    for name, outputs in (("int8", ours), ("the reference file", theirs)):
        scores = _scores(case, outputs)
        close = float(np.corrcoef(exact, scores)[0, 1])
        off = 100.0 * float(np.mean(np.abs(scores / exact - 1.0)))
        yield Figure(f"{case.name}: anomaly scores of {name}, correlation", close, "", "exact")
        yield Figure(f"{case.name}: anomaly scores of {name}, off by", off, "%", "exact")


def _contents(name: str, record: FileRecord) -> Iterator[Figure]:
    """What must not be in an int8 file."""
    ends = (*record.inputs, *record.outputs)
    other = sum(record.tensors[index].dtype != "INT8" for index in ends)
    floats = sum(tensor.dtype.startswith("FLOAT") for tensor in record.tensors)
    moves = sum(operator.op == "TRANSPOSE" for operator in record.operators)
    yield Figure(f"{name}: inputs and outputs not int8", other, "tensors", "exact", at_most=0)
    yield Figure(f"{name}: float tensors", floats, "tensors", "exact", at_most=0)
    yield Figure(f"{name}: transposes", moves, "operators", "exact", at_most=0)


def _corrections(case: Case) -> Iterator[Figure]:
    """What the recipe's corrections add to the default."""
    for label, recipe in (("bias correction", _CORRECTED), ("AdaRound too", _ADAROUND)):
        started = time.perf_counter()
        graph = quantize_by(case.graph, case.calibration, recipe).int8_graph
        seconds = time.perf_counter() - started
        ours = _answers(graph, case.x)
        error = 100.0 * _rms(ours - case.wanted) / _rms(case.wanted)
        yield Figure(f"{case.name}: with {label}, agrees", _agreement(case, ours), "%", "exact")
        yield Figure(f"{case.name}: with {label}, error", error, "% rms", "exact")
        yield Figure(f"{case.name}: with {label}, takes", seconds, "s")


def _four_bits(case: Case) -> Iterator[Figure]:
    """int4 weights, rounded to the nearest and adaptively."""
    errors = []
    for label, recipe in (("nearest", _INT4), ("AdaRound", _INT4_ADAROUND)):
        graph = quantize_by(case.graph, case.calibration, recipe).int8_graph
        ours = _answers(graph, case.x)
        errors.append(_rms(ours - case.wanted))
        yield Figure(f"{case.name}: int4 by {label}, agrees", _agreement(case, ours), "%", "exact")
    yield Figure(f"{case.name}: int4 file", len(emit_tflite(graph)), "bytes", "exact")
    ratio = errors[1] / errors[0]
    yield Figure(f"{case.name}: int4 error, AdaRound to nearest", ratio, "", "exact", at_most=1)


def _answers(graph: Graph, x: Floats) -> Floats:
    return dequantize_output(graph, run_int8(graph, quantize_input(graph, x)))


def _agreement(case: Case, answers: Floats) -> float:
    same = answers.argmax(axis=1) == case.wanted.argmax(axis=1)
    return 100.0 * float(same.mean())


def _scores(case: Case, outputs: Floats) -> Floats:
    scores: Floats = np.mean((outputs - case.x).astype(np.float64) ** 2, axis=1)
    return scores


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))
