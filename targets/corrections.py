"""How a profile's cost table is to be corrected, from what whole bundles took.

What was observed is read in two ways: the device is *slower*, so that all costs have one common
scale, the median of observed over predicted; or an answer is *longer* than its inference, by a time
that the runtime takes around it. Beside that each part's predicted share is multiplied by a
correction that is never negative and is drawn to the scale, which is 1 where answers are longer:

    minimise Σ_bundles ((answer + Σ_parts c·predicted) / observed - 1)²
             + strength · Σ_parts (c / scale - 1)²

(ridge regression towards a point; Hoerl and Kennard 1970, "Ridge Regression"). A part that no
bundle has is scaled like all the rest. The reading and, from 4 bundles on, the strength are chosen
by leaving out one bundle at a time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

CHOOSING = 4  # bundles that can tell one strength from another
READING = 2  # bundles that can tell a slower device from longer answers
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_LEAST = 1e-3  # of the scaled prediction: corrections of 0 must not divide


@dataclass(frozen=True, slots=True)
class Corrections:
    """Factors (parts,) of the old costs, and what an answer takes beside its inference, in µs."""

    factors: FloatArray
    answer_us: float


Fit = Callable[[FloatArray, FloatArray], Corrections]


def corrections(predicted: FloatArray, observed: FloatArray) -> Corrections:
    """From predicted µs (bundles, parts), each row above 0 in sum, and observed µs (bundles,)."""
    if len(observed) < READING:
        return _slower(predicted, observed)
    simple: list[Fit] = [_slower, _longer]
    choices = list(simple)
    if len(observed) >= CHOOSING:
        choices += [
            functools.partial(_drawn, around=fit, strength=strength)
            for fit in simple
            for strength in STRENGTHS
        ]
    errors = [
        float(np.mean(np.abs(np.log(_left_out(predicted, observed, fit))))) for fit in choices
    ]
    best = choices[int(np.argmin(errors))]  # the first of equals: simple ones are
    return best(predicted, observed)


def left_out_ratios(predicted: FloatArray, observed: FloatArray) -> FloatArray:
    """observed/predicted (bundles,), each told by the others alone, choice of the fit included."""
    return _left_out(predicted, observed, corrections)


def _slower(predicted: FloatArray, observed: FloatArray) -> Corrections:
    return Corrections(np.full(predicted.shape[1], _scale(predicted, observed)), 0.0)


def _longer(predicted: FloatArray, observed: FloatArray) -> Corrections:
    around = float(np.median(observed - predicted.sum(axis=1)))
    return Corrections(np.ones(predicted.shape[1]), max(0.0, around))


def _drawn(
    predicted: FloatArray, observed: FloatArray, around: Fit, strength: float
) -> Corrections:
    """Corrections that are drawn so strongly to those of a simple fit."""
    from scipy.optimize import nnls

    simple, parts = around(predicted, observed), predicted.shape[1]
    pull = math.sqrt(strength)
    # Of an answer that takes nothing more the last column is 0, and what nnls gives it is lost.
    told = np.c_[predicted * simple.factors, np.full(len(observed), simple.answer_us)]
    held = np.c_[pull * np.eye(parts), np.zeros(parts)]
    design = np.vstack((told / observed[:, None], held))
    wanted = np.concatenate((np.ones(len(observed)), np.full(parts, pull)))
    solution = np.asarray(nnls(design, wanted)[0], np.float64)
    return Corrections(simple.factors * solution[:-1], simple.answer_us * float(solution[-1]))


def _scale(predicted: FloatArray, observed: FloatArray) -> float:
    return math.exp(float(np.median(np.log(observed / predicted.sum(axis=1)))))


def _left_out(predicted: FloatArray, observed: FloatArray, fit: Fit) -> FloatArray:
    ratios = np.empty(len(observed))
    for index in range(len(observed)):
        others = np.arange(len(observed)) != index
        fitted = fit(predicted[others], observed[others])
        told = float(predicted[index] @ fitted.factors) + fitted.answer_us
        least = _LEAST * _scale(predicted[others], observed[others]) * predicted[index].sum()
        ratios[index] = observed[index] / max(told, least)
    return ratios
