"""Rules of operators along time, in integers: what LiteRT's kernels take, and nothing more.

Their weights have one scale, and so does what they remember.
"""

from __future__ import annotations

import math

from .errors import GrammarError
from .graph import DType, Graph, Node, Value
from .ops import Activation, LstmAttrs, Op, SvdfAttrs

OPERANDS_ALONG_TIME = {Op.SVDF: 4, Op.UNIDIRECTIONAL_SEQUENCE_LSTM: 13}
CELL_BITS = range(-15, -8)  # exponents of one step of an LSTM's cell that tanh is there for
GATES = 4
GATE_SCALE = 2.0**-12  # one step of what a gate's activation reads
_LARGEST_FACTOR = 2.0**30
_LIKE = 1e-6  # scales that are products of others, in float32


def check_along_time(graph: Graph, node: Node, where: str) -> None:
    """Raise GrammarError where an int8 node is not encoded as its kernel reads it.

    `where` begins the message.
    """
    x, output = graph.values[node.inputs[0]], graph.values[node.output]
    if x.dtype is not DType.INT8:
        raise GrammarError(f"{where} has no {x.dtype} form")
    constants = [graph.values[name] for name in node.inputs[1:]]
    if isinstance(node.attrs, SvdfAttrs):
        _check_svdf(node.attrs, constants, _scale(x, where), _scale(output, where), where)
    elif isinstance(node.attrs, LstmAttrs):
        _check_lstm(node.attrs, constants, _scale(x, where), _scale(output, where), where)


def check_mixed(graph: Graph) -> None:
    """Raise GrammarError for an LSTM in float32, and for one beside a node that remembers.

    An engine forgets everything before a sequence, or nothing.
    """
    for node in graph.nodes:
        if node.op is not Op.UNIDIRECTIONAL_SEQUENCE_LSTM:
            continue
        where = f"{graph.name}: node '{node.name}' ({node.op})"
        if graph.values[node.inputs[0]].dtype is DType.FLOAT32:
            raise GrammarError(f"{where} has no float32 form; unroll it")
        if graph.is_stream:
            raise GrammarError(f"{where} begins anew where the frames of a stream go on")


def _check_svdf(
    attrs: SvdfAttrs, constants: list[Value], x: float, output: float, where: str
) -> None:
    if attrs.activation is not Activation.NONE:
        raise GrammarError(f"{where} has no activation in int8")
    weights, in_time, bias = constants
    state = attrs.state_scale
    if not (math.isfinite(state) and state > 0.0):
        raise GrammarError(f"{where}: its state has scale {state:g}")
    scale = state * _symmetric(in_time, DType.INT16, where)
    _check_factor(x * _symmetric(weights, DType.INT8, where) / state, where)
    _check_factor(scale / output, where)
    _check_bias(bias, scale, where)


def _check_lstm(
    attrs: LstmAttrs, constants: list[Value], x: float, output: float, where: str
) -> None:
    if math.frexp(attrs.cell_scale)[0] != 0.5 or attrs.cell_bits not in CELL_BITS:
        raise GrammarError(
            f"{where}: one step of its cell is {attrs.cell_scale:g}, not a power of two from "
            "2^-15 to 2^-9"
        )
    if not (math.isfinite(attrs.cell_clip) and attrs.cell_clip >= 0.0):
        raise GrammarError(f"{where}: its cell is clipped to {attrs.cell_clip:g}")
    if not -128 <= attrs.shown_zero_point <= 127 or not 0.0 < attrs.shown_scale < math.inf:
        raise GrammarError(f"{where}: what it shows has no usable encoding")
    for gate in range(GATES):
        weights, of_state, bias = constants[gate::GATES]
        scale = x * _symmetric(weights, DType.INT8, where)
        _check_factor(scale / GATE_SCALE, where)
        _check_factor(output * _symmetric(of_state, DType.INT8, where) / GATE_SCALE, where)
        _check_bias(bias, scale, where)
    _check_factor(2.0**-30 / attrs.shown_scale, where)


def _check_bias(bias: Value, scale: float, where: str) -> None:
    if not math.isclose(_symmetric(bias, DType.INT32, where), scale, rel_tol=_LIKE):
        raise GrammarError(f"{where}: '{bias.name}' does not have the scale of what it is added to")


def _check_factor(factor: float, where: str) -> None:
    """Kernels shift by at most 30 bits."""
    if not 0.0 <= factor < _LARGEST_FACTOR:
        raise GrammarError(f"{where}: its scales are too far apart, by a factor of {factor:g}")


def _scale(value: Value, where: str) -> float:
    if value.quant is None:
        raise GrammarError(f"{where}: '{value.name}' is not quantized")
    return value.quant.scale[0]


def _symmetric(value: Value, dtype: DType, where: str) -> float:
    """The scale of a constant, which must be symmetric with one."""
    quant = value.quant
    if value.dtype is not dtype or quant is None or len(quant.scale) != 1 or any(quant.zero_point):
        raise GrammarError(f"{where}: '{value.name}' must be symmetric {dtype} with one scale")
    return quant.scale[0]
