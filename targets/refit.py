"""A profile corrected by what its devices took in the field.

The old table knows what operators cost beside each other, the field what whole answers take;
`corrections` says how one is fitted to the other. The ratio of a bundle that was left out is made
without it, and half of a histogram's bin is part of the interval, because closer than that no
report says what a median is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .conformal import ratio_interval
from .corrections import READING, corrections, left_out_ratios
from .errors import MeasurementError
from .estimate import estimate_latency, layer_us, strongest_table
from .evidence import Tier
from .field import FieldLatency, Median, median, merge
from .target import CostTable, Evidence, OpCost, Target

FloatArray = npt.NDArray[np.float64]

RATIOS = 3  # bundles whose left-out ratios have a spread
_RUN = "run"  # `per_run_us` beside the operators; no operator is called so
_INCLUDES = "a whole answer on the device: the contract's check and the labels are in it"


@dataclass(frozen=True, slots=True)
class Refit:
    """The new profile, and a sentence for each bundle whose old interval missed the field.

    Where one bundle is all that was seen of an engine, another says what that cannot tell.
    """

    target: Target
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One engine and dtype: predicted µs (bundles, parts), observed medians in µs (bundles,)."""

    fields: tuple[FieldLatency, ...]
    parts: tuple[str, ...]
    predicted: FloatArray
    observed: FloatArray
    half_bin: float


def refit(target: Target, fields: Iterable[FieldLatency]) -> Refit:
    """`target` with a new T4 table in front for every engine and dtype that was seen.

    A table and evidence of an earlier refit give way to the new ones, after they were corrected.

    Raises:
        MeasurementError: nothing was seen, a median lies outside the bins, or the old table says
            that a bundle takes no time.
        NoCostTableError, UnsupportedOperatorError: nothing to correct; as `estimate_latency`.
    """
    groups = _groups(fields)
    if not groups:
        raise MeasurementError(f"nothing was seen of target '{target.id}' in the field")
    fitted = [_fitted(target, group) for group in groups]
    renewed = {evidence.id for _, evidence in fitted}
    older = (table for table in target.costs if table.evidence_id not in renewed)
    known = (item for item in target.evidence if item.id not in renewed)
    new = dataclasses.replace(
        target,
        costs=(*(table for table, _ in fitted), *older),
        evidence=(*known, *(evidence for _, evidence in fitted)),
    )
    return Refit(new, tuple(flag for group in groups for flag in _flags(target, group)))


def _groups(fields: Iterable[FieldLatency]) -> list[tuple[FieldLatency, ...]]:
    """By engine and dtype, each bundle once."""
    merged: dict[tuple[str, str, str], FieldLatency] = {}
    for field in fields:
        key = (field.engine, field.workload.dtype, field.bundle_id)
        merged[key] = merge(merged[key], field) if key in merged else field
    kinds = sorted({key[:2] for key in merged})
    return [tuple(merged[key] for key in sorted(merged) if key[:2] == kind) for kind in kinds]


def _fitted(target: Target, fields: tuple[FieldLatency, ...]) -> tuple[CostTable, Evidence]:
    engine, dtype = fields[0].engine, fields[0].workload.dtype
    old = strongest_table(target, engine, dtype)
    seen = _seen(target, old, fields)
    fit = corrections(seen.predicted, seen.observed)
    by_part = dict(zip(seen.parts, fit.factors, strict=True))
    ratios = _interval_ratios(seen)
    low, high = ratio_interval(ratios) if len(ratios) else (old.low_ratio, old.high_ratio)
    evidence = _evidence(target, old, seen)
    table = dataclasses.replace(
        old,
        ops={op: _times(cost, by_part[op]) for op, cost in old.ops.items()},
        tier=Tier.T4,
        evidence_id=evidence.id,
        low_ratio=low / seen.half_bin,
        high_ratio=high * seen.half_bin,
        per_run_us=old.per_run_us * float(by_part[_RUN]) + fit.answer_us,
        samples=len(fields),
        heldout_median_ape=float(np.median(np.abs(1 / ratios - 1))) if len(ratios) else None,
        interval="leave-one-out",
        heldout_ratios=tuple(float(ratio) for ratio in np.sort(ratios)),
    )
    return table, evidence


def _seen(target: Target, old: CostTable, fields: tuple[FieldLatency, ...]) -> _Seen:
    parts = (_RUN, *sorted(old.ops))
    columns = {part: index for index, part in enumerate(parts)}
    predicted = np.zeros((len(fields), len(parts)))
    predicted[:, 0] = old.per_run_us
    for row, field in zip(predicted, fields, strict=True):
        for layer in field.workload.layers:
            # First, because it names an operator that the table does not price.
            cost_us = layer_us(target, old, layer)
            row[columns[layer.op]] += cost_us
        if not row.sum() > 0:
            raise MeasurementError(f"{field.label}: the table '{old.evidence_id}' says 0 ms")
    medians = [median(field) for field in fields]
    observed = np.array([1e3 * found.value_ms for found in medians])
    return _Seen(fields, parts, predicted, observed, max(found.half_bin for found in medians))


def _interval_ratios(seen: _Seen) -> FloatArray:
    """observed/predicted (bundles,), each told by the others; none where they are too few."""
    if len(seen.fields) < RATIOS:
        return np.zeros(0)
    return left_out_ratios(seen.predicted, seen.observed)


def _times(cost: OpCost, factor: float) -> OpCost:
    names = (item.name for item in dataclasses.fields(cost) if item.name != "loops")
    figures = {name: float(getattr(cost, name) * factor) for name in names}
    return OpCost(**figures, loops={name: float(ns * factor) for name, ns in cost.loops.items()})


def _evidence(target: Target, old: CostTable, seen: _Seen) -> Evidence:
    devices = [field.devices for field in seen.fields]
    inferences = sum(field.samples for field in seen.fields)
    source = (
        f"the field: bundles: {len(devices)}, devices of each: {_span(devices)}, inferences: "
        f"{inferences:,}; corrects '{old.evidence_id}' ({old.tier.name}); half a bin is "
        f"{seen.half_bin - 1:.0%}; edgekiln targets refit {target.id}"
    )
    return Evidence(f"field-{old.engine}-{old.dtype}", Tier.T4, source, _INCLUDES)


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _flags(target: Target, fields: tuple[FieldLatency, ...]) -> list[str]:
    found = (_flag(target, field, median(field)) for field in fields)
    return [flag for flag in (*found, _alone(fields)) if flag]


def _alone(fields: tuple[FieldLatency, ...]) -> str:
    if len(fields) >= READING:
        return ""
    return (
        f"{fields[0].label} is the only one seen there: a slower device and longer answers look "
        "alike, and all costs were scaled; a model of another size may be far off"
    )


def _flag(target: Target, field: FieldLatency, seen: Median) -> str:
    """A sentence where the interval missed the median by more than half a bin can explain."""
    told = estimate_latency(target, field.workload, field.engine)
    if told.low <= seen.value_ms * seen.half_bin and seen.value_ms / seen.half_bin <= told.high:
        return ""
    side = "above" if seen.value_ms > told.high else "below"
    return (
        f"{field.label}: the field's median of {seen.value_ms:.3g} ms is "
        f"{seen.value_ms / told.value:.3g} times the estimate of {told.value:.3g} ms, {side} its "
        f"interval of {told.low:.3g} to {told.high:.3g} ms ({told.tier.word}, {told.tier.name})"
    )
