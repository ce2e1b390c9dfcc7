"""Generated C on the catalog's boards beside what engines published for them in MLPerf Tiny.

Ours is emulated: instructions counted on the core, cycles from the board's profile (T2). The peers'
were measured on the board by who submitted them (`latency/mlperf_tiny_published.csv` of the data
folder, `EDGEKILN_DATA`). The two kinds are not the same kind of number: the comparison says whether
the profile's cycles are of the right size, not who is faster.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgekiln.compiler.importers import import_model
from edgekiln.compiler.suitability import Asked, suitability
from edgekiln.targets import load_target
from edgekiln.targets.emulate import missing_tools

from .figure import QUICK, Figure, Scale

ROOT = Path(__file__).resolve().parent.parent
# target -> a part of the system's name in the published rows
BOARDS: Mapping[str, str] = {
    "nucleo-g0b1re": "G0B1RE",
    "nucleo-l4r5zi": "L4R5ZI",
    "cy8cproto-062-4343w": "CY8CPROTO",
    "numaker-m467hj": "M467HJ",
    "nrf5340-dk": "NRF5340",
    "nucleo-u575zi-q": "U575ZI",
    "ek-ra6m4": "RA6M4",
}
MODELS: Mapping[str, str] = {
    "ic": "ic_resnet8",
    "kws": "kws_dscnn",
    "vww": "vww_mbv1",
    "ad": "ad_fc",
}
# A profile whose cycles are of the wrong size would show here: the middle of the estimate may be
# this much above the slowest published engine.
AT_MOST = 1.25


def run(scale: Scale) -> Iterator[Figure]:
    """Milliseconds of ours, the fastest and the slowest published, and ours over the slowest."""
    data = Path(os.environ.get("EDGEKILN_DATA", ROOT.parent / "shared" / "data"))
    if not data.is_dir():
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    if absent := missing_tools():
        yield Figure(f"not installed: {', '.join(absent)} (make system)", 0, "models", "exact")
        return
    published = read_published(data / "latency" / "mlperf_tiny_published.csv")
    asked = [Asked(load_target(board)) for board in BOARDS]
    for task in ["kws"] if scale == QUICK else MODELS:
        graph = import_model(data / "mlperf_tiny" / f"{MODELS[task]}_int8.tflite")
        for found in suitability(graph, asked, emulate=True):
            assert found.footprint is not None
            ours, theirs = found.footprint.timed, published[found.target_id, task]
            name = f"{found.target_id} {task}"
            yield Figure(f"{name}, generated C", ours.value, "ms", ours.tier.name)
            yield Figure(f"{name}, fastest of {len(theirs)} published", min(theirs), "ms", "T4")
            yield Figure(f"{name}, slowest published", max(theirs), "ms", "T4")
            ratio = ours.value / max(theirs)
            yield Figure(f"{name}, ours over the slowest", ratio, "ratio", "T2", AT_MOST)


def read_published(path: Path) -> dict[tuple[str, str], list[float]]:
    """Published milliseconds by target and task."""
    found: dict[tuple[str, str], list[float]] = {}
    with path.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            system = line["system"].upper().replace("_", "").replace("-", "")
            for board, part in BOARDS.items():
                if part in system:
                    times = found.setdefault((board, line["task"]), [])
                    times.append(float(line["latency_ms"]))
    return found
