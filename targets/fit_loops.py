"""Fitting what one pass of each loop of our kernels takes, from layers counted one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .conformal import ratio_interval
from .errors import MeasurementError
from .evidence import Tier
from .fit import relative_nnls
from .target import CostTable, OpCost
from .workload import LayerWork

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CountedLayer:
    """A layer's work, with its loops, and the instructions that it took."""

    work: LayerWork
    instructions: int


@dataclass(frozen=True, slots=True)
class CountedModel:
    """One int8 model in C on one core; no `layers` where some of them ran together, in strips."""

    works: tuple[LayerWork, ...]
    instructions: int  # of one inference
    layers: tuple[CountedLayer, ...] = ()

    @classmethod
    def of(cls, layers: Sequence[CountedLayer]) -> CountedModel:
        """A model whose layers were counted one by one."""
        total = sum(layer.instructions for layer in layers)
        return cls(tuple(layer.work for layer in layers), total, tuple(layers))


def fit_loops(
    probes: Sequence[CountedModel], held_out: Sequence[CountedModel], evidence_id: str
) -> CostTable:
    """The table, at one instruction a nanosecond, that explains every layer of `probes` best.

    Its interval is that of whole models of `held_out` (split), which take no part in the fit.

    Raises:
        MeasurementError: no probe has one of the loops of a held-out model.
    """
    by_op: dict[str, list[CountedLayer]] = {}
    for layer in (layer for probe in probes for layer in probe.layers):
        by_op.setdefault(layer.work.op, []).append(layer)
    ops = {op: OpCost(0.0, 0.0, 0.0, loops=_passes(layers)) for op, layers in by_op.items()}
    ratios = np.sort([model.instructions / predicted(model, ops) for model in held_out])
    low, high = ratio_interval(ratios)
    return CostTable(
        ops=ops,
        engine="c",
        dtype="int8",
        tier=Tier.T2,
        evidence_id=evidence_id,
        low_ratio=low,
        high_ratio=high,
        samples=len(probes),
        heldout_median_ape=float(np.median(np.abs(1 / ratios - 1))),
        interval="split",
        heldout_ratios=tuple(float(ratio) for ratio in ratios),
    )


def predicted(model: CountedModel, ops: Mapping[str, OpCost]) -> float:
    """Instructions of a model by the loops of `ops`. Raises MeasurementError as `fit_loops`."""
    total = 0.0
    for work in model.works:
        loops = ops[work.op].loops if work.op in ops else {}
        for name, passes in work.loops:
            if name not in loops:
                raise MeasurementError(f"no probe passes the loop '{name}' of '{work.op}'")
            total += loops[name] * passes
    return total


def _passes(layers: Sequence[CountedLayer]) -> dict[str, float]:
    """Instructions of one pass of every loop that these layers of one operator have."""
    names = sorted({name for layer in layers for name, _ in layer.work.loops})
    columns = {name: index for index, name in enumerate(names)}
    design = np.zeros((len(layers), len(names)))
    for row, layer in zip(design, layers, strict=True):
        for name, passes in layer.work.loops:
            row[columns[name]] = passes
    counts = np.array([layer.instructions for layer in layers], np.float64)
    solution = relative_nnls(design, counts)
    return {name: float(cost) for name, cost in zip(names, solution, strict=True)}
