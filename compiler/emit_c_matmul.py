"""BATCH_MATMUL as a kernel call; either operand may be constant."""

from __future__ import annotations

import numpy as np

from .emit_c_axes import (
    AXES,
    HEADER,
    Walk,
    broadcast_of,
    dense_strides,
    factor_fields,
    merged,
)
from .emit_c_binary import operands
from .emit_c_call import Call
from .emit_c_layer import Fields, zero_point
from .errors import EmitError
from .fixedpoint import Multiplier, quantize_multiplier
from .graph import Graph, Node
from .int_kernels.common import params
from .ops import MatmulAttrs

_LARGEST_INNER = (1 << 31) // (255 * 255)


def batch_matmul(graph: Graph, node: Node, symbol: str) -> Call:
    """One product of matrices for each place of the axes before them."""
    assert isinstance(node.attrs, MatmulAttrs)
    output = graph.values[node.output].shape
    inner = graph.values[node.inputs[0]].shape[-1]
    if inner >= _LARGEST_INNER:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 32 bits")
    transposed = node.attrs.transpose_b
    fields: Fields = (
        ("batches", broadcast_of(batches_of(graph, node))),
        *(("rows", output[-2]), ("inner", inner), ("columns", output[-1])),
        ("b_row", 1 if transposed else output[-1]),
        ("b_column", inner if transposed else 1),
        ("a_zero_point", zero_point(graph, node.inputs[0])),
        ("b_zero_point", zero_point(graph, node.inputs[1])),
        ("output_zero_point", zero_point(graph, node.output)),
        *factor_fields(product_factor(graph, node)),
    )
    return Call(
        header=HEADER,
        kernel="ek_batch_matmul",
        params_type="ek_batch_matmul_params",
        fields=fields,
        constants=(),
        scratch_bytes=0,
        operands=operands(graph, node, symbol),
    )


def product_factor(graph: Graph, node: Node) -> Multiplier:
    """As the integer kernel: the product of the operands' scales is a float32."""
    scales = [params(graph, name).scale[0] for name in (*node.inputs, node.output)]
    return quantize_multiplier(float(np.float32(scales[0]) * np.float32(scales[1])) / scales[2])


def batches_of(graph: Graph, node: Node) -> Walk:
    """Strides of the operands' matrices; the walk's last axis is not used."""
    batches = graph.values[node.output].shape[:-2]
    strides = []
    for name in node.inputs:
        shape = graph.values[name].shape
        own = zip(shape[:-2], dense_strides(shape), strict=False)
        steps = tuple(0 if size == 1 else stride for size, stride in own)
        strides.append((0,) * (len(batches) - len(steps)) + steps)
    walk = merged(node, batches, *strides, axes=AXES - 1)
    return Walk((*walk.shape, 1), tuple((*steps, 0) for steps in walk.strides))
