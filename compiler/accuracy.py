"""Accuracy of a compile: counted in the float graph, the reference, and each artifact's engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekiln.targets.errors import MissingToolError

from .artifacts import EmittedArtifact
from .graph import Graph
from .interpret import run_float
from .numerics import output_scale
from .oracles import RUNTIME_ENGINES, run_runtime
from .reference import quantize_input, run_int8
from .streams import pieces

_BATCH = 256  # samples at once: bounds the memory of every layer's floats

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EngineAccuracy:
    """The share of right answers of one format in its own engine, or why there is none."""

    format: str
    accuracy: float | None
    reason: str = ""


def float_accuracy(graph: Graph, x: Floats, y: Labels) -> float:
    """Of a float graph on preprocessed samples `x` (n, …) with class indices `y` (n,)."""
    answers = [run_float(graph, x[part]).argmax(axis=1) for part in pieces(graph, len(x), _BATCH)]
    return share_right(np.concatenate(answers), y)


def reference_accuracy(graph: Graph, x: Floats, y: Labels) -> float:
    """Of the graph that is emitted, in the numpy reference."""
    return share_right(run_int8(graph, quantize_input(graph, x)).argmax(axis=1), y)


def engine_accuracies(
    graph: Graph, artifacts: Iterable[EmittedArtifact], x: Floats, y: Labels
) -> tuple[EngineAccuracy, ...]:
    """Of every emitted format that an engine here runs; formats that only a board runs have none.

    Raises:
        CompileError: an engine refuses what was emitted for it.
    """
    scale = output_scale(graph, np.zeros(0))  # labels need no measure of float distances
    by_format = {artifact.format: artifact for artifact in artifacts}
    found = []
    for fmt in RUNTIME_ENGINES:
        if fmt not in by_format:
            found.append(EngineAccuracy(fmt, None, f"no artifact in format {fmt} was asked for"))
            continue
        try:
            answers = run_runtime(fmt, by_format[fmt].model, x, scale)
        except MissingToolError as error:
            found.append(EngineAccuracy(fmt, None, str(error)))
        else:
            found.append(EngineAccuracy(fmt, share_right(answers.argmax(axis=1), y)))
    return tuple(found)


def share_right(answers: npt.NDArray[Any], y: Labels) -> float:
    """The share of class indices `answers` (n,) that are those of `y`."""
    return float((answers == y).mean())
