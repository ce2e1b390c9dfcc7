"""Fitting a cost table to timed models, with the error that it makes on models it has not seen.

The model is `CostTable`'s: a time for each run, and for each operator a time per call, per
multiply-accumulate, per byte moved and so on, none of them negative. Relative error is minimised,
so that a 10 µs model counts as much as a 10 ms one. Whether the fit uses every count or only the
first four is decided by leaving one model out at a time: few models cannot carry many costs. The
interval is made of held-out ratios actual/predicted, as `conformal` says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .conformal import COVERAGE, fewest, ratio_interval
from .errors import MeasurementError
from .evidence import Tier
from .target import CostTable, OpCost
from .workload import LayerWork, Workload

FloatArray = npt.NDArray[np.float64]

MIN_SAMPLES = 3
# How many counts of a layer a fit may use, in the order of `OpCost`: calls, then thousands of MACs,
# bytes, outputs, unrolled bytes and MACs of the tails; hence coefficients in µs and in ns.
FEW, ALL = 4, 6


@dataclass(frozen=True, slots=True)
class Sample:
    """A model's work and how long one inference took, in µs."""

    workload: Workload
    time_us: float


def fit_cost_table(
    samples: Sequence[Sample],
    engine: str,
    dtype: str,
    tier: Tier,
    evidence_id: str,
    held_out: Sequence[Sample] = (),
) -> CostTable:
    """The cost table that explains `samples` best, with its held-out ratios.

    All samples were run by `engine`. The interval is that of `held_out`, which takes no part in
    the fit; without them each of the samples is left out in turn.

    Raises:
        MeasurementError: fewer than 3 samples, a time that is not above 0, a sample of another
            dtype, an operator that only one sample has (its cost could not be checked), or
            held-out samples that are fewer than 9 or have an operator that no sample has.
    """
    ops = _checked_ops(samples, dtype)
    times = np.array([sample.time_us for sample in samples])
    counts, ratios = _best_counts(samples, ops, times)
    coefficients = relative_nnls(_design(samples, ops, counts), times)
    if held_out:
        _check_held_out(held_out, ops, dtype)
        actual = np.array([sample.time_us for sample in held_out])
        ratios = actual / (_design(held_out, ops, counts) @ coefficients)
    low, high = ratio_interval(ratios)
    per_op = coefficients[1:].reshape(len(ops), counts)
    return CostTable(
        ops={op: _op_cost(row) for op, row in zip(ops, per_op, strict=True)},
        engine=engine,
        dtype=dtype,
        tier=tier,
        evidence_id=evidence_id,
        low_ratio=low,
        high_ratio=high,
        per_run_us=float(coefficients[0]),
        samples=len(samples),
        heldout_median_ape=float(np.median(np.abs(1 / ratios - 1))),
        interval="split" if held_out else "leave-one-out",
        heldout_ratios=tuple(float(ratio) for ratio in np.sort(ratios)),
    )


def _op_cost(row: FloatArray) -> OpCost:
    """Coefficients in the order of `_counts`; those that the fit left out are 0."""
    call, mac, byte, output, im2col, tail = (*map(float, row), *[0.0] * (ALL - len(row)))
    return OpCost(call, mac, byte, output, im2col, tail)


def _best_counts(
    samples: Sequence[Sample], ops: tuple[str, ...], times: FloatArray
) -> tuple[int, FloatArray]:
    """How many counts predict best what was left out, and the ratios of that."""
    few = leave_one_out_ratios(_design(samples, ops, FEW), times)
    if len(samples) < 2 * ALL:
        return FEW, few
    more = leave_one_out_ratios(_design(samples, ops, ALL), times)
    return (ALL, more) if _spread(more) < _spread(few) else (FEW, few)


def _spread(ratios: FloatArray) -> float:
    return float(np.mean(np.abs(np.log(ratios))))


def relative_nnls(design: FloatArray, times: FloatArray) -> FloatArray:
    """Non-negative coefficients (columns,) that minimise Σ (design·c / times - 1)².

    `design` is (samples, columns), `times` (samples,) and above 0.
    """
    return scaled_nnls(design, times, times)


