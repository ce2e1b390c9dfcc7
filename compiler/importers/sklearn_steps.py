"""Steps in front of a model: scalers (one factor and one offset for each feature), PCA, Normalizer.

The scalers that stand last are left to the model, which folds them into itself; what stands
before them becomes stages of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..builder import GraphBuilder
from ..compose import of_two, reduce_axes, scale_shift, with_constant
from ..graph import Array
from ..ops import Op
from .sklearn_fitted import unknown

SCALERS = frozenset({"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"})
"""Steps that treat each feature by itself and never turn its order round."""

_SMALLEST_NORM = 1e-30  # scikit-learn leaves a sample of zeros as it is


@dataclass(frozen=True, slots=True)
class Dense:
    """weights (out, in) · x + bias (out,), in float64."""

    weights: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Scale:
    """x · scale + offset, both (features,), in float64."""

    scale: Array
    offset: Array


@dataclass(frozen=True, slots=True)
class UnitNorm:
    """Each sample divided by its norm: l1, l2 or max."""

    norm: str


Stage = Dense | Scale | UnitNorm


def read_steps(steps: Sequence[Any], name: str) -> tuple[list[Stage], list[Any]]:
    """(stages of the graph, the scalers after the last of them)."""
    stages: list[Stage] = []
    scalers: list[Any] = []
    for step in steps:
        kind = type(step).__name__
        if kind in SCALERS:
            scalers.append(step)
        elif kind == "PCA":
            stages.append(fold_scale(_projection(step), scaling(scalers, name)))
            scalers = []
        elif kind == "Normalizer":
            scale = scaling(scalers, name)
            stages += [*([scale] if scalers else []), UnitNorm(step.norm)]
            scalers = []
        else:
            raise unknown(name, f"step '{kind}'")
    return stages, scalers


def scaling(scalers: Sequence[Any], name: str) -> Scale:
    """All scalers in a row as one. Raises UnsupportedOpError for one that also clips."""
    total = Scale(np.ones(()), np.zeros(()))
    for scaler in scalers:
        step = _scale(scaler, name)
        total = Scale(total.scale * step.scale, total.offset * step.scale + step.offset)
    return total


def fold_scale(dense: Dense, before: Scale) -> Dense:
    """The layer that takes what `before` would have been given."""
    offset = np.broadcast_to(before.offset, dense.weights.shape[1:])
    return Dense(dense.weights * before.scale, dense.bias + dense.weights @ offset)


def add_stages(builder: GraphBuilder, x: str, stages: Sequence[Stage]) -> str:
    """The stages as nodes, in order."""
    for index, stage in enumerate(stages):
        source = f"{type(stage).__name__}.{index}"
        if isinstance(stage, Dense):
            x = builder.fully_connected(x, stage.weights, stage.bias, source=source)
        elif isinstance(stage, Scale):
            x = scale_shift(builder, x, stage.scale, stage.offset, source)
        else:
            x = _add_norm(builder, x, stage, source)
    return x


def _add_norm(builder: GraphBuilder, x: str, stage: UnitNorm, source: str) -> str:
    if stage.norm == "l2":
        square = of_two(builder, Op.MUL, x, x, source)
        total = reduce_axes(builder, Op.SUM, square, (1,), keep_dims=True, source=source)
        norm = builder.node(Op.SQRT, (total,), source=source)
    else:
        size = builder.node(Op.ABS, (x,), source=source)
        op = Op.SUM if stage.norm == "l1" else Op.REDUCE_MAX
        norm = reduce_axes(builder, op, size, (1,), keep_dims=True, source=source)
    norm = with_constant(builder, Op.MAXIMUM, norm, _SMALLEST_NORM, source)
    return of_two(builder, Op.DIV, x, norm, source)


def _projection(pca: Any) -> Dense:
    weights = np.asarray(pca.components_, np.float64)
    if pca.whiten:
        deviation = np.sqrt(np.asarray(pca.explained_variance_, np.float64))
        weights = weights / np.maximum(deviation, np.finfo(np.float64).eps)[:, None]
    return Dense(weights, -weights @ np.asarray(pca.mean_, np.float64))


def _scale(scaler: Any, name: str) -> Scale:
    kind = type(scaler).__name__
    if getattr(scaler, "clip", False):
        raise unknown(name, f"step '{kind}' with clip=True")
    if kind == "MinMaxScaler":
        return Scale(np.asarray(scaler.scale_), np.asarray(scaler.min_))
    centre = {"StandardScaler": "mean_", "RobustScaler": "center_"}.get(kind, "")
    middle = _or(getattr(scaler, centre, None) if _is_centred(scaler) else None, 0.0)
    factor = 1.0 / _or(scaler.scale_, 1.0)
    return Scale(factor, -middle * factor)


def _is_centred(scaler: Any) -> bool:
    return bool(getattr(scaler, "with_mean", getattr(scaler, "with_centering", False)))


def _or(values: Any, otherwise: float) -> Array:
    return np.asarray(otherwise if values is None else values, np.float64)
