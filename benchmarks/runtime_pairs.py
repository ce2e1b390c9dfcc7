"""The child of `runtime_predict.py`: pairs of calls, and the memory of a process.

It imports what a device imports and no more: what it measures is the process around it, too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

Floats = list[np.ndarray]
Call = Callable[[int], object]
ANSWERS = 1000  # before memory is looked at
WARM_UP, FEWEST = 2, 7  # blocks of each way: that do not count, and in all
WALLS = 5  # blocks whose calls are timed one by one


@dataclass(frozen=True)
class Timed:
    """Medians over blocks, in µs of CPU a call; what is over `bare` is the median of pairs."""

    bare: float
    own: float  # bare, and numpy's way from raw float32 to codes
    predict_over: float
    watch_over: float
    read_over: float  # label and confidence looked at after each answer
    drain: float  # wall time of a call that counts what the ring holds
    p99: float  # wall time of a watched call


@dataclass(frozen=True)
class Calls:
    """The ways to answer sample k."""

    bare: Call
    own: Call
    predict: Call
    watch: Call
    read: Call


def time_calls(path: Path, engine: str, budget_s: float, raw: Floats) -> Timed:
    """Take turns, block by block, on raw samples of the data that the bundle was compiled with."""
    from edgekiln.runtime.ring import Ring

    calls, shape = _calls(path, engine, raw)
    samples = len(raw)
    block = Ring(shape).capacity
    ways = (calls.bare, calls.own, calls.predict, calls.watch, calls.read)
    rows: list[list[float]] = []
    end_s = time.monotonic() + budget_s
    while len(rows) < FEWEST or time.monotonic() < end_s:
        rows.append([_cpu_us(call, block, samples) for call in ways])
    rounds = np.array(rows[WARM_UP:])
    over = np.median(rounds - rounds[:, :1], axis=0)
    walls = np.array([_wall_us(calls.watch, k % samples) for k in range(WALLS * block)])
    return Timed(
        bare=float(np.median(rounds[:, 0])),
        own=float(np.median(rounds[:, 1])),
        predict_over=float(over[2]),
        watch_over=float(over[3]),
        read_over=float(over[4]),
        # The slowest of each block; the other calls drain nothing.
        drain=float(np.median(walls.reshape(-1, block).max(axis=1))),
        p99=float(np.percentile(walls, 99)),
    )


def _cpu_us(call: Callable[[int], object], block: int, samples: int) -> float:
    """Of one of `block` calls, on the samples in turn."""
    started = time.thread_time_ns()
    for k in range(block):
        call(k % samples)
    return (time.thread_time_ns() - started) / block / 1000


def _wall_us(call: Callable[[int], object], k: int) -> float:
    started = time.perf_counter_ns()
    call(k)
    return (time.perf_counter_ns() - started) / 1000


def _calls(path: Path, engine: str, raw: Floats) -> tuple[Calls, tuple[int, ...]]:
    """The calls, and the shape of a sample."""
    from edgekiln.runtime.bundle import open_bundle
    from edgekiln.runtime.model import Model, runnable
    from edgekiln.runtime.watch import Watch

    bundle = open_bundle(path)
    model = Model.open(bundle, engine=engine)
    bare, own = _BARE[engine](runnable(bundle, model.artifact), raw)
    watch = Watch(model, lambda report, drift: None, window_s=1e9)

    def read(k: int) -> object:
        answer = watch.predict(raw[k])
        return answer.label, answer.confidence

    calls = Calls(bare, own, lambda k: model.predict(raw[k]), lambda k: watch.predict(raw[k]), read)
    return calls, model.contract.input.shape


def _bare_litert(data: bytes, raw: Floats) -> tuple[Call, Call]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = entry["quantization"]

    def by_hand(sample: np.ndarray) -> np.ndarray:
        steps = np.round(sample / np.float32(scale)) + zero_point
        return np.clip(steps, -128, 127).astype(np.int8).reshape(entry["shape"])

    codes = [by_hand(sample) for sample in raw]

    def answer(sample: np.ndarray) -> object:
        interpreter.set_tensor(entry["index"], sample)
        interpreter.invoke()
        return interpreter.get_tensor(end["index"])

    return lambda k: answer(codes[k]), lambda k: answer(by_hand(raw[k]))


def _bare_onnx(data: bytes, raw: Floats) -> tuple[Call, Call]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    batches = [sample.reshape(1, *entry.shape[1:]) for sample in raw]

    def answer(k: int) -> object:
        return session.run(None, {entry.name: batches[k]})

    return answer, answer


def _bare_c(data: bytes, raw: Floats) -> tuple[Call, Call]:
    from edgekiln.runtime.c_library import CLibrary

    library = CLibrary(data)
    context = library.context()
    codes = [library.input.accept(sample.reshape(1, -1)) for sample in raw]
    return (
        lambda k: library.run(context, codes[k]),
        lambda k: library.run(context, library.input.accept(raw[k].reshape(1, -1))),
    )


_BARE = {"litert": _bare_litert, "onnxruntime": _bare_onnx, "c": _bare_c}


def rss_mib(path: Path, way: str) -> float:
    """Resident memory of this process after `ANSWERS` answers: `bare`, a .tflite file in the
    interpreter alone, or `watch`, a bundle.
    """
    if way == "bare":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
        codes = np.zeros(entry["shape"], entry["dtype"])
        for _ in range(ANSWERS):
            interpreter.set_tensor(entry["index"], codes)
            interpreter.invoke()
            interpreter.get_tensor(end["index"])
    else:
        _watch_alone(path)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _watch_alone(path: Path) -> None:
    from edgekiln.runtime import Model, Watch

    model = Model.open(path)
    watch = Watch(model, lambda report, drift: None)
    sample = np.full(model.contract.input.shape, model.contract.input.minimum, np.float32)
    for _ in range(ANSWERS):
        watch.predict(sample)
    watch.close()


def main(arguments: Sequence[str]) -> None:
    """`time BUNDLE ENGINE SECONDS SAMPLES` or `rss FILE WAY`; what is found goes to stdout."""
    job, path, *rest = arguments
    if job == "time":
        import json

        raw = list(np.load(rest[2]))
        print(json.dumps(asdict(time_calls(Path(path), rest[0], float(rest[1]), raw))))
    else:
        print(rss_mib(Path(path), rest[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
