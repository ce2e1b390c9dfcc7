"""Whether timed runs deserve to be called a measurement: pure functions of the runs.

Order statistics throughout: the interval of a median needs no distribution (Hahn and Meeker,
Statistical Intervals, 1991, section 5.2), and Tukey's outer fences (Exploratory Data Analysis,
1977) tell strays from spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .conditions import Conditions

FENCE = 3.0  # interquartile ranges beyond the quartiles: Tukey's outer fences
_Z_95 = 1.959964  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Rules:
    """What a measurement must keep to be certified; shares are of 1.

    `precision` is half the 95 % interval of the median over the median, `drift` what the median of
    runs made afterwards may differ by, `off_core` the share of time in which the thread waited for
    its core. Runs end when the precision is reached, not before `min_s`, or after `budget_s`.
    """

    precision: float = 0.02
    drift: float = 0.05
    outliers: float = 0.1
    off_core: float = 0.05
    min_runs: int = 50
    min_s: float = 0.5
    budget_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A median and the bounds that hold it with 95 % confidence, in the unit of the runs."""

    median: float
    low: float
    high: float

    @property
    def precision(self) -> float:
        """Half the width over the median."""
        return (self.high - self.low) / 2 / self.median


def median_interval(times: Sequence[float] | npt.NDArray[np.float64]) -> Interval:
    """The median of at least one positive time, and its 95 % interval by ranks."""
    ordered = np.sort(np.asarray(times, np.float64))
    count = len(ordered)
    half = _Z_95 * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - half) - 1)
    high = min(count - 1, math.ceil(count / 2 + half))
    return Interval(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))


def outlier_share(times: Sequence[float]) -> float:
    """The share of runs beyond the upper outer fence; ties make a fence of zero width."""
    low, high = np.percentile(times, (25, 75))
    return float(np.mean(np.asarray(times) > high + FENCE * (high - low) + 1e-9 * high))


@dataclass(frozen=True, slots=True)
class Steadiness:
    """What the rules are held against."""

    precision: float
    drift: float
    outliers: float
    off_core: float


def refusals(
    found: Steadiness, rules: Rules, before: Conditions, after: Conditions
) -> tuple[str, ...]:
    """Why the runs are no measurement, each with what would help; none: they are one."""
    said = []
    if found.precision > rules.precision:
        said.append(
            f"the median is known to ±{found.precision:.1%} where ±{rules.precision:.1%} is asked: "
            "give more time or stop what else runs"
        )
    if found.drift > rules.drift:
        said.append(
            f"the same runs took {found.drift:.1%} more or less afterwards, {rules.drift:.1%} may "
            f"be{_frequencies(before, after)}: let the machine cool down or fix its clock"
        )
    if found.outliers > rules.outliers:
        said.append(
            f"{found.outliers:.1%} of the runs are far outside the rest, {rules.outliers:.1%} may "
            "be: stop what else runs"
        )
    if found.off_core > rules.off_core:
        said.append(
            f"the thread waited for its core {found.off_core:.1%} of the time, "
            f"{rules.off_core:.1%} may be{_load(before)}: stop what else runs"
        )
    return tuple(said)


def _frequencies(before: Conditions, after: Conditions) -> str:
    if before.frequency_hz is None or after.frequency_hz is None:
        return ""
    return f" (clock {before.frequency_hz / 1e6:.0f}, then {after.frequency_hz / 1e6:.0f} MHz)"


def _load(before: Conditions) -> str:
    return "" if before.load is None else f" (load {before.load:.1f} on {before.cores} cores)"
