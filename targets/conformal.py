"""Bounds of a new model's actual/predicted ratio that hold at a stated rate, for any distribution.

Conformal prediction: of n + 1 exchangeable ratios the new one is as likely to have any rank, so it
is at most the ⌈q (n + 1)⌉-th smallest of the n held-out ones with a probability of at least q, and
of at most q + 1 / (n + 1) where no two are equal (Vovk, Gammerman, Shafer 2005, "Algorithmic
Learning in a Random World"; the split form: Lei et al. 2018, "Distribution-Free Predictive
Inference for Regression"). Ratios that
are held out by a split make the statement exact. Those of leaving out one model at a time waste no
model and come out about right, but carry no proof (Barber et al. 2021, "Predictive inference with
the jackknife+", shows fits for which they fail). Those of networks under the centre of the other
families are as those of a family to come: `CostTable.interval` says which it is.

"Exchangeable" is the one assumption: models like those that were held out. What it does not say is
that the bound holds for every model, or for models of a kind that none of them is.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .errors import TargetError
from .target import CostTable

FloatArray = npt.NDArray[np.float64]

COVERAGE = 0.9  # one-sided, at either end: `Estimate` has a central 80 % interval


def ratio_interval(ratios: FloatArray) -> tuple[float, float]:
    """10 % and 90 % bounds of a new actual/predicted ratio, given held-out ones.

    Each bound is an order statistic whose rank keeps 90 % coverage for `n` exchangeable ratios.
    Under 9 ratios no rank can: then the bound is the wider of the extreme ratio and Student's
    prediction limit on the logarithm. The pair always contains 1.
    """
    logs = np.sort(np.log(ratios))
    return min(1.0, math.exp(-_upper_bound(-logs[::-1]))), max(1.0, math.exp(_upper_bound(logs)))


def upper_ratio(table: CostTable, confidence: float) -> float:
    """What an estimate is multiplied by for an upper bound that holds at the rate `confidence`.

    What widens `high_ratio` beyond the held-out ratios, such as cycles per instruction, widens this
    bound as well.

    Raises:
        TargetError: `confidence` is not between 0 and 1, or the table holds too few held-out
            ratios for it; says how many it takes.
    """
    if not 0 < confidence < 1:
        raise TargetError(f"a confidence lies between 0 and 1, not at {confidence:g}")
    if confidence == COVERAGE:
        return table.high_ratio
    ratios, needed = table.heldout_ratios, fewest(confidence)
    if len(ratios) < max(needed, fewest(COVERAGE)):
        msg = (
            f"the {table.engine} table '{table.evidence_id}' holds {len(ratios)} held-out ratios; "
            f"a bound at {confidence:.4g} takes {max(needed, fewest(COVERAGE))}: ask for "
            f"{COVERAGE:.0%} or calibrate with more models"
        )
        raise TargetError(msg)
    widened = table.high_ratio / max(1.0, _ranked(ratios, COVERAGE))
    return max(1.0, _ranked(ratios, confidence)) * widened


def fewest(confidence: float) -> int:
    """The fewest held-out ratios whose largest bounds a new one at the rate `confidence`."""
    return math.ceil(confidence / (1 - confidence) - 1e-9)


def _ranked(ordered: tuple[float, ...], confidence: float) -> float:
    return ordered[rank(len(ordered), confidence) - 1]


def rank(count: int, confidence: float) -> int:
    """⌈confidence · (count + 1)⌉, free of what binary fractions add to it."""
    return math.ceil(confidence * (count + 1) - 1e-9)


def _upper_bound(ordered: FloatArray) -> float:
    """Upper 90 % bound for one further value, from values in ascending order."""
    n = len(ordered)
    place = rank(n, COVERAGE)
    if place <= n:
        return float(ordered[place - 1])
    from scipy.stats import t

    spread = float(np.std(ordered, ddof=1)) * math.sqrt(1 + 1 / n)
    return max(float(ordered[-1]), float(np.mean(ordered)) + float(t.ppf(COVERAGE, n - 1)) * spread)
