"""Probes for further operators exist, are int8, and hold the operator that they are for."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import DType
from edgekiln.compiler.ops import Op
from edgekiln.compiler.probe_extras import EXTRAS, PROBES_EACH, extra_probes
from edgekiln.compiler.probes import more_probes, probe_graphs
from edgekiln.compiler.quant_rules import RULES, QuantRule

MORE = (*EXTRAS, Op.UNIDIRECTIONAL_SEQUENCE_LSTM)


@pytest.mark.parametrize("op", MORE)
def test_probe_is_int8_and_can_be_timed_when_its_operator_is_asked_for(op: Op) -> None:
    graphs = list(more_probes({op.value}, 0))
    assert len(graphs) == PROBES_EACH
    for graph in graphs:
        assert graph.input.dtype is DType.INT8
        assert op in {node.op for node in graph.nodes}
        assert emit_tflite(graph)


def test_no_probe_is_made_when_no_operator_is_asked_for() -> None:
    assert not list(extra_probes((), np.random.default_rng(0)))


def test_every_int8_operator_has_a_probe_when_it_can_stand_in_a_model() -> None:
    usual = {node.op for graph in probe_graphs(0) for node in graph.nodes}
    beside = {node.op for graph in more_probes(set(MORE), 0) for node in graph.nodes}
    without = {QuantRule.NONE, QuantRule.INDEX}
    never_quantized = {Op.DEQUANTIZE, Op.SUM}  # a sum becomes a mean times a count
    needed = {op for op, rule in RULES.items() if rule not in without} - never_quantized
    assert needed <= usual | beside
