"""What convolutions of every family share: factors of double rounding, and the `ek_output`."""

from __future__ import annotations

import numpy as np

from .emit_c_call import bounds
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_pack import Sums
from .emit_c_text import braces
from .fixedpoint import Multiplier, multiply
from .graph import Graph, Node
from .int_kernels.common import channel_multipliers


def without_constants(graph: Graph, node: Node, sums: Sums) -> tuple[Sums, tuple[Multiplier, ...]]:
    """Factors and sums, with those of channels whose weights are all 0 replaced by plain ones.

    Training leaves such channels dead, with factors and biases of any size; sums of twice the
    output and a factor of 1/2 give the same constant.
    """
    offset, (low, high) = zero_point(graph, node.output), bounds(graph, node)
    factors = channel_multipliers(graph, node)
    outputs = np.clip(offset + multiply(sums.low, factors), low, high)
    constant_channels = sums.low == sums.high
    plain = 2 * (outputs - offset)
    replaced = (np.where(constant_channels, plain, s) for s in (sums.bias, sums.low, sums.high))
    half = Multiplier(1 << 30, 0)
    return Sums(*replaced), tuple(
        half if dead else factor for dead, factor in zip(constant_channels, factors, strict=True)
    )


def output_of(
    graph: Graph, node: Node, symbol: str, sums: Sums, factors: tuple[Multiplier, ...]
) -> tuple[str, tuple[Constant, ...]]:
    """The initialiser of an `ek_output`, and the arrays that it names."""
    low, high = bounds(graph, node)
    arrays = (
        constant(f"model_{symbol}_bias", sums.bias.astype(np.int32)),
        constant(f"model_{symbol}_multiplier", np.array([f.multiplier for f in factors], np.int32)),
        constant(f"model_{symbol}_shift", np.array([f.shift for f in factors], np.int8)),
    )
    names = (array.name for array in arrays)
    fields: Fields = (
        *zip(("bias", "multiplier", "shift"), names, strict=True),
        ("zero_point", zero_point(graph, node.output)),
        *(("minimum", low), ("maximum", high)),
    )
    return braces(fields), arrays
