"""Requantization that the integer kernels share: factors, ranges and rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..fixedpoint import Multiplier, quantize_multiplier
from ..graph import Graph, Node, QuantParams

Int8 = npt.NDArray[np.int8]
ADD_LEFT_SHIFT = 20


def params(graph: Graph, name: str) -> QuantParams:
    """Quantization parameters of the value `name`."""
    quant = graph.values[name].quant
    if quant is None:
        raise KeyError(f"'{name}' is not quantized")
    return quant


def channel_multipliers(graph: Graph, node: Node) -> tuple[Multiplier, ...]:
    """The requantization factor of every output channel of a convolution."""
    x, output = params(graph, node.inputs[0]), params(graph, node.output)
    return tuple(
        quantize_multiplier(x.scale[0] * scale / output.scale[0])
        for scale in weight_scales(graph, node)
    )


def dense_factors(graph: Graph, node: Node) -> tuple[float, ...]:
    """The double-precision requantization factor of every output of a fully connected layer."""
    x, output = params(graph, node.inputs[0]), params(graph, node.output)
    return tuple(x.scale[0] * scale / output.scale[0] for scale in weight_scales(graph, node))


def weight_scales(graph: Graph, node: Node) -> tuple[float, ...]:
    """One weight scale for each output channel, also where one scale holds for them all."""
    scales = params(graph, node.inputs[1]).scale
    channels = graph.values[node.inputs[2]].elements
    return scales * channels if len(scales) == 1 else scales


def add_multipliers(
    a: QuantParams, b: QuantParams, output: QuantParams, left_shift: int = ADD_LEFT_SHIFT
) -> tuple[Multiplier, ...]:
    """Factors of ADD and SUB: first operand, second operand, output.

    Operands are made finer by `left_shift` bits, so that rounding them costs nothing.
    """
    twice = 2.0 * max(a.scale[0], b.scale[0])
    return (
        quantize_multiplier(a.scale[0] / twice),
        quantize_multiplier(b.scale[0] / twice),
        quantize_multiplier(twice / ((1 << left_shift) * output.scale[0])),
    )


def mean_multiplier(x: QuantParams, output: QuantParams, count: int) -> Multiplier:
    """The factor of MEAN over `count` elements: the division is folded into it."""
    real = quantize_multiplier(x.scale[0] / output.scale[0])
    shift = min(count.bit_length() - 1, 32, 31 + real.shift)
    return Multiplier((real.multiplier << shift) // count, real.shift - shift)
