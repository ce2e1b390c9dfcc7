"""Operators along time as kernel calls: c/common/ek_recurrent.h.

What SVDF remembers lies beside the activations; the cell of an LSTM is scratch, its state is the
output of the step before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .emit_c_call import Call
from .emit_c_layer import Constant, Fields, constant, zero_point
from .emit_c_pack import Int8, blocks_of_rows, fold
from .emit_c_text import braces
from .errors import EmitError
from .fixedpoint import Multiplier
from .grammar_recurrent import GATES
from .graph import Array, Graph, Node
from .int_kernels.recurrent import lstm_factors, svdf_factors
from .ops import LstmAttrs, SvdfAttrs
from .streams import variables

HEADER = "ek_recurrent.h"
_CELL_BYTES = 2
_INT32 = (1 << 31) - 1


def svdf(graph: Graph, node: Node, symbol: str) -> Call:
    """Products of the frame as in a dense layer without a bias, then sums in time."""
    assert isinstance(node.attrs, SvdfAttrs)
    weights, in_time, bias = (graph.constant(name) for name in node.inputs[1:])
    filters, features = weights.shape
    filter_bias = _folded(
        node, weights, np.zeros(filters, np.int32), zero_point(graph, node.inputs[0])
    )
    data = {
        "weights": blocks_of_rows(weights),
        "filter_bias": filter_bias,
        "in_time": in_time,
        "bias": bias,
    }
    arrays = _arrays(symbol, data)
    to_state, to_output = svdf_factors(graph, node)
    fields: Fields = (
        *(("features", features), ("memory", in_time.shape[1])),
        *(("units", node.attrs.units(filters)), ("rank", node.attrs.rank)),
        *((what, array.name) for what, array in arrays.items()),
        *(("state_multiplier", to_state.multiplier), ("state_shift", to_state.shift)),
        *(("output_multiplier", to_output.multiplier), ("output_shift", to_output.shift)),
        ("output_zero_point", zero_point(graph, node.output)),
    )
    state = sum(value.nbytes for value in variables(graph, node))
    constants = tuple(arrays.values())
    return Call(HEADER, "ek_svdf", "ek_svdf_params", fields, constants, 0, state_bytes=state)


def lstm(graph: Graph, node: Node, symbol: str) -> Call:
    """The whole sequence in one call."""
    assert isinstance(node.attrs, LstmAttrs)
    constants = [graph.constant(name) for name in node.inputs[1:]]
    weights, of_state, biases = (
        _woven(constants[at : at + GATES]) for at in range(0, 3 * GATES, GATES)
    )
    factors = lstm_factors(graph, node)
    of_input = _gates(
        node, f"{symbol}_", weights, biases, zero_point(graph, node.inputs[0]), factors.inputs
    )
    nothing = np.zeros_like(biases)
    of_past = _gates(
        node, f"{symbol}_state_", of_state, nothing, zero_point(graph, node.output), factors.states
    )
    _, steps, features = graph.values[node.inputs[0]].shape
    units = graph.values[node.output].shape[-1]
    fields: Fields = (
        *(("steps", steps), ("features", features), ("units", units)),
        *(("of_input", of_input.fields), ("of_state", of_past.fields)),
        *(("cell_bits", node.attrs.cell_bits), ("clip", node.attrs.clip_steps)),
        *(("output_multiplier", factors.output.multiplier), ("output_shift", factors.output.shift)),
        ("output_zero_point", node.attrs.shown_zero_point),
    )
    kept = (*of_input.arrays, *of_past.arrays)
    return Call(HEADER, "ek_lstm", "ek_lstm_params", fields, kept, _CELL_BYTES * units)


@dataclass(frozen=True, slots=True)
class _Gates:
    """The initialiser of an `ek_gates`, and its arrays."""

    fields: str
    arrays: tuple[Constant, ...]


def _gates(
    node: Node,
    prefix: str,
    rows: Int8,
    bias: Array,
    zero: int,
    factors: tuple[Multiplier, ...],
) -> _Gates:
    """Products of rows (units · gates, size) with what is stored around `zero`."""
    taps = rows.reshape(-1, GATES, rows.shape[1]).transpose(0, 2, 1)
    arrays = _arrays(prefix[:-1], {"weights": taps, "bias": _folded(node, rows, bias, zero)})
    fields: Fields = (
        *((what, array.name) for what, array in arrays.items()),
        ("multiplier", _list(factor.multiplier for factor in factors)),
        ("shift", _list(factor.shift for factor in factors)),
    )
    return _Gates(braces(fields), tuple(arrays.values()))


def _woven(of_gates: list[Array]) -> Array:
    """Rows or numbers of the four gates of a unit side by side, unit by unit."""
    return np.stack(of_gates, axis=1).reshape(-1, *of_gates[0].shape[1:])


def _folded(node: Node, rows: Int8, bias: Array, zero: int) -> Array:
    """Biases (rows,) with the zero point in them; sums of what is stored must fit 32 bits."""
    sums = fold(rows, bias, zero)
    if max(sums.largest, int(np.abs(sums.bias).max())) > _INT32:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 32 bits")
    return sums.bias.astype(np.int32)


def _arrays(symbol: str, data: Mapping[str, Array]) -> dict[str, Constant]:
    """Arrays of the weights file by the field that points to each."""
    return {what: constant(f"model_{symbol}_{what}", each) for what, each in data.items()}


def _list(numbers: Iterable[int]) -> str:
    """The initialiser of an array."""
    return f"{{{', '.join(map(str, numbers))}}}"
