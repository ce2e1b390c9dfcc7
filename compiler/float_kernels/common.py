"""What the float kernels share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..graph import Graph, Node
from ..ops import Activation

Float = npt.NDArray[np.float32]


def activate(x: Float, activation: Activation) -> Float:
    """The fused clamp."""
    if activation is Activation.NONE:
        return x
    return np.clip(x, 0.0, 6.0 if activation is Activation.RELU6 else None)


def row_shape(graph: Graph, node: Node) -> tuple[int, ...]:
    """The output's shape without the sample axis."""
    return graph.values[node.output].shape[1:]
