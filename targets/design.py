"""`choose`: which candidates to measure, so that a linear cost model is known as well as can be.

D-optimal design, greedily: the next one measured is the one that adds most to the determinant of
the information matrix Σ xᵀx, which is where the model is least certain (Fedorov 1972, "Theory of
Optimal Experiments"; that a greedy choice is near the best: Nemhauser, Wolsey, Fisher 1978).
Nothing has been measured when it begins, so columns are brought to one scale by what the candidates
hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_PRIOR = 1e-3  # of the information matrix: little enough that any candidate outweighs it


def choose(candidates: Sequence[FloatArray], count: int, cost: Sequence[float] = ()) -> list[int]:
    """Indices of `count` candidates in the order in which to measure them.

    A candidate is (rows, columns): a model that is timed as a whole has one row, one whose layers
    are counted apart a row each. With `cost` what a candidate adds is per unit of its cost.
    """
    scaled = _scaled(candidates)
    costs = np.asarray(cost if len(cost) else np.ones(len(scaled)), np.float64)
    columns = scaled[0].shape[1]
    spread = np.eye(columns) / _PRIOR  # inverse of the information matrix
    left, chosen = list(range(len(scaled))), []
    for _ in range(min(count, len(scaled))):
        gains = [_gain(scaled[index], spread) / costs[index] for index in left]
        best = left.pop(int(np.argmax(gains)))
        chosen.append(best)
        spread = _with(scaled[best], spread)
    return chosen


def _scaled(candidates: Sequence[FloatArray]) -> list[FloatArray]:
    """Rows of length 1, so that relative errors count, over columns of one size."""
    rows = np.concatenate(list(candidates))
    size = np.sqrt(np.mean(rows**2, axis=0))
    size[size == 0] = 1.0
    scaled = []
    for candidate in candidates:
        even = candidate / size
        length = np.linalg.norm(even, axis=1, keepdims=True)
        scaled.append(even / np.where(length == 0, 1.0, length))
    return scaled


def _gain(rows: FloatArray, spread: FloatArray) -> float:
    """What the logarithm of the determinant grows by."""
    inner = np.eye(len(rows)) + rows @ spread @ rows.T
    return float(np.linalg.slogdet(inner)[1])


def _with(rows: FloatArray, spread: FloatArray) -> FloatArray:
    """The inverse after `rows` have been added (Woodbury)."""
    left = spread @ rows.T
    inner = np.eye(len(rows)) + rows @ left
    return np.asarray(spread - left @ np.linalg.solve(inner, left.T), np.float64)
