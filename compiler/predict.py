"""`predict`: what a model file would take on a target, in every engine that could run it there.

A float32 model is predicted as the int8 model that a compile makes of it: time depends on shapes
and number formats, so codes are taken from noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.targets.conformal import upper_ratio
from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import TargetError
from edgekiln.targets.estimate import estimate_latency, strongest_table
from edgekiln.targets.evidence import Estimate
from edgekiln.targets.target import CostTable, Target

from .graph import Graph
from .importers import import_model
from .kernel_loops import workload_on
from .numerics import is_quantized
from .passes import end_in_logits, optimize
from .quantize import quantize

_SEED = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """One engine's latency: `upper_ms` holds at the rate `confidence` for models like those that
    the table was held to, `heldout` of them. `why_not` says in one line why there is none."""

    format: str
    engine: str
    estimate: Estimate | None
    confidence: float
    upper_ms: float | None
    interval: str
    heldout: int
    heldout_median_ape: float | None
    why_not: str = ""


def predict(model: Path, target: Target, confidence: float) -> tuple[Prediction, ...]:
    """Predictions in the order of the target's formats.

    Raises:
        ImportModelError, UnsupportedOpError: the model cannot be read.
    """
    graph = _as_int8(import_model(model))
    return tuple(_prediction(graph, target, fmt, confidence) for fmt in target.formats)


def _as_int8(graph: Graph) -> Graph:
    if is_quantized(graph):
        return graph
    small = optimize(end_in_logits(graph))
    noise = np.random.default_rng(_SEED).normal(0, 1, (4, *small.input.shape[1:]))
    return quantize(small, noise.astype(np.float32))


def _prediction(graph: Graph, target: Target, fmt: str, confidence: float) -> Prediction:
    engine = engine_of(target, fmt)
    work = workload_on(graph, target, engine)
    try:
        table = strongest_table(target, engine, work.dtype)
        estimate = estimate_latency(target, work, engine)
        upper = estimate.value * upper_ratio(table, confidence)
    except TargetError as error:
        return Prediction(fmt, engine, None, confidence, None, "", 0, None, str(error))
    return _told(fmt, estimate, upper, confidence, table)


def _told(
    fmt: str, estimate: Estimate, upper_ms: float, confidence: float, table: CostTable
) -> Prediction:
    return Prediction(
        format=fmt,
        engine=table.engine,
        estimate=estimate,
        confidence=confidence,
        upper_ms=upper_ms,
        interval=table.interval,
        heldout=len(table.heldout_ratios),
        heldout_median_ape=table.heldout_median_ape,
    )
