"""Guessing accuracy from size, to decide which candidates deserve the next trainings.

Accuracy is modelled as its logit: a line over log-parameters (the prior: the best single predictor
at this scale), plus a ridge over log-MACs and depth that shrinks to nothing without evidence.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_RIDGE = 3.0  # in units of one standardised observation


def predict(features: Array, known: npt.NDArray[np.int64], accuracy: Array) -> Array:
    """Accuracy in 0..1 for every row of `features`.

    Args:
        features: (n, d) float64; column 0 is log-parameters.
        known: (k,) int64 indices of the rows already trained, k ≥ 2.
        accuracy: (k,) their accuracies.
    """
    center = features.mean(axis=0)
    spread = features.std(axis=0)
    unit = (features - center) / np.where(spread > 0, spread, 1.0)
    target = _logit(accuracy)
    line = np.column_stack([np.ones(len(known)), unit[known, 0]])
    prior = np.linalg.lstsq(line, target, rcond=None)[0]
    residual = target - line @ prior
    x = unit[known]
    ridge = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ residual)
    return _expit(prior[0] + prior[1] * unit[:, 0] + unit @ ridge)


def _logit(accuracy: Array) -> Array:
    clipped = np.clip(accuracy, 1e-3, 1 - 1e-3)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _expit(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))
