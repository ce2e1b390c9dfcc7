"""Operators along time in int8; what they remember is int16.

LiteRT's reference/svdf.h and lstm_eval.cc (8 bits, with a cell of 16). Sums have 32 bits there and
wrap around, which takes weights that no training gives; they wrap here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..fixedpoint import Int64, Multiplier, multiply, quantize_multiplier, rounding_shift
from ..float_kernels.recurrent import weigh_in_time
from ..grammar_recurrent import GATE_SCALE, GATES
from ..graph import Array, Graph, Node
from ..ops import LstmAttrs, Op, SvdfAttrs
from .common import params
from .gates import sigmoid, tanh
from .requantize import centred, encoded, exact_product

_INT8 = (-(1 << 7), (1 << 7) - 1)
_INT16 = (-(1 << 15), (1 << 15) - 1)
_GATE_BITS = 3  # integer bits of what a gate's activation reads


def svdf_factors(graph: Graph, node: Node) -> tuple[Multiplier, Multiplier]:
    """From sums of a frame to what is remembered, and from sums of that to the output."""
    assert isinstance(node.attrs, SvdfAttrs)
    x, weights, in_time = (params(graph, name).scale[0] for name in node.inputs[:3])
    state, output = node.attrs.state_scale, params(graph, node.output).scale[0]
    return quantize_multiplier(x * weights / state), quantize_multiplier(state * in_time / output)


def _svdf(graph: Graph, node: Node, x: Array, weights: Array, in_time: Array, bias: Array) -> Array:
    assert isinstance(node.attrs, SvdfAttrs)
    to_state, to_output = svdf_factors(graph, node)
    sums = exact_product(graph, node, centred(graph, node.inputs[0], x), weights.T)
    filters = np.clip(_scaled(sums, to_state), *_INT16)
    weighed = weigh_in_time(filters, in_time.astype(np.int64))
    totals = weighed.reshape(len(x), -1, node.attrs.rank).sum(axis=2) + bias
    return encoded(graph, node, _scaled(totals, to_output))


@dataclass(frozen=True, slots=True)
class LstmFactors:
    """Of the input and of the state to Q3.12, gate by gate, and of the output to its codes."""

    inputs: tuple[Multiplier, ...]
    states: tuple[Multiplier, ...]
    output: Multiplier


def lstm_factors(graph: Graph, node: Node) -> LstmFactors:
    """The factors of a node; their real values are float32 in the kernel."""
    assert isinstance(node.attrs, LstmAttrs)
    x, output = (np.float32(params(graph, name).scale[0]) for name in (node.inputs[0], node.output))
    scales = [np.float32(params(graph, name).scale[0]) for name in node.inputs[1 : 1 + 2 * GATES]]
    gate = np.float32(GATE_SCALE)
    return LstmFactors(
        tuple(quantize_multiplier(float(scale * x / gate)) for scale in scales[:GATES]),
        tuple(quantize_multiplier(float(scale * output / gate)) for scale in scales[GATES:]),
        quantize_multiplier(float(np.float32(2.0**-30 / node.attrs.shown_scale))),
    )


def _lstm(graph: Graph, node: Node, x: Array, *constants: Array) -> Array:
    assert isinstance(node.attrs, LstmAttrs)
    factors = lstm_factors(graph, node)
    weights, of_state, biases = (constants[at : at + GATES] for at in range(0, 3 * GATES, GATES))
    values = centred(graph, node.inputs[0], x)
    shares = [
        _scaled(exact_product(graph, node, values, each.T) + bias, factor)
        for each, bias, factor in zip(weights, biases, factors.inputs, strict=True)
    ]
    hidden = np.zeros((len(x), len(biases[0])), np.int32)  # less its zero point
    cell = np.zeros(hidden.shape, np.int64)
    outputs = np.empty((len(x), x.shape[1], hidden.shape[1]), np.int8)
    for step in range(x.shape[1]):
        sums = [
            _added(share[:, step], _scaled(exact_product(graph, node, hidden, each.T), factor))
            for share, each, factor in zip(shares, of_state, factors.states, strict=True)
        ]
        cell, shown = _advanced(node.attrs, cell, sums)
        codes = multiply(shown, (factors.output,)) + node.attrs.shown_zero_point
        outputs[:, step] = np.clip(codes, *_INT8)
        hidden = centred(graph, node.output, outputs[:, step])
    return outputs


def _added(share: Int64, of_state: Int64) -> Int64:
    """Both parts of a gate in 16 bits."""
    total: Int64 = np.clip(np.clip(share, *_INT16) + of_state, *_INT16)
    return total


def _advanced(attrs: LstmAttrs, cell: Int64, sums: list[Int64]) -> tuple[Int64, Int64]:
    """The cell after a step, and what its output gate lets through as Q0.30."""
    take, keep, shown = (sigmoid(sums[gate]) for gate in (0, 1, 3))
    new = take * tanh(sums[2], _GATE_BITS)
    kept = rounding_shift(keep * cell, np.array(15))
    cell = np.clip(kept + rounding_shift(new, np.array(30 + attrs.cell_bits)), *_INT16)
    if attrs.clip_steps:
        cell = np.clip(cell, -attrs.clip_steps, attrs.clip_steps)
    return cell, shown * tanh(cell, 15 + attrs.cell_bits)


def _scaled(values: Int64, factor: Multiplier) -> Int64:
    """`fixedpoint.multiply` of sums that wrap around, also where the factor shifts left."""
    left = max(factor.shift, 0)
    shifted = _wrapped(_wrapped(values) << left)
    return multiply(shifted, (Multiplier(factor.multiplier, factor.shift - left),))


def _wrapped(values: Int64) -> Int64:
    """What 32 bits hold of them."""
    return values.astype(np.uint32).view(np.int32).astype(np.int64)


RECURRENT: dict[Op, Callable[..., Array]] = {
    Op.SVDF: _svdf,
    Op.UNIDIRECTIONAL_SEQUENCE_LSTM: _lstm,
}
"""int8."""
