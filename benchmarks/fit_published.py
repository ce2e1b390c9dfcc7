"""Fit published MLPerf Tiny times over boards, engines and cores, and write what the fit found.

    python -m benchmarks.fit_published > targets/published.toml

The rows are those of the data folder (`latency/mlperf_tiny_published.csv`, mlcommons/tiny_results
v0.5 to v1.1), the work is that of the four reference models. In cycles a time is

    exp(class of core) · Σ over operators of  weight of the engine · multiply-accumulates

Engines differ in which operators they are good at, so each has weights of its own, drawn towards
those of all engines; the class of core is one factor, drawn towards 1. Both are counted as if
`PRIOR` more rows said that they do not differ. Left out are accelerators, gate arrays and
many-core chips, and rows that repeat another one. The error is that of a board whose rows all are
left out.
"""

from __future__ import annotations

import csv
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.targets.conformal import ratio_interval
from edgekiln.targets.fit import relative_nnls

from .fit_profiles import MULTIPLYING, ROOT, TASK_FILES, macs_of, read_tflite

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

PRIOR = 2.0  # rows of an engine and of a class
WEIGHT_PRIOR = 1.0  # rows of each weight of an engine
ROUNDS = 15
LEAST_WEIGHT = 0.05  # cycles per multiply-accumulate: no engine reaches it on these cores

# in the system's name -> board, class of core, MHz
BOARDS = {
    "l4r5zi": ("nucleo-l4r5zi", "cortex-m4", 120),
    "u575": ("nucleo-u575zi", "cortex-m33", 160),
    "u585": ("nucleo-u575zi", "cortex-m33", 160),  # the same chip with cryptography
    "nrf5340": ("nrf5340-dk", "cortex-m33", 128),
    "ra6m4": ("ek-ra6m4", "cortex-m33", 200),
    "rx65n": ("rx65n-cloud-kit", "rxv2", 120),
    "062": ("cy8cproto-062", "cortex-m4", 150),
    "m467": ("numaker-m467", "cortex-m4", 200),
    "g0b1": ("nucleo-g0b1re", "cortex-m0plus", 64),
    "d25": ("andes-d25f", "andes-p", 60),
    "d45": ("andes-d45", "andes-p", 60),
}


@dataclass(frozen=True)
class Row:
    """A published time and what stands behind it; `macs` by operator of `MULTIPLYING`."""

    board: str
    core: str
    engine: str
    mhz: float
    macs: tuple[int, ...]
    ms: float


@dataclass(frozen=True)
class Model:
    """Cycles per multiply-accumulate by engine, and the logarithm of each class's factor."""

    engines: dict[str, FloatArray]
    classes: dict[str, float]
    shared: FloatArray

    def predict(self, row: Row) -> float:
        """Milliseconds; a class or an engine without a row is taken for the common one."""
        weights = self.engines.get(row.engine, self.shared)
        cycles = float(np.array(row.macs) @ weights) * math.exp(self.classes.get(row.core, 0.0))
        return cycles / (row.mhz * 1e3)


@dataclass(frozen=True)
class LeftOut:
    """Rows of boards that were left out: actual/predicted, and whether others have their core."""

    rows: tuple[Row, ...]
    ratios: FloatArray
    known: Mask


def main() -> int:
    """Print the snapshot."""
    data = Path(os.environ.get("EDGEKILN_DATA", ROOT.parent / "shared" / "data"))
    if not data.is_dir():
        print(f"no data folder {data}; set EDGEKILN_DATA", file=sys.stderr)
        return 2
    rows = published_rows(data)
    print("\n".join(_snapshot(rows, fit(rows), leave_boards_out(rows))))
    return 0


