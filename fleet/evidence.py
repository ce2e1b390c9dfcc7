"""How strong the evidence against a release is: e-values, which may be looked at any time.

An e-process has expectation at most 1 under its null hypothesis, whenever it is stopped; it ever
reaches 1/alpha with probability at most alpha (Ville's inequality). So a rollout may be judged
after each message without raising the rate of false alarms. The unit is the device.

**One arm, against history.** The null says that a device fails with a rate drawn from
Beta(a, b), the fleet's history; the alternative draws it from Beta(a, a), whose mean is 1/2. The
e-value of `f` failures in `n` devices is the ratio of the two beta-binomial likelihoods. It grows
with each failure (b > a), so a device without an outcome may be counted as well: the value can
only be too small. That matters because failures are reported sooner than successes, and counting
outcomes as they arrive would see the failures first. The guarantee is as good as the history, so
verdicts that rest on it alone are called weak.

**Two arms, against the concurrent holdback.** The exact test for 2x2 tables of Turner, Ly and
Grünwald (Generic E-variables for exact sequential k-sample tests, 2024), in blocks of one device
per arm, with plug-in estimates from Beta(0.18, 0.18) and a bet only while the canary looks worse.
One-sided validity: with estimates c > h and m = (c + h) / 2, the block's value is
    (x ? c/m : (1-c)/(1-m)) * (y ? h/m : (1-h)/(1-m)).
Its first factor grows in expectation with the canary's true rate, so over all true rates not
above the holdback's rate q the expectation is largest at (q, q), where the paper shows it to be
at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

ALPHA = 0.05
POWER = 0.8
CEILING = 1e12  # beyond this an e-value says nothing more
PAIR_PRIOR = 0.18

# A fleet without a history of its own is taken to lose one device in a hundred.
PRIOR_FAILURES = 1.0
PRIOR_SUCCESSES = 99.0
HISTORY_LIMIT = 1000.0  # devices; an old history must not outweigh what is seen now


@dataclass(frozen=True, slots=True)
class History:
    """Beta(failures, successes) of a device's fate in a rollout."""

    failures: float = PRIOR_FAILURES
    successes: float = PRIOR_SUCCESSES

    @property
    def rate(self) -> float:
        """Mean failure rate."""
        return self.failures / (self.failures + self.successes)


def history(failures: int, successes: int) -> History:
    """The prior with what rollouts that ended well have added to it."""
    total = PRIOR_FAILURES + PRIOR_SUCCESSES + failures + successes
    scale = min(1.0, HISTORY_LIMIT / total)
    past = History((PRIOR_FAILURES + failures) * scale, (PRIOR_SUCCESSES + successes) * scale)
    # A history of more failures than successes leaves no alternative to bet on.
    return past if past.failures < past.successes else History(past.failures, past.failures)


def one_arm(failures: int, devices: int, past: History) -> float:
    """e-value of `failures` in `devices` against the fleet's history."""
    a, b = past.failures, past.successes
    alive = devices - failures
    log_e = _log_beta(a + failures, a + alive) - _log_beta(a, a)
    log_e -= _log_beta(a + failures, b + alive) - _log_beta(a, b)
    return min(CEILING, math.exp(min(log_e, 30.0)))


def paired(pairs: Sequence[tuple[bool, bool]]) -> float:
    """e-value of (canary failed, holdback failed) pairs, in an order fixed before the outcomes."""
    return paired_path(pairs)[-1] if pairs else 1.0


def paired_path(pairs: Sequence[tuple[bool, bool]]) -> list[float]:
    """The e-value after each pair."""
    failed = [PAIR_PRIOR, PAIR_PRIOR]
    alive = [PAIR_PRIOR, PAIR_PRIOR]
    log_e, path = 0.0, []
    for pair in pairs:
        rates = [failed[i] / (failed[i] + alive[i]) for i in (0, 1)]
        middle = (rates[0] + rates[1]) / 2.0
        if rates[0] > rates[1]:
            log_e += sum(
                math.log(rate / middle if bad else (1.0 - rate) / (1.0 - middle))
                for rate, bad in zip(rates, pair, strict=True)
            )
        for arm, bad in enumerate(pair):
            failed[arm] += bad
            alive[arm] += not bad
        path.append(min(CEILING, math.exp(min(log_e, 30.0))))
    return path


def combine(against_history: float, against_holdback: float, holdback: bool) -> float:
    """One e-value of both: their mean, or the first alone where nobody is held back.

    `holdback` must be known before the outcomes are.
    """
    return (against_history + against_holdback) / 2.0 if holdback else against_history


@lru_cache(maxsize=1024)
def minimum_harm(devices: int, past: History, holdback: bool, alpha: float = ALPHA) -> float | None:
    """Smallest failure rate that a canary of `devices` finds with a chance of 80 %.

    Counts what the one-arm test alone can find, so pairs may find a little less. None where even
    the failure of every device would not be enough.
    """
    needed = (2.0 if holdback else 1.0) / alpha
    if devices == 0 or one_arm(devices, devices, past) < needed:
        return None
    critical = _first(lambda f: one_arm(f, devices, past) >= needed, devices)
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2.0
        if _tail(critical, devices, middle) >= POWER:
            high = middle
        else:
            low = middle
    return high


def _first(holds: Callable[[int], bool], most: int) -> int:
    """Smallest number up to `most` for which a growing predicate holds."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _tail(least: int, n: int, rate: float) -> float:
    """P(Binomial(n, rate) >= least)."""
    if rate <= 0.0 or rate >= 1.0:
        return float(least == 0 or rate >= 1.0)
    below = sum(
        math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + k * math.log(rate) + (n - k) * math.log1p(-rate)
        )
        for k in range(least)
    )  # fmt: skip
    return 1.0 - below


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
