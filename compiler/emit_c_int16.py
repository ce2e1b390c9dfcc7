"""Operators on int16 as kernel calls of c/int16/, but for those of windows and products.

Moves are the int8 kernels' on pairs of bytes (`emit_c_moves`); operators on two tensors are in
`emit_c_binary`. Factors and tables are those of the integer reference.
"""

from __future__ import annotations

import numpy as np

from .emit_c_axes import factor_fields
from .emit_c_call import HEADER_16, Call
from .emit_c_layer import Constant, Fields, constant, zero_point
from .errors import EmitError
from .fixedpoint import Multiplier, quantize_multiplier
from .graph import DType, Graph, Node
from .int_kernels.activations import below_factor, scale_ratio
from .int_kernels.codes import scale_of
from .int_kernels.requantize import clamped_range, code_range
from .int_kernels.softmax_int16 import EXP, RECIPROCAL, difference_factor
from .int_kernels.tables_int16 import SIGMOID, place_factor, samples_of
from .ops import Activation, LeakyAttrs, Op

_MOST_CLASSES = 1 << 16  # exponentials of 15 bits whose sum fits 32 bits


def relu(graph: Graph, node: Node, symbol: str) -> Call:
    """A factor between the encodings; the bounds are the activation's."""
    activation = Activation.RELU if node.op is Op.RELU else Activation.RELU6
    factor = quantize_multiplier(float(scale_ratio(graph, node)))
    return _rescale(graph, node, factor, clamped_range(graph, node, activation))


def requantize(graph: Graph, node: Node, symbol: str) -> Call:
    """Between encodings of int8 and int16."""
    real = float(scale_of(graph, node.inputs[0])) / float(scale_of(graph, node.output))
    ends = code_range(graph.values[node.output].dtype)
    return _rescale(graph, node, quantize_multiplier(real), ends)


def _rescale(graph: Graph, node: Node, factor: Multiplier, ends: tuple[int, int]) -> Call:
    kinds = graph.values[node.inputs[0]].dtype, graph.values[node.output].dtype
    fields: Fields = (
        ("size", graph.values[node.output].elements),
        ("input_zero_point", zero_point(graph, node.inputs[0])),
        ("output_zero_point", zero_point(graph, node.output)),
        *factor_fields(factor),
        *zip(("minimum", "maximum"), ends, strict=True),
    )
    return Call(HEADER_16, _RESCALES[kinds], "ek_rescale_params", fields, (), 0)


_RESCALES = {
    (DType.INT16, DType.INT16): "ek_rescale_16",
    (DType.INT8, DType.INT16): "ek_rescale_8_to_16",
    (DType.INT16, DType.INT8): "ek_rescale_16_to_8",
}


def leaky_relu(graph: Graph, node: Node, symbol: str) -> Call:
    """One factor on each side of zero."""
    assert isinstance(node.attrs, LeakyAttrs)
    slope = float(below_factor(graph, node))
    fields: Fields = (
        ("size", graph.values[node.output].elements),
        *factor_fields(quantize_multiplier(float(scale_ratio(graph, node)))),
        *factor_fields(quantize_multiplier(abs(slope)), "below_"),
        ("below_sign", -1 if slope < 0 else 1),
    )
    return Call(HEADER_16, "ek_leaky_relu_16", "ek_leaky_relu_16_params", fields, (), 0)


def absolute(graph: Graph, node: Node, symbol: str) -> Call:
    """A factor between the encodings."""
    factor = quantize_multiplier(float(scale_ratio(graph, node)))
    fields: Fields = (("size", graph.values[node.output].elements), *factor_fields(factor))
    return Call(HEADER_16, "ek_abs_16", "ek_abs_16_params", fields, (), 0)


def lookup(graph: Graph, node: Node, symbol: str) -> Call:
    """513 samples of the function, between which the kernel interpolates."""
    table = constant(f"model_{symbol}_table", samples_of(graph, node).astype(np.int16))
    fields: Fields = (("size", graph.values[node.output].elements), ("table", table.name))
    return Call(HEADER_16, "ek_lookup_16", "ek_lookup_16_params", fields, (table,), 0)


def sigmoid(graph: Graph, node: Node, symbol: str) -> Call:
    """LOGISTIC, and TANH as 2 · sigmoid(2x) - 1, from one table: `int_kernels.tables_int16`."""
    table = Constant("model_sigmoid_table", "uint16_t", tuple(map(str, SIGMOID.tolist())))
    place = place_factor(graph, node)
    fields: Fields = (
        ("size", graph.values[node.output].elements),
        ("table", table.name),
        *(("multiplier", place.multiplier), ("shift", -place.shift)),
        *(_TANH if node.op is Op.TANH else _LOGISTIC),
    )
    return Call(HEADER_16, "ek_sigmoid_16", "ek_sigmoid_16_params", fields, (table,), 0)


# What is read is a share in 1 / 2^25 (logistic) or 1 / 2^24; the last bits round it half up.
_LOGISTIC: Fields = (
    *(("bits", 9), ("saturated", 0x7FFF << 10)),
    *(("above", 1 << 9), ("below", (1 << 25) + (1 << 9) - 1), ("out_shift", 10)),
)
_TANH: Fields = (
    *(("bits", 8), ("saturated", 0xFFFF << 8)),
    ("above", (1 << 7) - (1 << 23)),
    *(("below", (1 << 23) + (1 << 7) - 1), ("out_shift", 8)),
)


def softmax(graph: Graph, node: Node, symbol: str) -> Call:
    """Two tables, which all softmaxes of a model share."""
    shape = graph.values[node.output].shape
    if shape[-1] >= _MOST_CLASSES:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 32 bits")
    exp, reciprocal = (
        constant(f"model_{name}_table", table.astype(np.int16))
        for name, table in (("exp", EXP), ("reciprocal", RECIPROCAL))
    )
    fields: Fields = (
        ("rows", graph.values[node.output].elements // shape[-1]),
        ("classes", shape[-1]),
        *factor_fields(difference_factor(float(scale_of(graph, node.inputs[0])))),
        *(("exp", exp.name), ("reciprocal", reciprocal.name)),
    )
    return Call(HEADER_16, "ek_softmax_16", "ek_softmax_16_params", fields, (exp, reciprocal), 0)
