"""Operators along time."""

from __future__ import annotations

from typing import Any

from ..grammar_recurrent import GATE_SCALE, GATES
from ..graph import DType, Graph, Node, QuantParams, Value
from ..ops import Activation, LstmAttrs, Op, SvdfAttrs
from ..streams import variables
from .common import Form, float_and_int8, fused

_LEFT_OUT = -1
_NO_PEEPHOLES, _NO_PROJECTION, _NO_NORMS = [_LEFT_OUT] * 3, [_LEFT_OUT] * 2, [_LEFT_OUT] * 4


def _svdf(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, SvdfAttrs)
    options = schema.SVDFOptionsT()
    options.rank = node.attrs.rank
    int8 = graph.values[node.inputs[0]].dtype is DType.INT8
    # LiteRT's int8 kernel applies none, and runs no file that says another.
    activation = Activation.RELU if int8 else node.attrs.activation
    options.fusedActivationFunction = fused(schema, activation)
    return "SVDFOptions", options


def _lstm(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, LstmAttrs)
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    options.cellClip = node.attrs.cell_clip
    return "UnidirectionalSequenceLSTMOptions", options


def _lstm_tensors(own: list[int], added: list[int]) -> list[int]:
    """24 of them, those of forms that we do not write left out: peepholes, projection, norms."""
    return [*own[:9], *_NO_PEEPHOLES, *own[9:], *_NO_PROJECTION, *added, *_NO_NORMS]


def _gate_encodings(graph: Graph, node: Node) -> tuple[Value, ...]:
    """What each gate's activation reads, and what the output gate lets through."""
    gate = QuantParams((GATE_SCALE,), (0,))
    gates = (Value(f"{node.name}.gate{i}", (0,), DType.INT16, gate) for i in range(GATES))
    assert isinstance(node.attrs, LstmAttrs)
    quant = QuantParams((node.attrs.shown_scale,), (node.attrs.shown_zero_point,))
    return *gates, Value(f"{node.name}.shown", (0,), DType.INT8, quant)


RECURRENT: dict[Op, Form] = {
    Op.SVDF: Form(float_and_int8((1, 3)), _svdf, variables=variables),
    Op.UNIDIRECTIONAL_SEQUENCE_LSTM: Form(
        {DType.INT8: 3},
        _lstm,
        arrange=_lstm_tensors,
        variables=variables,
        intermediates=_gate_encodings,
    ),
}
