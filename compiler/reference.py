"""The integer reference: a quantized graph run as its numeric contract says.

`int8.v1` equals LiteRT's reference kernels (`OpResolverType.BUILTIN_REF`) byte for byte; the
arithmetic is in `int_kernels`, requantization in `fixedpoint`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.quant import dequantize_array, quantize_to

from .graph import Array, DType, Graph
from .int_kernels.common import Int8, params
from .interpret import run_all
from .streams import pieces

_BATCH = 256  # samples at once: bounds the memory of unrolled windows


def run_int8(graph: Graph, xq: Int8) -> Int8:
    """Logits (n, classes) of samples (n, …), both in the number formats of the graph."""
    batches = [
        run_int8_all(graph, xq[piece])[graph.outputs[0]] for piece in pieces(graph, len(xq), _BATCH)
    ]
    return np.concatenate(batches)


def run_int8_all(graph: Graph, xq: Int8) -> dict[str, Int8]:
    """Every value but the constants by name, batch axis first."""
    return run_all(graph, {graph.inputs[0]: xq.astype(graph.input.dtype.numpy)})


def quantize_input(graph: Graph, x: npt.NDArray[np.float32]) -> Array:
    """Preprocessed samples in the input's format, by the rule that every engine uses."""
    if graph.input.dtype is DType.FLOAT32:
        return x.astype(np.float32, copy=False)
    quant = params(graph, graph.inputs[0])
    return quantize_to(graph.input.dtype.numpy, x, quant.scale[0], quant.zero_point[0])


def dequantize_output(graph: Graph, yq: Array) -> npt.NDArray[np.float32]:
    """Logits in real numbers."""
    if graph.output.dtype is DType.FLOAT32:
        return yq.astype(np.float32, copy=False)
    quant = params(graph, graph.outputs[0])
    return dequantize_array(yq, quant.scale[0], quant.zero_point[0])
