"""The loop's stages, one small piece of each, on scikit-learn's digits.

The bounded figures are ratios of two things timed here and now: what the library around the bare
engine costs, and what a stage saves against what it replaces.
"""

from __future__ import annotations

import importlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edgekiln.compiler.data import Dataset, load_dataset
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.probes import calibrate
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8
from edgekiln.compiler.request import CompileRequest, TargetRequest
from edgekiln.fleet.inbound import Inbound
from edgekiln.fleet.store import open_store
from edgekiln.runtime.bundle import open_bundle
from edgekiln.runtime.engines import OutputScale, open_engine
from edgekiln.runtime.model import Model
from edgekiln.runtime.monitor import Monitor
from edgekiln.runtime.protocol import Report
from edgekiln.search.lower import lower
from edgekiln.search.mlp_space import space_for
from edgekiln.search.perform import export_module
from edgekiln.search.sieve import price
from edgekiln.search.train import TrainingSet, train
from edgekiln.targets import load_target
from edgekiln.targets.target import Target

from .figure import Figure, Scale, median_seconds

EPOCHS = 4


@dataclass(frozen=True)
class _Bench:
    """What every stage works on."""

    dataset: Dataset
    host: Target
    folder: Path
    scale: Scale


def run(scale: Scale) -> Iterator[Figure]:
    """Sieve, train, compile, infer, watch, store."""
    with tempfile.TemporaryDirectory() as name:
        dataset = load_dataset("sklearn:digits", seed=scale.seed)
        started = time.perf_counter()
        host = calibrate(load_target("host"), seed=scale.seed)
        yield Figure("targets: calibrate this host", time.perf_counter() - started, "s")
        bench = _Bench(dataset, host, Path(name), scale)
        yield from _search(bench)
        yield from _compile(bench)
        yield from _runtime(bench)
        yield from _fleet(bench)


def _search(bench: _Bench) -> Iterator[Figure]:
    contract = bench.dataset.contract
    space = space_for(contract.input.shape, len(contract.classes))
    rng = random.Random(bench.scale.seed)
    candidates = [space.sample(rng) for _ in range(bench.scale.repeats)]
    started = time.perf_counter()
    for candidate in candidates:
        price(lower(space.blueprint(candidate), "bench"), [bench.host])
    sieve_s = (time.perf_counter() - started) / len(candidates)
    blueprint = space.blueprint(candidates[0])
    importlib.import_module("torch")  # its import is not training
    started = time.perf_counter()
    fitted = train(blueprint, TrainingSet.of(bench.dataset), EPOCHS, bench.scale.seed)
    train_s = time.perf_counter() - started
    export_module(blueprint, fitted.weights, bench.folder / "candidate.pt2")
    yield Figure("search: sieve one candidate", 1e3 * sieve_s, "ms")
    yield Figure(f"search: train one candidate, {EPOCHS} epochs", train_s, "s")
    yield Figure("search: sieve over short training", sieve_s / train_s, "ratio", "T3", 0.25)


def _compile(bench: _Bench) -> Iterator[Figure]:
    request = CompileRequest(
        name="bench",
        model=bench.folder / "candidate.pt2",
        dataset=bench.dataset,
        targets=(TargetRequest(bench.host),),
        force_reason="benchmark: accuracy does not matter",
    )
    started = time.perf_counter()
    compile_model(request).write(bench.folder / "bench.ekb")
    yield Figure("compile: import to bundle, no distilling", time.perf_counter() - started, "s")
    graph = optimize(import_model(bench.folder / "candidate.pt2"))
    preprocessed = bench.dataset.contract.preprocess(bench.dataset.x[: bench.scale.samples])
    int8 = quantize(graph, preprocessed)
    yield from _sizes(graph, int8)
    samples = quantize_input(int8, preprocessed)
    reference_s = median_seconds(lambda: run_int8(int8, samples), bench.scale.repeats)
    yield Figure("compile: integer reference, one sample", 1e6 * reference_s / len(samples), "µs")


def _sizes(graph: Graph, int8: Graph) -> Iterator[Figure]:
    small, large = len(emit_tflite(int8)), len(emit_tflite(graph))
    yield Figure("compile: int8 TFLite file", small, "bytes", "exact")
    yield Figure("compile: int8 over float file", small / large, "ratio", "exact", 0.8)


def _runtime(bench: _Bench) -> Iterator[Figure]:
    path, repeats = bench.folder / "bench.ekb", bench.scale.repeats
    open_s = median_seconds(lambda: open_bundle(path), repeats)
    model = Model.open(path)
    golden = open_bundle(path).golden()
    bare = open_engine(
        model.artifact.format,
        open_bundle(path).read(model.artifact.path),
        OutputScale(golden.scale, golden.zero_point),
    )
    sample = bench.dataset.x[:1]
    ready = bench.dataset.contract.preprocess(sample)
    calls = bench.scale.samples

    def many(call: Callable[[], object]) -> float:
        def loop() -> None:
            for _ in range(calls):
                call()

        return median_seconds(loop, repeats) / calls

    engine_s = many(lambda: bare.run(ready))
    predict_s = many(lambda: model.predict(sample))
    monitor = Monitor(model, np.random.default_rng(bench.scale.seed), 0.0)
    answer = model.predict(sample)
    observe_s = many(lambda: monitor.observe(sample, answer))
    yield Figure("runtime: open and verify a bundle", 1e3 * open_s, "ms")
    yield Figure("runtime: engine alone", 1e6 * engine_s, "µs")
    yield Figure("runtime: predict under the contract", 1e6 * predict_s, "µs")
    yield Figure("runtime: predict over engine", predict_s / engine_s, "ratio", "T3", 10.0)
    yield Figure("runtime: telemetry and drift, one sample", 1e6 * observe_s, "µs")
    yield Figure("runtime: telemetry over predict", observe_s / predict_s, "ratio", "T3", 6.0)


def _fleet(bench: _Bench) -> Iterator[Figure]:
    model = Model.open(bench.folder / "bench.ekb")
    monitor = Monitor(model, np.random.default_rng(bench.scale.seed), 0.0)
    monitor.observe(bench.dataset.x[:1], model.predict(bench.dataset.x[:1]))
    report = monitor.close(1.0)
    count = bench.scale.samples

    def reports(first: int) -> list[Inbound]:
        return [_numbered(report, first + index) for index in range(count)]

    store = open_store(bench.folder / "fleet.db")
    try:
        started = time.perf_counter()
        store.apply(reports(0), now_s=1.0)
        batch_s = (time.perf_counter() - started) / count
        started = time.perf_counter()
        for inbound in reports(count)[: count // 10]:
            store.apply([inbound], now_s=1.0)
        single_s = (time.perf_counter() - started) / (count // 10)
    finally:
        store.close()
    yield Figure("fleet: reports stored in batches", 1 / batch_s, "1/s")
    yield Figure("fleet: batched over single storing", batch_s / single_s, "ratio", "T3", 1.0)


def _numbered(report: Report, seq: int) -> Inbound:
    return Inbound("device", msgspec.structs.replace(report, boot_id="b", seq=seq))
