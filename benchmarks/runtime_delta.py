"""Updates: what a device fetches where it holds the release before, and what it costs to apply.

Networks are trained and fine-tuned here (`fine_tunes`), compiled, and compared file by file in one
run with what others make of the same two files: zstd and xz without the base, `zstd --patch-from`
and bsdiff with it. `model`: the TFLite artifacts alone; `bundle`: everything that is shipped, in
which golden vectors and the reference of the new training data are new however little the model
changed. `exact`: compiled as always. `near`: compiled with a base, at a validation accuracy no
lower than exact; where a single sample stands in the way, what it costs is printed too. Test
accuracies are of rows that nothing else has looked at. MLPerf Tiny's keyword network is fine-tuned
by noise on its weights, for want of its data: a synthetic update.
"""

from __future__ import annotations

import copy
import dataclasses
import lzma
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.compiler.accuracy import reference_accuracy
from edgekiln.compiler.assemble import model_samples
from edgekiln.compiler.data import Dataset
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import DType, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import DEFAULT_RECIPE
from edgekiln.compiler.request import (
    CompileRequest,
    CompileResult,
    TargetRequest,
    UpdateRequest,
)
from edgekiln.compiler.tensor_spans import find_tensors
from edgekiln.runtime.bundle import parse_bundle
from edgekiln.runtime.delta import WORKING_BYTES, apply_delta
from edgekiln.runtime.delta_plan import SpannedFile, make_delta, make_file_delta
from edgekiln.runtime.tensor_map import tensors_of
from edgekiln.targets import load_target

from .figure import FULL, Figure, Scale
from .fine_tunes import DATA, TRAINING_RATE, UPDATES, Task, Update, export, fit, tasks
from .quantization import made_up

TARGET = "raspberry-pi-4"  # its costs are in the catalog, so nothing is timed while compiling
TRAINING_EPOCHS = 20
SYNTHETIC_SHARES = (0.005, 0.02)  # of each tensor's deviation
MOST_EXACT, MOST_NEAR, MOST_HEAD = 0.6, 0.2, 0.03


@dataclass(frozen=True)
class Pair:
    """Two files and the delta between them."""

    base: bytes
    new: bytes
    delta: bytes

    @property
    def share(self) -> float:
        """The delta's bytes over the new file's."""
        return len(self.delta) / len(self.new)


def run(scale: Scale) -> Iterator[Figure]:
    """Sizes of every update of every task, then what applying the largest costs."""
    largest: Pair | None = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in tasks(folder, scale.seed)[: None if scale.samples >= FULL.samples else 1]:
            for pair, figures in _task(task, folder, scale):
                yield from figures
                if largest is None or len(pair.delta) > len(largest.delta):
                    largest = pair
        yield from _synthetic(scale)
        if largest is not None:
            yield from _applied(largest, folder)


def _task(task: Task, folder: Path, scale: Scale) -> Iterator[tuple[Pair, tuple[Figure, ...]]]:
    fit(task.network, task.before, TRAINING_RATE, TRAINING_EPOCHS, scale.seed)
    base = _compiled(task, task.network, task.before, folder, None)
    path = folder / f"{task.name}.ekb"
    path.write_bytes(base.data)
    for update in UPDATES:
        network = copy.deepcopy(task.network)
        fit(network, task.after, update.rate, update.epochs, scale.seed + 1, update.head_only)
        exact = _compiled(task, network, task.after, folder, None)
        near = _compiled(task, network, task.after, folder, UpdateRequest(path))
        for kind, result in (("exact", exact), ("near", near)):
            label = f"{task.name}, {update.name}, {kind}"
            model, pair = _models(base, result), _bundles(base, result)
            most = MOST_EXACT if kind == "exact" else MOST_NEAR
            head = MOST_HEAD if kind == "near" and update.head_only else None
            yield model, tuple(_sizes(f"{label}, model", model, head))
            yield pair, tuple(_sizes(f"{label}, bundle", pair, most))
            yield pair, tuple(_accuracies(label, task.after, result))
        if _models(base, near).share > MOST_NEAR:
            yield from _within_one(task, network, base, folder, update)


def _within_one(
    task: Task, network: object, base: CompileResult, folder: Path, update: Update
) -> Iterator[tuple[Pair, tuple[Figure, ...]]]:
    """The same where one more validation sample may be answered wrongly: what that one costs."""
    budget_pt = 100.0 / len(task.after.validation) + 1e-6
    request = UpdateRequest(folder / f"{task.name}.ekb", budget_pt)
    result = _compiled(task, network, task.after, folder, request)
    label = f"{task.name}, {update.name}, near within one sample"
    pair = _models(base, result)
    yield pair, tuple(_sizes(f"{label}, model", pair, MOST_NEAR))
    yield pair, tuple(_accuracies(label, task.after, result))


def _compiled(
    task: Task, network: object, data: Dataset, folder: Path, update: UpdateRequest | None
) -> CompileResult:
    model = export(network, data, folder / f"{task.name}.pt2")
    return compile_model(
        CompileRequest(
            name=task.name,
            model=model,
            dataset=data,
            targets=(TargetRequest(load_target(TARGET), ("tflite",)),),
            force_reason="benchmark: what an update costs is asked, not whether it is good",
            update=update,
        )
    )


def _models(base: CompileResult, new: CompileResult) -> Pair:
    files = [_spanned(result) for result in (base, new)]
    return Pair(files[0].data, files[1].data, make_file_delta(*files))


