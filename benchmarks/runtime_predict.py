"""What `predict` costs over the engine that it runs, with telemetry and drift detection on.

Pairs: blocks of calls to the bare engine (numpy in, numpy out: LiteRT's set_tensor, invoke and
get_tensor of codes that are there already) and to `Model.predict` and `Watch.predict` of raw
float32 samples take turns in one process, on the same samples. What is compared is the CPU time of
a block, so that waiting for a busy machine does not count (that others use its caches does), and a
block is as long as the ring, so that each holds the call that counts all its samples. "By hand" is
the same engine fed from the same raw samples, quantized with three lines of numpy.
`runtime_pairs.py` is the process that is measured.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.request import CompileRequest, TargetRequest
from edgekiln.runtime.bundle import open_bundle

from .compile_models import dataset_for, priced_host
from .figure import FULL, Figure, Scale
from .plausible import MODELS, models_folder
from .runtime_pairs import Timed

MODEL = "kws_dscnn"
MOST_US, MOST_SHARE = 12.0, 5.0
MOST_IMPORT_S = 0.25
MOST_RSS_MIB = 25.0
ROOT = Path(__file__).parent.parent
IMPORTS = {
    "edgekiln.runtime": ("import edgekiln.runtime", MOST_IMPORT_S),
    "Model": ("from edgekiln.runtime import Model", MOST_IMPORT_S),
    "Watch": ("from edgekiln.runtime import Watch", MOST_IMPORT_S),
    "the device's service": ("import edgekiln.runtime.device", None),
}


def run(scale: Scale) -> Iterator[Figure]:
    """Figures of MLPerf Tiny's models in LiteRT, of one of them in the other engines, and of the
    process around them.
    """
    folder = models_folder()
    if folder is None:
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    full = scale.samples >= FULL.samples
    budget_s = 10.0 if full else 3.0
    with tempfile.TemporaryDirectory() as name:
        for model in MODELS if full else (MODEL,):
            bundle = Path(name) / f"{model}.ekb"
            first = model == MODEL
            compile_to(model, ("tflite", "onnx", "c") if first and full else ("tflite",), bundle)
            for engine in ("litert", "onnxruntime", "c") if first and full else ("litert",):
                told = _child("time", bundle, engine, budget_s, bundle.with_suffix(".npy"))
                timed = msgspec.json.decode(told, type=Timed)
                # A machine that CI shares is too restless to be held to microseconds.
                bounds = _BOUNDS if full and first and engine == "litert" else _FREE
                yield from _figures(f"{model} in {engine}", timed, bounds)
            if first:
                yield from _memory(bundle)
    yield from _imports(5 if full else 3)


Bounds = tuple[float | None, float | None]
"""Of what watching costs: µs over the bare engine, and % over quantizing by hand."""
_BOUNDS: Bounds = (MOST_US, MOST_SHARE)
_FREE: Bounds = (None, None)


def _figures(name: str, timed: Timed, bounds: Bounds) -> Iterator[Figure]:
    yield Figure(f"{name}: bare engine, codes in, codes out", timed.bare, "µs")
    yield Figure(f"{name}: bare, and quantized by hand", timed.own, "µs")
    yield from _over(f"{name}: predict under the contract", timed.predict_over, timed)
    yield from _over(f"{name}: telemetry and drift as well", timed.watch_over, timed, bounds)
    yield from _over(f"{name}: label and confidence read as well", timed.read_over, timed)
    yield Figure(f"{name}: wall time of a call that drains the ring", timed.drain, "µs")
    yield Figure(f"{name}: 99 % of watched calls take at most", timed.p99, "µs")


def _over(name: str, over_us: float, timed: Timed, bounds: Bounds = _FREE) -> Iterator[Figure]:
    yield Figure(f"{name}, over bare", over_us, "µs", at_most=bounds[0])
    yield Figure(f"{name}, over bare", 100 * over_us / timed.bare, "%")
    by_hand = 100 * (timed.bare + over_us - timed.own) / timed.own
    yield Figure(f"{name}, over by hand", by_hand, "%", at_most=bounds[1])


def _memory(bundle: Path) -> Iterator[Figure]:
    alone = bundle.with_suffix(".tflite")
    alone.write_bytes(open_bundle(bundle).read("artifacts/host/model.tflite"))
    bare = float(_child("rss", alone, "bare"))
    watched = float(_child("rss", bundle, "watch"))
    yield Figure("RSS: numpy, LiteRT and the model", bare, "MiB")
    yield Figure("RSS over that: Watch", watched - bare, "MiB", at_most=MOST_RSS_MIB)


def _imports(times: int) -> Iterator[Figure]:
    for name, (statement, most_s) in IMPORTS.items():
        code = f"import time\ns = time.process_time()\n{statement}\nprint(time.process_time() - s)"
        spent = [float(_python("-c", code)) for _ in range(times)]
        yield Figure(f"CPU to import {name}", median(spent), "s", at_most=most_s)


def _child(*arguments: object) -> bytes:
    return _python("-m", "benchmarks.runtime_pairs", *map(str, arguments))


def _python(*arguments: str) -> bytes:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def compile_to(name: str, formats: Sequence[str], out: Path) -> None:
    """Compile a float model of MLPerf Tiny for the host, at made-up prices; beside `out`, in a
    `.npy`, samples that it was not calibrated on.
    """
    folder = models_folder()
    assert folder is not None
    path = folder / f"{name}_float.tflite"
    host = priced_host()
    c_costs = dataclasses.replace(host.costs[0], engine="c", evidence_id="made-up-c")
    host = dataclasses.replace(host, costs=(*host.costs, c_costs))
    dataset = dataset_for(path)
    np.save(out.with_suffix(".npy"), dataset.x[dataset.validation])
    request = CompileRequest(
        name=name,
        model=path,
        dataset=dataset,
        targets=(TargetRequest(host, tuple(formats)),),
        force_reason="benchmark: accuracy does not matter",
    )
    compile_model(request).write(out)
