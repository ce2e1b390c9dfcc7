"""Operators without a sound integer form, said in words that have one. Before quantization only.

- x / c by a constant is x · (1 / c): LiteRT's integer quotient is wrong for small numerators.
- A sum is the mean times the count: LiteRT 2.3 reads the codes of an int8 sum as uint8 in its
  reference kernel and has no sum of int16.
- LiteRT's int8 SVDF has no activation: it comes after it.
- LiteRT has no hard swish and no PRELU of int16: x · relu6(x + 3) / 6, and the positive part plus
  the slope times the negative one.

Floats change by a rounding, so graphs that stay in float32 keep the first form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from ..graph import Array, DType, Graph, Node, Value
from ..ops import Activation, BinaryAttrs, NoAttrs, Op, ReduceAttrs, SvdfAttrs
from .rewrite import constant, edit

Rewrite = Callable[[Graph, Node], Graph]


def say_in_integer_words(
    graph: Graph, dtype: DType, stays_float: Callable[[str], bool] = lambda name: False
) -> Graph:
    """The graph in words that activations of `dtype` have; nodes keep their names.

    Nodes for whose name `stays_float` holds are left alone.
    """
    rewrites = _EVERY if dtype is DType.INT8 else {**_EVERY, **_INT16}
    for node in graph.nodes:
        if node.op in rewrites and not stays_float(node.name):
            graph = rewrites[node.op](graph, node)
    read = {name for node in graph.nodes for name in node.inputs}
    kept = [value for name, value in graph.values.items() if value.data is None or name in read]
    return graph.replace(values=kept)


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


def _gated(graph: Graph, node: Node) -> Graph:
    x, output = node.inputs[0], graph.values[node.output]
    three = constant(f"{node.name}.three", np.array([3.0], np.float32))
    sixth = constant(f"{node.name}.sixth", np.array([1 / 6], np.float32))
    raised, gate = (
        dataclasses.replace(output, name=f"{node.name}.{what}") for what in ("raised", "gate")
    )
    steps = (
        _two(node, Op.ADD, (x, three.name), raised.name, Activation.RELU6),
        _two(node, Op.MUL, (raised.name, sixth.name), gate.name),
        _two(node, Op.MUL, (x, gate.name), node.output),
    )
    return edit(graph, nodes={node.name: steps}, values=[three, sixth, raised, gate])


def _two_parts(graph: Graph, node: Node) -> Graph:
    x, slopes = node.inputs
    zero = constant(f"{node.name}.zero", np.zeros(1, np.float32))
    above, below, falling = (
        dataclasses.replace(graph.values[node.output], name=f"{node.name}.{what}")
        for what in ("above", "below", "falling")
    )
    steps = (
        Node(Op.RELU, above.name, (x,), (above.name,), NoAttrs(), node.source),
        Node(Op.MINIMUM, below.name, (x, zero.name), (below.name,), NoAttrs(), node.source),
        _two(node, Op.MUL, (below.name, slopes), falling.name),
        _two(node, Op.ADD, (above.name, falling.name), node.output),
    )
    return edit(graph, nodes={node.name: steps}, values=[zero, above, below, falling])


def _two(
    node: Node,
    op: Op,
    inputs: tuple[str, str],
    output: str,
    activation: Activation = Activation.NONE,
) -> Node:
    """A step of `node`; the one that writes its output has its name."""
    name = node.name if output == node.output else output
    return Node(op, name, inputs, (output,), BinaryAttrs(activation), node.source)


def _activated(graph: Graph, node: Node) -> Graph:
    assert isinstance(node.attrs, SvdfAttrs)
    if node.attrs.activation is Activation.NONE:
        return graph
    linear = dataclasses.replace(graph.values[node.output], name=f"{node.name}.linear")
    attrs = dataclasses.replace(node.attrs, activation=Activation.NONE)
    clamp = Op.RELU if node.attrs.activation is Activation.RELU else Op.RELU6
    steps = (
        Node(node.op, linear.name, node.inputs, (linear.name,), attrs, node.source),
        dataclasses.replace(node, op=clamp, inputs=(linear.name,), attrs=NoAttrs()),
    )
    return edit(graph, nodes={node.name: steps}, values=[linear])


_EVERY: Mapping[Op, Rewrite] = {
    Op.DIV: _reciprocal,
    Op.SUM: _mean_times_count,
    Op.SVDF: _activated,
}
_INT16: Mapping[Op, Rewrite] = {Op.HARD_SWISH: _gated, Op.PRELU: _two_parts}
