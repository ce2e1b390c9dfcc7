"""Whether two models differ on more answers than they may: a test that may be looked at any time.

Both models answer the same inputs, so each pair agrees or differs. Two bets run against each
other: one grows while pairs differ more often than the limit allows, the other while they differ
less often. Each is a mixture of likelihood ratios over a grid of shares on its own side of the
limit, hence a non-negative supermartingale where the other side is true (of each pair, given the
pairs before it), and by Ville's inequality it ever reaches 1/alpha with a chance of at most alpha
(Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024). So the
agent may look after every pair, and stop at the first verdict.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

from .protocol import ShadowLimits

GRID = 16  # shares on each side of the limit


class Verdict(enum.StrEnum):
    """What a comparison has shown."""

    OPEN = "open"
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"  # samples or time ended first


def judge(samples: int, disagreements: int, limits: ShadowLimits, waited_s: float) -> Verdict:
    """The verdict after `disagreements` of `samples` pairs and `waited_s` seconds."""
    log_needed = -math.log(limits.alpha)
    if log_evidence_above(samples, disagreements, limits.max_disagreement) >= log_needed:
        return Verdict.FAIL
    if log_evidence_below(samples, disagreements, limits.max_disagreement) >= log_needed:
        return Verdict.PASS
    if samples >= limits.samples or waited_s >= limits.timeout_s:
        return Verdict.INCONCLUSIVE
    return Verdict.OPEN


def log_evidence_above(samples: int, disagreements: int, limit: float) -> float:
    """Natural logarithm of the e-value against "they differ on at most `limit`"."""
    shares = (limit + (1 - limit) * (step + 0.5) / GRID for step in range(GRID))
    return _log_mixture(samples, disagreements, limit, shares)


def log_evidence_below(samples: int, disagreements: int, limit: float) -> float:
    """Natural logarithm of the e-value against "they differ on at least `limit`"."""
    shares = (limit * step / GRID for step in range(GRID))
    return _log_mixture(samples, disagreements, limit, shares)


def _log_mixture(samples: int, disagreements: int, limit: float, shares: Iterable[float]) -> float:
    agreements = samples - disagreements
    logs = [
        _log_ratio(disagreements, share, limit) + _log_ratio(agreements, 1 - share, 1 - limit)
        for share in shares
    ]
    largest = max(logs)
    if math.isinf(largest):
        return largest
    return largest + math.log(sum(math.exp(value - largest) for value in logs) / len(logs))


def _log_ratio(count: int, share: float, limit: float) -> float:
    """log((share / limit)^count), with 0^0 = 1."""
    if count == 0:
        return 0.0
    if limit <= 0:
        return math.inf if share > 0 else 0.0
    return count * math.log(share / limit) if share > 0 else -math.inf
