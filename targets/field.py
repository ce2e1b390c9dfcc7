"""What devices in the field took for a bundle: counts of latencies that merge by addition."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import MeasurementError
from .workload import Workload


@dataclass(frozen=True, slots=True)
class FieldLatency:
    """One bundle in one engine on devices of one target.

    Count i lies between `edges_ms` i - 1 and i; the first and the last count are open, so there is
    one more of them than edges. `devices` ran the bundle; no device is in two that are merged.
    `rank_error`: how far the share below an edge may be off, where counts are those of a sketch.

    Raises:
        MeasurementError: the counts are none of such edges, or there are none.
    """

    bundle_id: str
    engine: str
    workload: Workload
    edges_ms: tuple[float, ...]
    counts: tuple[int, ...]
    devices: int
    rank_error: float = 0.0

    def __post_init__(self) -> None:
        problem = histogram_problem(self.edges_ms, self.counts)
        if problem:
            raise MeasurementError(f"{self.label}: {problem}")
        if self.samples == 0 or self.devices < 1:
            raise MeasurementError(f"{self.label}: no device has reported an inference")

    @property
    def label(self) -> str:
        """The bundle and its engine, for sentences."""
        return f"bundle {self.bundle_id[:12]} in {self.engine}"

    @property
    def samples(self) -> int:
        """Inferences that were counted."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Median:
    """`value_ms`, and the factor by which half of the bin that holds it may put it wrong.

    Or, where that is more, by which the rank's error may.
    """

    value_ms: float
    half_bin: float


def merge(first: FieldLatency, second: FieldLatency) -> FieldLatency:
    """Both as one; counts and devices add. Commutative and associative.

    Raises:
        MeasurementError: they are of different bundles, engines, work or bins.
    """
    whose = [(f.bundle_id, f.engine, f.workload, f.edges_ms) for f in (first, second)]
    if whose[0] != whose[1]:
        msg = f"{first.label} and {second.label}: different work or bins cannot be merged"
        raise MeasurementError(msg)
    counts = tuple(a + b for a, b in zip(first.counts, second.counts, strict=True))
    return dataclasses.replace(
        first,
        counts=counts,
        devices=first.devices + second.devices,
        rank_error=max(first.rank_error, second.rank_error),
    )


def median(field: FieldLatency) -> Median:
    """The median of all inferences.

    Raises:
        MeasurementError: it is in an open count: no bin says where.
    """
    low, value, high = (
        quantile_ms(field.edges_ms, field.counts, 0.5 + off)
        for off in (-field.rank_error, 0.0, field.rank_error)
    )
    if low is None or value is None or high is None:
        ends = f"{field.edges_ms[0]:g} to {field.edges_ms[-1]:g} ms"
        raise MeasurementError(f"{field.label}: the median is outside {ends}, where no bin is")
    index = _holding(field.counts, 0.5)[0]
    half_bin = math.sqrt(field.edges_ms[index] / field.edges_ms[index - 1])
    return Median(value, max(half_bin, high / value, value / low))


def quantile_ms(edges_ms: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The latency that a `share` of the counts, above 0, stays under.

    Interpolated in the logarithm of the time. None in an open count, and where nothing was counted.
    """
    if not sum(counts):
        return None
    index, inside = _holding(counts, share)
    if index in (0, len(edges_ms)):
        return None
    low, high = math.log(edges_ms[index - 1]), math.log(edges_ms[index])
    return math.exp(low + inside * (high - low))


def histogram_problem(edges_ms: Sequence[float], counts: Sequence[int]) -> str:
    """Why these are no counts of such bins, or an empty string."""
    rises = all(a < b for a, b in itertools.pairwise(edges_ms))
    if len(edges_ms) < 2 or edges_ms[0] <= 0 or not rises or not math.isfinite(edges_ms[-1]):
        return "the edges of its bins must be two or more, rise and be above 0"
    if len(counts) != len(edges_ms) + 1:
        return f"{len(edges_ms)} edges make {len(edges_ms) + 1} counts, there are {len(counts)}"
    return "a count is below 0" if min(counts) < 0 else ""


def _holding(counts: Sequence[int], share: float) -> tuple[int, float]:
    """The count in which that share is reached, and how far inside it, 0 to 1."""
    wanted, below = share * sum(counts), 0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            return index, (wanted - below) / count
        below += count
    return len(counts) - 1, 1.0
