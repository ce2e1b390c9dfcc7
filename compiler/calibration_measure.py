"""`Measuring`: how a calibration measures, with what, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.runtime.c_library import build_library
from edgekiln.targets.calibration_journal import Figures
from edgekiln.targets.calm import Calm
from edgekiln.targets.measure import measure_callable, pinned_thread
from edgekiln.targets.target import Target

from .emit_c import emit_c
from .emit_onnx import emit_onnx
from .emit_tflite import emit_tflite
from .graph import Graph
from .layer_counts import layer_instructions
from .oracles import RUNTIME_CALLS

VISIT_S = 0.002  # of timed runs of one model in one engine
FEWEST_RUNS = 7
CALM_VISITS, MOST_VISITS = 2, 4  # as many calm ones, or as many at all
PAUSE_S = 0.005  # after a visit that something disturbed

Measure = Callable[[Graph, Target], Figures]
"""µs of one inference; of generated C the instructions of every layer."""


def time_on_host(graph: Graph, fmt: str) -> Figures:
    """Microseconds of one inference in an engine of this machine: what a `stopwatch` says."""
    return (stopwatch(graph, fmt)(),)


def stopwatch(graph: Graph, fmt: str) -> Callable[[], float]:
    """A callable that times one inference in an engine of this machine, in microseconds.

    It takes the smallest median of a few visits. A visit counts where the machine was calm before
    and after; a busy machine gets a few more.
    """
    sample = np.random.default_rng(0).normal(0, 1, graph.input.shape[1:]).astype(np.float32)
    call = RUNTIME_CALLS[fmt](_RUNNABLES[fmt](graph), sample)

    def timed_us() -> float:
        times: list[float] = []
        calm = 0
        with pinned_thread():
            while calm < CALM_VISITS and len(times) < MOST_VISITS:
                before = _CALM.now()
                taken = measure_callable(call, min_runs=FEWEST_RUNS, budget_s=VISIT_S)
                times.append(taken.median_us)
                if before and _CALM.now():
                    calm += 1
                else:
                    time.sleep(PAUSE_S)
        return min(times)

    return timed_us


def _library(graph: Graph) -> bytes:
    sample = np.random.default_rng(0).integers(-128, 128, graph.input.shape).astype(np.int8)
    return build_library(emit_c(graph, sample).files)


# format -> what its engine on this machine loads
_RUNNABLES: Mapping[str, Callable[[Graph], bytes]] = {
    "tflite": emit_tflite,
    "onnx": emit_onnx,
    "c": _library,
}

_CALM = Calm()  # of this machine, as long as the process lives

# (device class, format) -> how a model is measured
MEASURES: dict[tuple[str, str], Measure] = {
    ("host", "tflite"): lambda graph, _: time_on_host(graph, "tflite"),
    ("host", "onnx"): lambda graph, _: time_on_host(graph, "onnx"),
    ("host", "c"): lambda graph, _: time_on_host(graph, "c"),
    ("mcu", "c"): layer_instructions,
}


@dataclass(frozen=True, slots=True)
class Measuring:
    """How a calibration measures.

    `measure` by (class of device, format), by default what this machine can do. It goes on until
    the plan is done or `budget_s` seconds of `clock` are spent; what a table takes at least is
    measured anyway. Without a budget that is all that is measured of the engines of a host, whose
    plans are longer than most need, and the whole plan of anything else. With a `journal` an
    unfinished calibration goes on where it stopped.
    """

    measure: Callable[[str, str], Measure | None] = lambda kind, fmt: MEASURES.get((kind, fmt))
    budget_s: float | None = None
    journal: Path | None = None
    clock: Callable[[], float] = time.monotonic
    say: Callable[[str], None] = lambda _: None
