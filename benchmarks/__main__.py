"""The runner: a table on stdout, JSON under `benchmarks/results/`, exit 1 on a broken bound."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from .figure import FULL, QUICK, Figure

BENCHMARKS = ("loop", "compiler", "mcu", "helium", "boards", "targets", "runtime")
PARTS = (
    "c_layers",
    "c_exact",
    "c_strips",
    "tflite_layers",
    "quantization",
    "onnx_nodes",
    "compile_models",
    "mutants",
    "mcu_tflm",
    "mcu_emlearn",
    "fewshot",
    "host_latency",
    "runtime_idle",
    "runtime_telemetry",
    "runtime_predict",
    "runtime_drift",
    "runtime_crash",
    "runtime_fleet",
    "runtime_delta",
    "runtime_firmware",
)
PACKAGES = ("numpy", "torch", "onnxruntime", "ai-edge-litert", "scikit-learn")
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    known = (*BENCHMARKS, *PARTS)
    parser.add_argument(
        "names",
        nargs="*",
        help=f"of {', '.join(known)}; default: {' and '.join(BENCHMARKS)}, which has the others",
    )
    parser.add_argument("--quick", action="store_true", help="the small scale that CI runs")
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}")
    scale = QUICK if options.quick else FULL
    failures = 0
    for name in options.names or BENCHMARKS:
        started = time.monotonic()
        figures = list(importlib.import_module(f".{name}", __package__).run(scale))
        _print(name, figures)
        _store(name, figures, scale.seed, time.monotonic() - started)
        failures += sum(not figure.passed for figure in figures)
    if failures:
        print(f"{failures} ratio(s) over their bound", file=sys.stderr)
    return int(failures > 0)


def _print(name: str, figures: list[Figure]) -> None:
    width = max(len(figure.name) for figure in figures)
    print(f"\n{name}")
    for figure in figures:
        bound = "" if figure.at_most is None else f"  (at most {figure.at_most:g})"
        verdict = "" if figure.passed else "  OVER ITS BOUND"
        print(
            f"  {figure.name:<{width}}  {figure.value:>12.4g} {figure.unit:<10} "
            f"{figure.tier}{bound}{verdict}"
        )


def _store(name: str, figures: list[Figure], seed: int, wall_s: float) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    document = {
        "benchmark": name,
        "commit": commit.stdout.strip() or "unknown",
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "load": os.getloadavg()[0],
        },
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "seed": seed,
        "wall_s": wall_s,
        "figures": [asdict(figure) for figure in figures],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
