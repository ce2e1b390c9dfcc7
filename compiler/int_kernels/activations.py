"""Activations of integers that LiteRT computes in fixed point.

Its activations.cc, reference/leaky_relu.h, prelu.h and hard_swish.h, and elementwise.cc for ABS.
Factors are quotients of scales in float32, widened to double precision.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import GrammarError
from ..fixedpoint import Int64, Multiplier, high_product, multiply, quantize_multiplier
from ..fixedpoint import rounding_shift as shift_right
from ..graph import Graph, Node
from ..ops import Activation, LeakyAttrs, Op
from .codes import Codes, scale_of, steps
from .requantize import encoded

Kernel = Callable[..., Codes]
_INT16 = (-(1 << 15), (1 << 15) - 1)


def scale_ratio(graph: Graph, node: Node) -> np.float32:
    """The scale of the node's input in steps of its output."""
    return np.float32(scale_of(graph, node.inputs[0]) / scale_of(graph, node.output))


def _relu(activation: Activation) -> Kernel:
    """The output has its own encoding: rescaled, then clamped."""

    def kernel(graph: Graph, node: Node, x: Codes) -> Codes:
        factor = quantize_multiplier(float(scale_ratio(graph, node)))
        scaled = multiply(steps(graph, node.inputs[0], x), (factor,))
        return encoded(graph, node, scaled, activation)

    return kernel


def _leaky_relu(graph: Graph, node: Node, x: Codes) -> Codes:
    values = steps(graph, node.inputs[0], x)
    kept = quantize_multiplier(float(scale_ratio(graph, node)))
    below = _signed_multiply(values, float(below_factor(graph, node)))
    return encoded(graph, node, np.where(values >= 0, multiply(values, (kept,)), below))


def below_factor(graph: Graph, node: Node) -> np.float32:
    """What LEAKY_RELU multiplies steps below zero with."""
    assert isinstance(node.attrs, LeakyAttrs)
    alpha = np.float32(node.attrs.alpha)
    factor: np.float32 = scale_of(graph, node.inputs[0]) * alpha / scale_of(graph, node.output)
    return factor


def _signed_multiply(values: Int64, real: float) -> Int64:
    """A negative factor is applied as its size, then the sign is turned."""
    scaled = multiply(values, (quantize_multiplier(abs(real)),))
    return -scaled if real < 0 else scaled


def _prelu(graph: Graph, node: Node, x: Codes, slopes: Codes) -> Codes:
    values = steps(graph, node.inputs[0], x)
    products = values * steps(graph, node.inputs[1], slopes)
    scale, slope = (scale_of(graph, name) for name in node.inputs)
    kept = quantize_multiplier(float(scale_ratio(graph, node)))
    below = quantize_multiplier(float(scale * slope / scale_of(graph, node.output)))
    chosen = np.where(values >= 0, multiply(values, (kept,)), multiply(products, (below,)))
    return encoded(graph, node, chosen)


def _abs(graph: Graph, node: Node, x: Codes) -> Codes:
    """Exact where both encodings have one scale."""
    factor = quantize_multiplier(float(scale_ratio(graph, node)))
    return encoded(graph, node, multiply(np.abs(steps(graph, node.inputs[0], x)), (factor,)))


def _hard_swish(graph: Graph, node: Node, x: Codes) -> Codes:
    """x · relu6(x + 3) / 6 in int16: x on a scale 128 times finer, relu6(x + 3) / 6 as Q0.15."""
    output, gate = _hard_swish_factors(graph, node)
    fine = steps(graph, node.inputs[0], x) << 7
    unshifted = _high_product16(fine, output.multiplier)
    share = _saturate16(fine << max(gate.shift - 1, 0))
    share = _high_product16(share, gate.multiplier)
    if gate.shift > 0:
        share = _saturate16(share << 1)
    share = shift_right(share, np.array(max(-gate.shift, 0)))
    product = ((share + (1 << 15)) >> 1) * unshifted
    truncated = np.sign(product) * (np.abs(product) >> 15)  # C division by 2^15
    return encoded(graph, node, shift_right(truncated, np.array(-output.shift)))


def _hard_swish_factors(graph: Graph, node: Node) -> tuple[Multiplier, Multiplier]:
    """int16 factors from x, 128 times finer, to the output's scale and to thirds of 2^15."""
    fine = np.float32(1 / 128) * scale_of(graph, node.inputs[0])
    output = quantize_multiplier(float(fine / scale_of(graph, node.output)))
    # LiteRT refuses factors above 1 and shifts int16 by at most 15 bits.
    if not -15 <= output.shift <= 0:
        raise GrammarError(
            f"{graph.name}: node '{node.name}' ({node.op}): its input's scale must be 1/256 to 128 "
            "times its output's; calibrate with samples that reach positive values"
        )
    gate = quantize_multiplier(float(fine / np.float32(3 / 32768)))
    return _to_int16(output), _to_int16(gate)


def _to_int16(factor: Multiplier) -> Multiplier:
    """The nearest factor with a multiplier of 15 bits."""
    return Multiplier(min((factor.multiplier + (1 << 15)) >> 16, _INT16[1]), factor.shift)


def _high_product16(values: Int64, multiplier: int) -> Int64:
    """round(values · multiplier / 2^15), as `high_product` does it for 31 bits."""
    return high_product(values << 16, np.array(multiplier, np.int64))


def _saturate16(values: Int64) -> Int64:
    return np.clip(values, *_INT16)


ACTIVATIONS: dict[Op, Kernel] = {
    Op.RELU: _relu(Activation.RELU),
    Op.RELU6: _relu(Activation.RELU6),
    Op.LEAKY_RELU: _leaky_relu,
    Op.PRELU: _prelu,
    Op.HARD_SWISH: _hard_swish,
    Op.ABS: _abs,
}
"""int8."""

ACTIVATIONS_INT16: dict[Op, Kernel] = {
    op: ACTIVATIONS[op] for op in (Op.RELU, Op.RELU6, Op.LEAKY_RELU, Op.ABS)
}
