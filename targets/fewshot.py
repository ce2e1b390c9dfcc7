"""A new device from 10 to 20 timed models: a small cost table, and how the device runs a graph.

Engines differ in what they execute: one runs every operator of a file, one drops results that
nothing uses, one computes at load time what does not depend on the input. Times of models with such
parts make no sense before that is known, so each reading of the graphs (a *rule*) is fitted on its
own, and leaving out one model at a time says how far to trust each: predictions are means weighted
with error^-8, which is nearly a choice where the models tell rules apart and no choice where they
do not. A few wild times must not decide a fit of so few, so it begins with absolute errors
(relative to the time) and ends with Huber's (1964, "Robust estimation of a location parameter").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .conformal import ratio_interval
from .errors import MeasurementError

FloatArray = npt.NDArray[np.float64]

MIN_MODELS = 5
_TRUST = 8  # exponent of a rule's held-out error
_FLOOR = 0.2  # of the median time: what is shorter is held to that, not to itself
_ABSOLUTE_STEPS, _HUBER_STEPS = 8, 3
_HUBER = 1.5  # standard deviations up to which an error counts squared


@dataclass(frozen=True, slots=True)
class RuleFit:
    """One reading of the graphs: non-negative costs of its columns, and its held-out error.

    `heldout_ape` is the mean relative error of models that were left out, each at most 1; `share`
    is the weight of this rule in a prediction, all of them 1 in sum.
    """

    rule: str
    coefficients: FloatArray
    heldout_ape: float
    share: float


@dataclass(frozen=True, slots=True)
class FewShot:
    """A fitted device. Ratios are actual/predicted of models that were left out, rising."""

    rules: tuple[RuleFit, ...]
    heldout_ratios: tuple[float, ...]
    low_ratio: float
    high_ratio: float

    @property
    def best(self) -> RuleFit:
        """The rule that is trusted most."""
        return max(self.rules, key=lambda fit: fit.share)

    def predict(self, views: Mapping[str, FloatArray]) -> FloatArray:
        """Times (models,) from each rule's design (models, columns), in the unit of the fit."""
        parts = [fit.share * (views[fit.rule] @ fit.coefficients) for fit in self.rules]
        return np.asarray(np.sum(parts, axis=0), np.float64)


def fit_few_shot(views: Mapping[str, FloatArray], times: FloatArray) -> FewShot:
    """Fit the rules of `views`, each a design (models, columns) of the same models, to `times`.

    Raises:
        MeasurementError: fewer than 5 models, or a time that is not above 0.
    """
    if len(times) < MIN_MODELS:
        msg = f"a device from few models takes at least {MIN_MODELS}, there are {len(times)}"
        raise MeasurementError(msg)
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise MeasurementError("a time is not above 0; every model needs its measured time")
    left_out = {rule: _left_out(design, times) for rule, design in views.items()}
    errors = np.array([_error(times, guessed) for guessed in left_out.values()])
    trust = (errors + 1e-3) ** -float(_TRUST)
    shares = trust / trust.sum()
    blend = sum(share * guessed for share, guessed in zip(shares, left_out.values(), strict=True))
    ratios = np.sort(times / np.maximum(blend, 1e-3 * np.median(times)))
    low, high = ratio_interval(ratios)
    rules = tuple(
        RuleFit(rule, robust_nnls(design, times), float(error), float(share))
        for (rule, design), error, share in zip(views.items(), errors, shares, strict=True)
    )
    return FewShot(rules, tuple(float(ratio) for ratio in ratios), low, high)


def robust_nnls(design: FloatArray, times: FloatArray) -> FloatArray:
    """Non-negative coefficients of relative errors, of which a few may be of any size."""
    from scipy.optimize import nnls

    def solved(weights: FloatArray) -> FloatArray:
        return np.asarray(nnls(design * weights[:, None], times * weights)[0], np.float64)

    median = float(np.median(times))
    relative = 1 / np.maximum(times, _FLOOR * median)
    solution = solved(1 / np.maximum(times, median))
    for _ in range(_ABSOLUTE_STEPS):
        errors = np.abs(times - design @ solution) * relative
        solution = solved(relative / np.sqrt(np.maximum(errors, 0.02)))
    for _ in range(_HUBER_STEPS):
        errors = np.abs(times - design @ solution) * relative
        spread = 1.4826 * float(np.median(errors)) + 0.01
        kept = np.minimum(1.0, _HUBER * spread / np.maximum(errors, 1e-12))
        solution = solved(relative * np.sqrt(kept))
    return solution


def _left_out(design: FloatArray, times: FloatArray) -> FloatArray:
    """Each model's time (models,) as the others predict it."""
    guessed = np.empty(len(times))
    for index in range(len(times)):
        others = np.arange(len(times)) != index
        guessed[index] = design[index] @ robust_nnls(design[others], times[others])
    return guessed


def _error(times: FloatArray, guessed: FloatArray) -> float:
    relative = np.abs(guessed - times) / np.maximum(times, _FLOOR * float(np.median(times)))
    return float(np.mean(np.minimum(relative, 1.0)))
