"""Operators on two tensors that broadcast, as kernel calls; either may be constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .emit_c_axes import HEADER, broadcast_of, broadcast_strides, factor_fields, merged
from .emit_c_call import HEADER_16, Call, bounds, is_int16
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_lookup import depends_on_one_code, lookup
from .emit_c_text import braces
from .fixedpoint import Multiplier, quantize_multiplier
from .graph import Graph, Node
from .int_kernels.binary import FINER_BITS
from .int_kernels.codes import scale_of
from .int_kernels.common import add_multipliers, params
from .ops import Op


def binary(graph: Graph, node: Node, symbol: str) -> Call:
    """A walk over both; of int8 a table where one operand is a single number."""
    wide = is_int16(graph, node)
    if not wide and depends_on_one_code(graph, node):
        return lookup(graph, node, symbol)
    output = graph.values[node.output].shape
    strides = (broadcast_strides(graph.values[name].shape, output) for name in node.inputs)
    axes = broadcast_of(merged(node, output, *strides))
    kernel, params_type, fields = _KERNELS[node.op]
    return Call(
        header=HEADER_16 if wide else HEADER,
        kernel=f"{kernel}_16" if wide else kernel,
        params_type=params_type,
        fields=(("axes", axes), *fields(graph, node)),
        constants=(),
        scratch_bytes=0,
        operands=operands(graph, node, symbol),
    )


def operands(graph: Graph, node: Node, symbol: str) -> tuple[Constant | str, ...]:
    """Names of activations, and constants as arrays of codes."""
    return tuple(
        name
        if (data := graph.values[name].data) is None
        else constant(f"model_{symbol}_operand_{index}", data)
        for index, name in enumerate(node.inputs)
    )


def addend(offset: int, factor: Multiplier) -> str:
    """The initialiser of an `ek_addend`."""
    return braces(
        (("zero_point", offset), ("multiplier", factor.multiplier), ("shift", factor.shift))
    )


def _sum(graph: Graph, node: Node) -> Fields:
    a, b, output = (params(graph, name) for name in (*node.inputs, node.output))
    finer = FINER_BITS[graph.values[node.output].dtype]
    left, right, last = add_multipliers(a, b, output, finer)
    low, high = bounds(graph, node)
    return (
        ("a", addend(a.zero_point[0], left)),
        ("b", addend(b.zero_point[0], right)),
        *factor_fields(last, "output_"),
        ("output_zero_point", output.zero_point[0]),
        *(("minimum", low), ("maximum", high)),
    )


def _mul(graph: Graph, node: Node) -> Fields:
    left, right = (scale_of(graph, name) for name in node.inputs)
    factor = quantize_multiplier(float(left * right / scale_of(graph, node.output)))
    low, high = bounds(graph, node)
    return (
        ("a_zero_point", zero_point(graph, node.inputs[0])),
        ("b_zero_point", zero_point(graph, node.inputs[1])),
        ("output_zero_point", zero_point(graph, node.output)),
        *factor_fields(factor),
        *(("minimum", low), ("maximum", high)),
    )


def _prelu(graph: Graph, node: Node) -> Fields:
    scale, slope = (scale_of(graph, name) for name in node.inputs)
    output = scale_of(graph, node.output)
    return (
        ("input_zero_point", zero_point(graph, node.inputs[0])),
        ("slope_zero_point", zero_point(graph, node.inputs[1])),
        ("output_zero_point", zero_point(graph, node.output)),
        *factor_fields(quantize_multiplier(float(scale / output))),
        *factor_fields(quantize_multiplier(float(scale * slope / output)), "below_"),
    )


def _choice(graph: Graph, node: Node) -> Fields:
    """All three share one encoding."""
    return ()


_KERNELS: Mapping[Op, tuple[str, str, Callable[[Graph, Node], Fields]]] = {
    Op.ADD: ("ek_add_axes", "ek_sum_params", _sum),
    Op.SUB: ("ek_sub", "ek_sum_params", _sum),
    Op.MUL: ("ek_mul", "ek_mul_params", _mul),
    Op.MINIMUM: ("ek_minimum", "ek_choice_params", _choice),
    Op.MAXIMUM: ("ek_maximum", "ek_choice_params", _choice),
    Op.PRELU: ("ek_prelu", "ek_prelu_params", _prelu),
}
