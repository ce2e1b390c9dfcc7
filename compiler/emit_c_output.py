"""From a convolution's sums to its outputs: the `ek_output` that kernels of every family take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .emit_c_call import bounds, dsp_can
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_pack import Sums
from .emit_c_text import braces
from .fixedpoint import Multiplier, multiply
from .graph import Graph, Node
from .int_kernels.common import channel_multipliers


@dataclass(frozen=True, slots=True)
class Outputs:
    """Sums and factors of each channel, and the initialiser of an `ek_output` of them."""

    text: str
    arrays: tuple[Constant, ...]  # that the text names
    sums: Sums
    factors: tuple[Multiplier, ...]
    dsp: bool  # the few instructions of c/dsp/ek_finish.h do not overflow

    @property
    def shifts(self) -> tuple[int, ...]:
        """Powers of two in the factors."""
        return tuple(factor.shift for factor in self.factors)


def outputs(graph: Graph, node: Node, symbol: str, sums: Sums) -> Outputs:
    """How the `sums` of each channel of a convolution are scaled."""
    return ordered(graph, node, symbol, *_without_constants(graph, node, sums))


def ordered(
    graph: Graph, node: Node, symbol: str, sums: Sums, factors: tuple[Multiplier, ...]
) -> Outputs:
    """The same of sums and factors that a kernel takes in an order of its own."""
    low, high = bounds(graph, node)
    offset = zero_point(graph, node.output)
    arrays = (
        constant(f"model_{symbol}_bias", sums.bias.astype(np.int32)),
        constant(f"model_{symbol}_multiplier", np.array([f.multiplier for f in factors], np.int32)),
        constant(f"model_{symbol}_shift", np.array([f.shift for f in factors], np.int8)),
    )
    names = (array.name for array in arrays)
    fields: Fields = (
        *zip(("bias", "multiplier", "shift"), names, strict=True),
        ("zero_point", offset),
        *(("minimum", low), ("maximum", high)),
    )
    dsp = dsp_can(sums.largest, (factor.shift for factor in factors), offset)
    return Outputs(braces(fields), arrays, sums, factors, dsp)


def _without_constants(graph: Graph, node: Node, sums: Sums) -> tuple[Sums, tuple[Multiplier, ...]]:
    """Factors and sums, with those of channels whose weights are all 0 replaced by plain ones.

    Training leaves such channels dead, with factors and biases of any size; sums of twice the
    output and a factor of 1/2 give the same constant.
    """
    offset, (low, high) = zero_point(graph, node.output), bounds(graph, node)
    factors = channel_multipliers(graph, node)
    results = np.clip(offset + multiply(sums.low, factors), low, high)
    constant_channels = sums.low == sums.high
    plain = 2 * (results - offset)
    replaced = (np.where(constant_channels, plain, s) for s in (sums.bias, sums.low, sums.high))
    half = Multiplier(1 << 30, 0)
    return Sums(*replaced), tuple(
        half if dead else factor for dead, factor in zip(constant_channels, factors, strict=True)
    )
