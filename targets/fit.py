"""Fitting a cost table to timed models, with the error that it makes on models it has not seen.

The model is `CostTable`'s: a time for each run, and for each operator a time per call, per
multiply-accumulate, per byte moved and per output element, none of them negative. Relative error
is minimised, so that a 10 µs model counts as much as a 10 ms one. The interval is made of
leave-one-out ratios actual/predicted, at ranks that keep the promised coverage for a finite sample
(conformal prediction: Vovk et al. 2005; the leave-one-out form: Barber et al. 2021, "jackknife+").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import MeasurementError
from .evidence import Tier
from .target import CostTable, OpCost
from .workload import Workload

FloatArray = npt.NDArray[np.float64]

COVERAGE = 0.9  # one-sided, at either end: `Estimate` has a central 80 % interval
MIN_SAMPLES = 3
# Columns of one operator in the order of `OpCost`: calls, then thousands of MACs, bytes and
# outputs; hence one coefficient in µs and three in ns.
_PER_OP = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """A model's work and how long one inference took, in µs."""

    workload: Workload
    time_us: float


def fit_cost_table(
    samples: Sequence[Sample], engine: str, dtype: str, tier: Tier, evidence_id: str
) -> CostTable:
    """The cost table that explains `samples` best, with its held-out ratios.

    All samples were run by `engine`.

    Raises:
        MeasurementError: fewer than 3 samples, a time that is not above 0, a sample of another
            dtype, or an operator that only one sample has (its cost could not be checked).
    """
    ops = _checked_ops(samples, dtype)
    design = np.array([_design_row(sample.workload, ops) for sample in samples])
    times = np.array([sample.time_us for sample in samples])
    coefficients = relative_nnls(design, times)
    ratios = leave_one_out_ratios(design, times)
    low, high = ratio_interval(ratios)
    per_op = coefficients[1:].reshape(len(ops), _PER_OP)
    return CostTable(
        ops={op: OpCost(*(float(x) for x in row)) for op, row in zip(ops, per_op, strict=True)},
        engine=engine,
        dtype=dtype,
        tier=tier,
        evidence_id=evidence_id,
        low_ratio=low,
        high_ratio=high,
        per_run_us=float(coefficients[0]),
        samples=len(samples),
        heldout_median_ape=float(np.median(np.abs(1 / ratios - 1))),
    )


def relative_nnls(design: FloatArray, times: FloatArray) -> FloatArray:
    """Non-negative coefficients (columns,) that minimise Σ (design·c / times - 1)².

    `design` is (samples, columns), `times` (samples,) and above 0.
    """
    from scipy.optimize import nnls

    relative = design / times[:, None]
    scale = np.linalg.norm(relative, axis=0)
    scale[scale == 0] = 1.0  # an unused column keeps the coefficient 0
    solution, _ = nnls(relative / scale, np.ones(len(times)))
    return np.asarray(solution / scale, dtype=np.float64)


def ratio_interval(ratios: FloatArray) -> tuple[float, float]:
    """10 % and 90 % bounds of a new actual/predicted ratio, given held-out ones.

    Each bound is an order statistic whose rank keeps 90 % coverage for `n` exchangeable ratios.
    Under 9 ratios no rank can: then the bound is the wider of the extreme ratio and Student's
    prediction limit on the logarithm. The pair always contains 1.
    """
    logs = np.sort(np.log(ratios))
    return min(1.0, math.exp(-_upper_bound(-logs[::-1]))), max(1.0, math.exp(_upper_bound(logs)))


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


def _upper_bound(ordered: FloatArray) -> float:
    """Upper 90 % bound for one further value, from values in ascending order."""
    n = len(ordered)
    rank = math.ceil(COVERAGE * (n + 1))
    if rank <= n:
        return float(ordered[rank - 1])
    from scipy.stats import t

    spread = float(np.std(ordered, ddof=1)) * math.sqrt(1 + 1 / n)
    return max(float(ordered[-1]), float(np.mean(ordered)) + float(t.ppf(COVERAGE, n - 1)) * spread)


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


def _design_row(workload: Workload, ops: tuple[str, ...]) -> FloatArray:
    row = np.zeros(1 + _PER_OP * len(ops))
    row[0] = 1.0
    for layer in workload.layers:
        column = 1 + _PER_OP * ops.index(layer.op)
        thousands = (layer.macs / 1e3, layer.bytes_moved / 1e3, layer.output_elements / 1e3)
        row[column : column + _PER_OP] += (1.0, *thousands)
    return row
