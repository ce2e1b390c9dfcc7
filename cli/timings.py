"""What a timing looks like on a terminal, and how a command ends that could not certify one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .console import print_table
from .errors import CheckFailedError

if TYPE_CHECKING:
    from edgekiln.targets.conditions import Conditions
    from edgekiln.targets.harness import Timing


def print_timing(title: str, timing: Timing, tier: str) -> None:
    """The figures, how steady they were, and the machine around them."""
    word = f"measured ({tier})" if timing.certified else "not certified"
    steady = timing.steadiness
    rows = [
        (
            f"median, {word}",
            f"{timing.median_us:.4g} µs ({timing.median_low_us:.4g} to "
            f"{timing.median_high_us:.4g} with 95 % confidence)",
        ),
        ("10 % to 90 % of the runs", f"{timing.p10_us:.4g} to {timing.p90_us:.4g} µs"),
        ("95 % of the runs under", f"{timing.p95_us:.4g} µs"),
        ("runs", f"{timing.runs} of {timing.calls_per_run} calls"),
        ("drift afterwards", f"{steady.drift:.1%}"),
        ("outliers", f"{steady.outliers:.1%}"),
        ("waited for its core", f"{steady.off_core:.1%}"),
        ("machine before", _conditions(timing.before)),
        ("machine after", _conditions(timing.after)),
    ]
    print_table(title, ("what", "figure"), rows)


def require_certified(place: str, timing: Timing) -> None:
    """Raise CheckFailedError with every reason where the timing is not certified."""
    if not timing.certified:
        raise CheckFailedError(f"{place}: not certified: {'; '.join(timing.refusals)}")


def _conditions(seen: Conditions) -> str:
    parts = [f"{seen.cores} × {seen.cpu}"]
    if seen.core is not None:
        parts.append(f"on core {seen.core}")
    if seen.frequency_hz is not None:
        parts.append(f"{seen.frequency_hz / 1e6:.0f} MHz")
    if seen.governor is not None:
        parts.append(seen.governor)
    if seen.load is not None:
        parts.append(f"load {seen.load:.2f}")
    return ", ".join(parts)