def _spanned(result: CompileResult) -> SpannedFile:
    member = f"artifacts/{TARGET}/model.tflite"
    bundle = parse_bundle(result.data, result.manifest.name)
    return SpannedFile(bundle.read(member), tensors_of(bundle)[member])


def _bundles(base: CompileResult, new: CompileResult) -> Pair:
    return Pair(base.data, new.data, make_delta(base.data, new.data))


def _sizes(label: str, pair: Pair, bound: float | None) -> Iterator[Figure]:
    """The delta's share of the whole file, and what others need for the same two files."""
    import bsdiff4

    whole = len(pair.new)
    yield Figure(f"{label}: whole", whole, "bytes", "exact")
    yield Figure(f"{label}: delta", len(pair.delta), "bytes", "exact")
    yield Figure(f"{label}: delta over whole", pair.share, "ratio", "exact", bound)
    others = {
        "zstd -19": _zstd(pair.new),
        "xz -9e": len(lzma.compress(pair.new, preset=9 | lzma.PRESET_EXTREME)),
        "zstd -19 --patch-from": _zstd(pair.new, pair.base),
        "bsdiff": len(bsdiff4.diff(pair.base, pair.new)),
    }
    for name, size in others.items():
        yield Figure(f"{label}: {name} over whole", size / whole, "ratio", "exact")
    best = min(others["zstd -19 --patch-from"], others["bsdiff"])
    yield Figure(f"{label}: delta over the smaller of both", len(pair.delta) / best, "ratio",
                 "exact")  # fmt: skip


def _zstd(data: bytes, base: bytes | None = None) -> int:
    """Bytes of the command's own output."""
    with tempfile.TemporaryDirectory() as name:
        new, old, out = (Path(name) / part for part in ("new", "old", "out"))
        new.write_bytes(data)
        options = []
        if base is not None:
            old.write_bytes(base)
            options = [f"--patch-from={old}"]
        command = ["zstd", "-qq", "-19", "--single-thread", *options, str(new), "-o", str(out)]
        subprocess.run(command, check=True)
        return out.stat().st_size


def _accuracies(label: str, data: Dataset, result: CompileResult) -> Iterator[Figure]:
    x, y = data.open_test()
    graph = result.model.graph
    test = reference_accuracy(graph, model_samples(graph, data, x), y)
    validation = result.manifest.accuracy_int8
    yield Figure(f"{label}: validation accuracy", 100 * validation, "%", "exact")
    yield Figure(f"{label}: test accuracy", 100 * test, "%", "exact")
    if result.update is not None:
        changed = 100 * result.update.changed
        yield Figure(f"{label}: weights that change", changed, "%", "exact")


def _synthetic(scale: Scale) -> Iterator[Figure]:
    """MLPerf Tiny's keyword network with noise on its weights."""
    folder = DATA / "mlperf_tiny"
    if not folder.is_dir():
        yield Figure("no MLPerf Tiny models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    rng = np.random.default_rng(scale.seed)
    graph = optimize(import_model(folder / "kws_dscnn_float.tflite"))
    samples = made_up(import_model(folder / "kws_dscnn_int8.tflite"), 100, rng)
    base = _file(graph, samples)
    for share in SYNTHETIC_SHARES:
        new = _file(_noisy(graph, share, rng), samples)
        pair = Pair(base.data, new.data, make_file_delta(base, new))
        label = f"kws, noise of {100 * share:g} % (synthetic), exact, model"
        yield from _sizes(label, pair, MOST_EXACT)


def _file(graph: Graph, samples: np.ndarray) -> SpannedFile:
    quantized = quantize_by(graph, samples, DEFAULT_RECIPE).int8_graph
    data = emit_tflite(quantized)
    return SpannedFile(data, find_tensors(quantized, {"model": data})["model"])


def _noisy(graph: Graph, share: float, rng: np.random.Generator) -> Graph:
    values = dict(graph.values)
    for name, value in graph.values.items():
        if value.data is not None and value.dtype is DType.FLOAT32:
            noise = share * value.data.std() * rng.normal(size=value.shape)
            data = (value.data + noise).astype(np.float32)
            values[name] = dataclasses.replace(value, data=data)
    return graph.replace(values=values.values())


def _applied(pair: Pair, folder: Path) -> Iterator[Figure]:
    """Time and memory of one rebuild, from file to file."""
    base, delta, out = (folder / name for name in ("base", "delta", "out"))
    base.write_bytes(pair.base)
    delta.write_bytes(pair.delta)
    started = time.process_time()
    _rebuild(pair, base, delta, out)
    elapsed = time.process_time() - started
    assert out.read_bytes() == pair.new
    tracemalloc.start()
    _rebuild(pair, base, delta, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = f"{len(pair.delta) / 1000:.0f} kB to {len(pair.new) / 1000:.0f} kB"
    yield Figure(f"apply {size}: processor time", elapsed, "s")
    yield Figure("apply: memory declared", WORKING_BYTES, "bytes", "exact")
    yield Figure("apply: peak of Python's allocations", peak, "bytes")
    yield Figure("apply: peak over declared", peak / WORKING_BYTES, "ratio", "T3", 1.25)


def _rebuild(pair: Pair, base: Path, delta: Path, out: Path) -> None:
    with base.open("rb") as old, delta.open("rb") as source, out.open("w+b") as target:
        apply_delta(old, source.read, target, (len(pair.base), len(pair.new)))
