"""The error function of arrays, which numpy does not have.

Between 4097 points of [0, 6] a cubic through values and slopes is off by less than 1e-13; above 6
erf is 1 in double precision.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_END = 6.0
_STEPS = 4096
_POINTS = np.linspace(0.0, _END, _STEPS + 1)
_VALUES = np.array([math.erf(point) for point in _POINTS])
_SLOPES = 2.0 / math.sqrt(math.pi) * np.exp(-_POINTS * _POINTS) * (_END / _STEPS)  # for each step


def erf(x: Doubles) -> Doubles:
    """Of any shape; not a number stays none."""
    position = np.minimum(np.abs(x), _END) * (_STEPS / _END)
    index = np.nan_to_num(position).astype(np.int64).clip(0, _STEPS - 1)
    t = position - index
    rise = _VALUES[index + 1] - _VALUES[index]
    first, last = _SLOPES[index], _SLOPES[index + 1]
    bend = t * (3.0 * rise - 2.0 * first - last) + t * t * (first + last - 2.0 * rise)
    result: Doubles = np.copysign(_VALUES[index] + t * (first + bend), x)
    return result
