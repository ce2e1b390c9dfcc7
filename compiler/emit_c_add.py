"""ADD as a kernel call of a family."""

from __future__ import annotations

from .emit_c_binary import addend, binary
from .emit_c_call import Call, bounds, dsp_can, finish, helium_can
from .emit_c_family import Family
from .emit_c_layer import Fields, zero_point
from .graph import Graph, Node
from .int_kernels.common import add_multipliers, params

# Each operand's magnitude: 255 · 2^20, and at most half of that once it is scaled.
_LARGEST = 255 << 20


def add(graph: Graph, node: Node, symbol: str, family: Family) -> Call:
    """Two activations of one shape, or what else ADD can take, by a slower kernel."""
    if any(_unlike_output(graph, node, name) for name in node.inputs):
        return binary(graph, node, symbol)
    a, b, output = (params(graph, name) for name in (*node.inputs, node.output))
    factors = add_multipliers(a, b, output)
    low, high = bounds(graph, node)
    fields: Fields = (
        ("size", graph.values[node.output].elements),
        ("a", addend(zero_point(graph, node.inputs[0]), factors[0])),
        ("b", addend(zero_point(graph, node.inputs[1]), factors[1])),
        ("output_multiplier", factors[2].multiplier),
        ("output_shift", factors[2].shift),
        ("output_zero_point", zero_point(graph, node.output)),
        *(("minimum", low), ("maximum", high)),
    )
    shifts = [factor.shift for factor in factors]
    if family is Family.HELIUM and helium_can(shifts):
        return Call("ek_helium_kernels.h", "ek_helium_add", "ek_add_params", fields, (), 0)
    # Operands are brought to numbers that are scaled in the same way, around zero.
    fits = dsp_can(_LARGEST, shifts[:2], 0) and dsp_can(_LARGEST, shifts[2:], output.zero_point[0])
    if family is Family.DSP and fits:
        kernel = f"ek_dsp_add_{finish(graph, node)}"
        return Call("ek_dsp_kernels.h", kernel, "ek_add_params", fields, (), 0)
    return Call("ek_kernels.h", "ek_add", "ek_add_params", fields, (), 0)


def _unlike_output(graph: Graph, node: Node, name: str) -> bool:
    value = graph.values[name]
    return value.data is not None or value.shape != graph.values[node.output].shape