def scaled_nnls(design: FloatArray, times: FloatArray, scale: FloatArray) -> FloatArray:
    """Non-negative coefficients (columns,) that minimise Σ ((design·c - times) / scale)².

    `design` is (samples, columns), `times` and `scale` are (samples,), the latter above 0.
    """
    from scipy.optimize import nnls

    relative = design / scale[:, None]
    length = np.linalg.norm(relative, axis=0)
    length[length == 0] = 1.0  # an unused column keeps the coefficient 0
    solution, _ = nnls(relative / length, times / scale)
    return np.asarray(solution / length, dtype=np.float64)


def leave_one_out_ratios(design: FloatArray, times: FloatArray) -> FloatArray:
    """actual/predicted (samples,), each predicted by a fit to the others.

    Raises:
        MeasurementError: a sample has work that no other one prices.
    """
    ratios = np.empty(len(times))
    for index in range(len(times)):
        others = np.arange(len(times)) != index
        predicted = float(design[index] @ relative_nnls(design[others], times[others]))
        if predicted <= 0:
            msg = f"sample {index} cannot be predicted from the other {len(times) - 1}; add samples"
            raise MeasurementError(msg)
        ratios[index] = times[index] / predicted
    return ratios


def _checked_ops(samples: Sequence[Sample], dtype: str) -> tuple[str, ...]:
    """The operators of the samples in name order, after the checks that `fit_cost_table` names."""
    if len(samples) < MIN_SAMPLES:
        msg = f"a cost table needs at least {MIN_SAMPLES} timed models, there are {len(samples)}"
        raise MeasurementError(msg)
    seen: dict[str, int] = {}
    for index, sample in enumerate(samples):
        if sample.workload.dtype != dtype:
            msg = f"sample {index} is {sample.workload.dtype}, the cost table is for {dtype}"
            raise MeasurementError(msg)
        if not (sample.time_us > 0 and math.isfinite(sample.time_us)):
            msg = f"sample {index} took {sample.time_us} µs; a time must be above 0"
            raise MeasurementError(msg)
        for op in {layer.op for layer in sample.workload.layers}:
            seen[op] = seen.get(op, 0) + 1
    lonely = sorted(op for op, count in seen.items() if count == 1)
    if lonely:
        msg = f"operator '{lonely[0]}' is in one sample only; a checked cost needs two or more"
        raise MeasurementError(msg)
    return tuple(sorted(seen))


def _check_held_out(held_out: Sequence[Sample], ops: tuple[str, ...], dtype: str) -> None:
    if len(held_out) < fewest(COVERAGE):
        msg = f"{len(held_out)} held-out models cannot bound at {COVERAGE:.0%}"
        raise MeasurementError(f"{msg}; it takes {fewest(COVERAGE)}")
    for index, sample in enumerate(held_out):
        unknown = {layer.op for layer in sample.workload.layers} - set(ops)
        if unknown or sample.workload.dtype != dtype or not sample.time_us > 0:
            msg = f"held-out sample {index} ({sample.workload.dtype}, {sample.time_us} µs)"
            raise MeasurementError(f"{msg} does not fit the table's {dtype} {', '.join(ops)}")


def _design(samples: Sequence[Sample], ops: tuple[str, ...], counts: int) -> FloatArray:
    """(samples, 1 + counts · ops): one for the run, then the counts of each operator."""
    design = np.zeros((len(samples), 1 + counts * len(ops)))
    design[:, 0] = 1.0
    columns = {op: 1 + counts * index for index, op in enumerate(ops)}
    for row, sample in zip(design, samples, strict=True):
        for layer in sample.workload.layers:
            first = columns[layer.op]
            row[first : first + counts] += _counts(layer)[:counts]
    return design


def _counts(layer: LayerWork) -> tuple[float, ...]:
    work = (layer.macs, layer.bytes_moved, layer.output_elements)
    return (1.0, *(n / 1e3 for n in (*work, layer.im2col_bytes, layer.tail_macs)))
