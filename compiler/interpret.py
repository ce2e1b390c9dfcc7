"""The interpreter: each node's numpy kernel by the dtype of what it reads.

Float graphs give what the passes must keep and calibration observes; quantized ones are the living
definition of the numeric contracts (`reference.py`); one graph may hold both. Inputs are
preprocessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from .errors import CompileError, GrammarError
from .float_kernels import FLOAT_KERNELS
from .float_kernels.moves import reshape, slice_axes, transpose
from .graph import Array, DType, Graph, Node
from .int_kernels import INT8_KERNELS, INT16_KERNELS
from .int_kernels.formats import quantize, widen
from .ops import Op

Float = npt.NDArray[np.float32]

KERNELS: Mapping[DType, Mapping[Op, Callable[..., Array]]] = {
    DType.FLOAT32: {**FLOAT_KERNELS, Op.QUANTIZE: quantize},
    DType.FLOAT16: {Op.DEQUANTIZE: widen},
    DType.INT8: INT8_KERNELS,
    DType.INT16: INT16_KERNELS,
    DType.INT32: {Op.RESHAPE: reshape, Op.TRANSPOSE: transpose, Op.SLICE: slice_axes},  # indices
}
"""By the dtype of the first operand."""


def run_float(graph: Graph, x: Float) -> Float:
    """Logits (n, classes) of `x` (n, …); the batch axis may have any length."""
    return run_float_all(graph, x)[graph.outputs[0]]


def run_float_all(graph: Graph, x: Float) -> dict[str, Float]:
    """Every value but the constants by name, batch axis first."""
    return run_all(graph, {graph.inputs[0]: x.astype(np.float32)})


def run_all(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value but the constants by name, batch axis first, from all inputs by name.

    Raises:
        CompileError: an input is missing or has another shape.
        GrammarError: an operator has no kernel for its dtype.
    """
    known = {name: check_input(graph, name, inputs) for name in graph.inputs}
    for node in graph.nodes:
        operands = [known[name] if name in known else graph.constant(name) for name in node.inputs]
        known[node.output] = kernel_of(graph, node)(graph, node, *operands)
    return known


def kernel_of(graph: Graph, node: Node) -> Callable[..., Array]:
    """The kernel of `node`; GrammarError where its dtype has none."""
    dtype = graph.values[node.inputs[0]].dtype
    kernel = KERNELS.get(dtype, {}).get(node.op)
    if kernel is None:
        raise GrammarError(f"{graph.name}: node '{node.name}' ({node.op}) has no {dtype} kernel")
    return kernel


def check_input(graph: Graph, name: str, inputs: Mapping[str, Array]) -> Array:
    """The input `name` where its samples have the graph's shape, else CompileError."""
    expected = graph.values[name].shape[1:]
    x = inputs.get(name)
    if x is None:
        raise CompileError(f"{graph.name}: there is no input '{name}'")
    if x.ndim == 0 or x.shape[1:] != expected:
        raise CompileError(f"{graph.name}: samples must have shape {expected}, not {x.shape[1:]}")
    return x