def published_rows(data: Path) -> list[Row]:
    """Rows of plain microcontroller cores, each once."""
    works = {task: read_tflite(data, task, "int8") for task in TASK_FILES}
    rows: dict[tuple[object, ...], Row] = {}
    with (data / "latency" / "mlperf_tiny_published.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            board, engine = _board(line["system"]), _engine(line)
            if line["task"] not in works or board is None or engine is None:
                continue
            macs = tuple(macs_of(works[line["task"]], op) for op in MULTIPLYING)
            row = Row(board[0], board[1], engine, board[2], macs, float(line["latency_ms"]))
            rows.setdefault((row.board, row.engine, line["task"], row.ms), row)
    return list(rows.values())


def _board(system: str) -> tuple[str, str, int] | None:
    return next((found for part, found in BOARDS.items() if part in system.lower()), None)


def _engine(line: dict[str, str]) -> str | None:
    """The engine, with its generation where one changed what depthwise convolutions cost."""
    system, framework = line["system"].lower(), line["framework"].lower()
    if "native" in system or "cmsis" in system:
        return "microtvm" if "native" in system else "microtvm-cmsis-nn"
    if "x-cube" in framework:
        return "x-cube-ai-8.1" if "8.1" in framework else "x-cube-ai"
    if "plumerai" in framework:
        return "plumerai-2023" if "2023" in framework else "plumerai"
    names = {"bosch": "hale", "onnc": "onnc", "tflite": "tflm", "tensorflow": "tflm"}
    return next((name for part, name in names.items() if part in framework), None)


def fit(rows: Sequence[Row]) -> Model:
    """Alternate between shared weights, engines and classes until they agree."""
    macs = np.array([row.macs for row in rows], np.float64)
    cycles = np.array([row.ms * row.mhz * 1e3 for row in rows])
    cores, engines = (np.array([getattr(row, key) for row in rows]) for key in ("core", "engine"))
    factor = dict.fromkeys(sorted(set(cores)), 0.0)
    scale = dict.fromkeys(sorted(set(engines)), 0.0)
    weights: dict[str, FloatArray] = {}
    shared = np.ones(len(MULTIPLYING))
    for _ in range(ROUNDS):
        of_core = np.array([factor[core] for core in cores])
        both = of_core + np.array([scale[engine] for engine in engines])
        shared = np.maximum(relative_nnls(macs * np.exp(both)[:, None], cycles), LEAST_WEIGHT)
        for engine in scale:
            own = engines == engine
            left = np.log(cycles[own] / (macs[own] @ shared)) - of_core[own]
            scale[engine] = float(left.sum() / (len(left) + PRIOR))
            work = macs[own] * np.exp(of_core[own])[:, None]
            weights[engine] = _drawn(work, cycles[own], shared * math.exp(scale[engine]))
        guessed = np.array([row @ weights[e] for row, e in zip(macs, engines, strict=True)])
        for core in factor:
            left = np.log(cycles / guessed)[cores == core]
            factor[core] = float(left.sum() / (len(left) + PRIOR))
    return Model(weights, factor, shared * math.exp(float(np.mean(list(scale.values())))))


def _drawn(work: FloatArray, cycles: FloatArray, towards: FloatArray) -> FloatArray:
    """Non-negative weights of relative errors, drawn `towards` others as by `WEIGHT_PRIOR` rows."""
    from scipy.optimize import nnls

    prior = math.sqrt(WEIGHT_PRIOR)
    rows = np.concatenate([work / cycles[:, None], np.diag(prior / towards)])
    goals = np.concatenate([np.ones(len(cycles)), np.full(len(towards), prior)])
    return np.asarray(nnls(rows, goals)[0], np.float64)


def leave_boards_out(
    rows: Sequence[Row], fitted: Callable[[Sequence[Row]], Callable[[Row], float]] | None = None
) -> LeftOut:
    """Every board predicted from the others by `fitted`, by default this model."""
    learn = fitted or (lambda others: fit(others).predict)
    out, ratios, known = [], [], []
    for board in sorted({row.board for row in rows}):
        others = [row for row in rows if row.board != board]
        predict = learn(others)
        for row in (row for row in rows if row.board == board):
            out.append(row)
            ratios.append(row.ms / predict(row))
            known.append(any(other.core == row.core for other in others))
    return LeftOut(tuple(out), np.array(ratios), np.array(known))


def macs_alone(rows: Sequence[Row]) -> Callable[[Row], float]:
    """The baseline: milliseconds per multiply-accumulate, whatever the board."""
    design = np.array([[float(sum(row.macs))] for row in rows])
    (per_mac,) = relative_nnls(design, np.array([row.ms for row in rows]))
    return lambda row: float(per_mac) * sum(row.macs)


def macs_and_clock(rows: Sequence[Row]) -> Callable[[Row], float]:
    """A stronger one: cycles per multiply-accumulate."""
    design = np.array([[sum(row.macs) / row.mhz] for row in rows])
    (per_mac,) = relative_nnls(design, np.array([row.ms for row in rows]))
    return lambda row: float(per_mac) * sum(row.macs) / row.mhz


def median_error(left_out: LeftOut) -> float:
    """Median of |predicted/actual - 1| over all rows."""
    return float(np.median(np.abs(1 / left_out.ratios - 1)))


def _snapshot(rows: Sequence[Row], model: Model, left_out: LeftOut) -> Iterator[str]:
    known = LeftOut(left_out.rows, left_out.ratios[left_out.known], left_out.known)
    kept = [row for row, has in zip(left_out.rows, left_out.known, strict=True) if has]
    boards = sorted({row.board for row in kept})
    of_board = [known.ratios[[row.board == name for row in kept]] for name in boards]
    low, _ = ratio_interval(np.array([ratios.min() for ratios in of_board]))
    _, high = ratio_interval(np.array([ratios.max() for ratios in of_board]))
    highs = sorted(float(ratios.max()) for ratios in of_board)
    yield "# Written by: python -m benchmarks.fit_published"
    yield "schema = 1"
    yield 'source = "mlcommons/tiny_results_v0.5 to v1.1, plain microcontroller cores"'
    yield f"rows = {len(rows)}"
    yield "# of boards that were left out, whose core another board has; the interval holds"
    yield "# every row of a new board, heldout_ratios are the largest of each"
    yield f"heldout_median_ape = {median_error(known):.4f}"
    yield f"low_ratio = {low:.4f}\nhigh_ratio = {high:.4f}"
    yield f"heldout_ratios = [{', '.join(f'{ratio:.4f}' for ratio in highs)}]"
    yield "\n# factor on the cycles\n[classes]"
    yield from (f"{core} = {math.exp(value):.4f}" for core, value in model.classes.items())
    yield f"\n# cycles per multiply-accumulate: {', '.join(MULTIPLYING)}\n[engines]"
    for engine, weights in model.engines.items():
        yield f'"{engine}" = [{", ".join(f"{weight:.4f}" for weight in weights)}]'


if __name__ == "__main__":
    raise SystemExit(main())
