"""Operators without a sound integer form, said in words that have one. Before quantization only.

- x / c by a constant is x · (1 / c): LiteRT's integer quotient is wrong for small numerators.
- A sum is the mean times the count: LiteRT 2.3 reads the codes of an int8 sum as uint8 in its
  reference kernel and has no sum of int16.

Floats change by one rounding, so graphs that stay in float32 keep the first form.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..graph import Array, Graph, Node, Value
from ..ops import BinaryAttrs, Op, ReduceAttrs
from .rewrite import constant, edit


def say_in_integer_words(graph: Graph) -> Graph:
    """Without divisions by constants and without sums; nodes keep their names."""
    for node in graph.nodes:
        if node.op is Op.DIV:
            graph = _reciprocal(graph, node)
        elif node.op is Op.SUM:
            graph = _mean_times_count(graph, node)
    return graph


def _reciprocal(graph: Graph, node: Node) -> Graph:
    divisor = graph.values[node.inputs[1]].data
    if divisor is None or not _has_reciprocals(divisor):
        return graph
    factor = constant(f"{node.name}.reciprocal", np.float32(1.0) / divisor)
    product = dataclasses.replace(node, op=Op.MUL, inputs=(node.inputs[0], factor.name))
    return edit(graph, nodes={node.name: (product,)}, values=[factor])


def _has_reciprocals(divisor: Array) -> bool:
    """Whether none of them is 0 or so small that 1 / it is infinite."""
    return bool((np.abs(divisor) >= np.finfo(np.float32).tiny).all())


def _mean_times_count(graph: Graph, node: Node) -> Graph:
    assert isinstance(node.attrs, ReduceAttrs)
    x, output = graph.values[node.inputs[0]], graph.values[node.output]
    count = x.elements // output.elements
    mean = Value(f"{node.name}.mean", output.shape, output.dtype)
    factor = constant(f"{node.name}.count", np.array([count], np.float32))
    steps = (
        Node(Op.MEAN, mean.name, node.inputs, (mean.name,), node.attrs, node.source),
        dataclasses.replace(node, op=Op.MUL, inputs=(mean.name, factor.name), attrs=BinaryAttrs()),
    )
    return edit(graph, nodes={node.name: steps}, values=[mean, factor])
