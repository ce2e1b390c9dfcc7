"""The numeric contract of a graph by name, and what its outputs look like to a runtime."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.engines import OutputScale

from .graph import DType, Graph
from .int_kernels.common import params

_FLOAT_STEPS = 255  # an int8 output has this many steps over its range


def numerics_of(graph: Graph) -> str:
    """`int8.v1`, `int16x8.v1`, `int4w.v1` or `float32`; several formats are joined by a plus sign.

    The formats of activations count, and int4 weights.
    """
    names = {*graph.inputs, *(node.output for node in graph.nodes)}
    kinds = {_ACTIVATIONS.get(graph.values[name].dtype, "") for name in names} - {""}
    if any(value.dtype is DType.INT4 for value in graph.values.values()):
        kinds.add("int4w.v1")
    if "int4w.v1" in kinds:
        kinds.discard("int8.v1")  # int4 weights stand in an int8 graph
    return "+".join(sorted(kinds))


def is_quantized(graph: Graph) -> bool:
    """Whether any activation has codes: such a graph came quantized, or has been."""
    return any(value.data is None and value.quant is not None for value in graph.values.values())


def output_scale(graph: Graph, expected: npt.NDArray[np.generic]) -> OutputScale:
    """What a runtime needs to know about the logits of `graph`; `expected` (n, classes) are some.

    A float output has no codes: its scale is the step that 8 bits over the range of `expected`
    would have, in which engines tell how far they are from the golden vectors.
    """
    if graph.output.dtype is not DType.FLOAT32:
        quant = params(graph, graph.outputs[0])
        return OutputScale(quant.scale[0], quant.zero_point[0], graph.output.dtype.value)
    spread = float(np.ptp(expected)) if expected.size else 0.0
    return OutputScale(spread / _FLOAT_STEPS or 1.0, 0, "float32")


_ACTIVATIONS = {
    DType.FLOAT32: "float32",
    DType.INT8: "int8.v1",
    DType.INT16: "int16x8.v1",
}
