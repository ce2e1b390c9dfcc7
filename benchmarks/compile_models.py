"""Whole compiles of MLPerf Tiny's float models: seconds, memory, growth, and equal bytes.

Every model is compiled in a process of its own to TFLite and ONNX, with a certificate of 200
samples. The data are plausible inputs (`plausible.py`) with the float model's own answers as
labels. Prices are made up: nothing here depends on this machine but the time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edgekiln.compiler.data import Dataset, SealedTest, dataset_sha256
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.oracles import Engine
from edgekiln.compiler.passes import end_in_logits, optimize
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.targets import Tier, load_target
from edgekiln.targets.target import CostTable, OpCost, Target

from .figure import FULL, Figure, Scale
from .plausible import MODELS, models_folder, plausible

TRAINING, VALIDATION = 200, 200
MOST_CPU_S, MOST_RSS_MIB = 20.0, 1536.0
MOST_GROWTH_MIB = 24.0
QUICK_MODELS = ("ad_fc", "kws_dscnn")
COMPILES = 10  # in one process
_SMALL = "kws_dscnn"
# What each model's sensor gives: decibels, pixels, cepstral coefficients, shares of white.
_RANGES = {
    "ad_fc": (-84.0, 14.0),
    "ic_resnet8": (0.0, 255.0),
    "kws_dscnn": (-120.0, 25.0),
    "vww_mbv1": (0.0, 1.0),
}


@dataclass(frozen=True)
class Compiled:
    """What a child process tells of its compiles; RSS in MiB, `digest` of the last bundle."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    rss_mib: tuple[float, ...]  # after each
    digest: str
    agreed: bool  # every engine kept its bound
    near: dict[str, float]  # by engine: % of outputs within 1 LSB of the reference
    layer_lsb: dict[str, int]  # by engine: the most that a layer alone is off


def run(scale: Scale) -> Iterator[Figure]:
    """Figures of each model, of ten compiles in a row, and of two compiles far apart."""
    folder = models_folder()
    if folder is None:
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    full = scale.samples >= FULL.samples
    for name in MODELS if full else QUICK_MODELS:
        done = _in_child(folder / f"{name}_float.tflite", 1)
        yield Figure(f"{name}: import to bundle", done.wall_s, "s")
        yield Figure(f"{name}: import to bundle, CPU", done.cpu_s, "s", at_most=MOST_CPU_S)
        yield Figure(f"{name}: peak RSS", done.peak_mib, "MiB", at_most=MOST_RSS_MIB)
        yield Figure(
            f"{name}: engines over their bound", int(not done.agreed), "", "exact", at_most=0
        )
        for engine, share in done.near.items():
            yield Figure(f"{name}: {engine}, outputs within 1 LSB", share, "%", "exact")
        for engine, lsb in done.layer_lsb.items():
            yield Figure(f"{name}: {engine}, farthest layer", lsb, "LSB", "exact")
    path = folder / f"{_SMALL}_float.tflite"
    rows = _in_child(path, COMPILES if full else 4).rss_mib
    yield Figure(f"{_SMALL}: RSS after {len(rows)} compiles", rows[-1], "MiB")
    growth = rows[-1] - rows[1]
    yield Figure("growth since the second", growth, "MiB", at_most=MOST_GROWTH_MIB)
    yield Figure("bundles that differ", _differing(path), "bundles", "exact", at_most=0)


def _differing(path: Path) -> int:
    """Of two compiles: other dates, folders, hash seeds and time zones."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        first = _in_child(path, 1, Path(one), {"PYTHONHASHSEED": "1", "TZ": "UTC"})
        copy = Path(other) / "deep" / path.name
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes())
        far = {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "EDGEKILN_BENCH_CLOCK": "2000000000"}
        second = _in_child(copy, 1, copy.parent, far)
    return int(first.digest != second.digest)


def _in_child(
    path: Path, times: int, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> Compiled:
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(path), str(times)],
        capture_output=True,
        cwd=cwd or root,
        env={**os.environ, "PYTHONPATH": str(root), **(environment or {})},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{path.name}: {done.stderr.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Compiled)


def main(arguments: Sequence[str]) -> None:
    """`PATH TIMES`: compile so often, and tell on stdout."""
    if clock := os.environ.get("EDGEKILN_BENCH_CLOCK"):
        time.time = lambda: float(clock)
    from edgekiln.compiler.pipeline import compile_model
    from edgekiln.compiler.request import CompileRequest, TargetRequest

    path = Path(arguments[0])
    dataset = dataset_for(path)
    request = CompileRequest(
        name=path.stem,
        model=path,
        dataset=dataset,
        targets=(TargetRequest(priced_host()),),
        force_reason="benchmark: accuracy does not matter",
    )
    rows = []
    started, worked = time.perf_counter(), time.process_time()
    for _ in range(int(arguments[1])):
        result = compile_model(request)
        rows.append(_rss_mib())
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    agreed = all(row.passed for row in result.certificate.engines)
    digest = hashlib.sha256(result.data).hexdigest()
    near = {
        row.engine: 100 * (1 - row.beyond_one / row.outputs)
        for row in result.certificate.engines
        if row.max_lsb is not None and row.engine != Engine.FLOAT.value
    }
    layer_lsb: dict[str, int] = {}
    for layer in result.certificate.layers:
        layer_lsb[layer.engine] = max(layer_lsb.get(layer.engine, 0), layer.max_lsb)
    told = Compiled(wall_s, cpu_s, peak, tuple(rows), digest, agreed, near, layer_lsb)
    sys.stdout.buffer.write(msgspec.json.encode(told))


def dataset_for(path: Path) -> Dataset:
    """Plausible inputs, labelled by the float model; each split has 200."""
    graph = optimize(end_in_logits(import_model(path)))
    name = path.name.removesuffix("_float.tflite")
    low, high = _RANGES[name]
    rng = np.random.default_rng(MODELS.index(name))
    shape = graph.input.shape[1:]
    x = plausible(shape, low, high, TRAINING + VALIDATION, rng)
    batches = (run_float(graph, x[start : start + 50]) for start in range(0, len(x), 50))
    y = np.concatenate([batch.argmax(axis=1) for batch in batches]).astype(np.int64)
    classes = tuple(str(index) for index in range(graph.output.elements))
    contract = Contract(TensorSpec("sensor", shape, minimum=low, maximum=high), classes)
    rows = np.arange(len(x))
    return Dataset(
        name=name,
        x=x,
        y=y,
        contract=contract,
        sha256=dataset_sha256(x, y),
        train=rows[:TRAINING],
        validation=rows[TRAINING:],
        sealed=SealedTest(x[:0], y[:0]),
    )


def priced_host() -> Target:
    """The host with made-up cost tables for both of its engines."""
    host = load_target("host")
    priced = load_target("raspberry-pi-4").costs[0].ops
    ops = {op: OpCost(per_call_us=0.2, ns_per_mac=0.1, ns_per_byte=0.05) for op in priced}
    tables = tuple(
        CostTable(ops, engine, "int8", Tier.T1, f"made-up-{engine}", 0.5, 2.0)
        for engine in ("litert", "onnxruntime")
    )
    return dataclasses.replace(host, costs=tables)


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(sys.argv[1:])
