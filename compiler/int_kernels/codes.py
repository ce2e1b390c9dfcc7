"""Codes and what they stand for: steps from the zero point, each one scale wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..fixedpoint import Int64
from ..graph import Graph

Codes = npt.NDArray[Any]  # int8 or int16


def steps(graph: Graph, name: str, codes: Codes) -> Int64:
    """Codes of the value `name` less their zero point."""
    quant = graph.values[name].quant
    assert quant is not None
    return codes.astype(np.int64) - quant.zero_point[0]


def scale_of(graph: Graph, name: str) -> np.float32:
    """The one scale of the value `name`, in the float32 that files hold."""
    quant = graph.values[name].quant
    assert quant is not None
    return np.float32(quant.scale[0])
