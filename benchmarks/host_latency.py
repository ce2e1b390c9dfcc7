"""What predictions for this machine are worth: networks that its calibration has not seen, timed.

Calibrates LiteRT and ONNX Runtime from nothing, then predicts and times int8 networks of the seven
families of `probe_networks`, with other seeds than those of the calibration, whose interval rests
on the same families. A busy machine prints larger errors; nothing here has a bound.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.graph import Graph
from edgekiln.compiler.probe_networks import networks
from edgekiln.compiler.probes import calibrate, time_on_host
from edgekiln.compiler.workload import workload
from edgekiln.targets.engines import engine_of
from edgekiln.targets.estimate import estimate_latency
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

from .figure import FULL, Figure, Scale

NETWORKS, QUICK_NETWORKS = 80, 7
SEED = 1000  # far from those of calibrations
WITHIN = 0.10
FORMATS = ("tflite", "onnx")


def run(scale: Scale) -> Iterator[Figure]:
    """Seconds of the calibration, then errors and cover by engine beside MACs alone."""
    started = time.monotonic()
    target = calibrate(load_target("host"), scale.seed, formats=FORMATS)
    yield Figure("host: calibration from nothing", time.monotonic() - started, "s", "T3")
    count = NETWORKS if scale.samples >= FULL.samples else QUICK_NETWORKS
    graphs = tuple(networks(SEED + scale.seed, count))
    for fmt in FORMATS:
        yield from _engine(target, fmt, graphs)


def _engine(target: Target, fmt: str, graphs: Sequence[Graph]) -> Iterator[Figure]:
    engine = engine_of(target, fmt)
    works = [workload(graph) for graph in graphs]
    estimates = [estimate_latency(target, work, engine) for work in works]
    timed = np.array([time_on_host(graph, fmt)[0] / 1e3 for graph in graphs])
    guesses = np.array([estimate.value for estimate in estimates])
    errors = np.abs(guesses / timed - 1)
    macs = np.array([work.macs for work in works], np.float64)
    alone = np.abs(macs * np.median(timed / macs) / timed - 1)
    under = timed <= np.array([estimate.high for estimate in estimates])
    yield Figure(f"{engine}: unseen networks", len(graphs), "networks", "T3")
    yield Figure(f"{engine}: within 10 %", _share(errors <= WITHIN), "of networks", "T3")
    yield Figure(f"{engine}: median error", float(np.median(errors)), "", "T3")
    yield Figure(f"{engine}: under the 90 % bound", _share(under), "of networks", "T3")
    yield Figure(f"{engine}: MACs only, within 10 %", _share(alone <= WITHIN), "of networks", "T3")


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(np.mean(hits))
