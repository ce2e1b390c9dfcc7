"""Which version of ONNX's operator set a graph needs: the lowest, so that old runtimes load it.

ONNX Runtime 1.20 is the oldest that the models are made for; it knows all of these.
"""

from __future__ import annotations

from collections.abc import Mapping

from .graph import DType, Graph
from .ops import Op

BASE = 17  # everything else: LayerNormalization's and LessOrEqual's present forms are older

BY_OP: Mapping[Op, int] = {
    Op.GELU: 20,  # Gelu
}
BY_DTYPE: Mapping[DType, int] = {
    DType.INT16: 21,  # QuantizeLinear to int16
    DType.INT4: 21,  # int4 tensors
}
IR_VERSIONS: Mapping[int, int] = {17: 8, 20: 9, 21: 10}
"""The file format's version that came with each operator set."""


def needed_opset(graph: Graph) -> int:
    """The lowest operator set that can say everything in `graph`."""
    needs = [BY_OP.get(node.op, BASE) for node in graph.nodes]
    needs += [BY_DTYPE.get(value.dtype, BASE) for value in graph.values.values()]
    return max(needs, default=BASE)
