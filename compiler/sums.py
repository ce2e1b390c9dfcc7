"""Sums as means: LiteRT's reference kernel of SUM is wrong in int8, that of MEAN is not.

In ai-edge-litert 2.3 nearly every output of the former is -1 where the scales of input and output
differ; the optimized kernel sums. The mean times the number of elements is the same function.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from .graph import DType, Graph, Node, Value
from .ops import BinaryAttrs, Op, ReduceAttrs
from .recipe import Recipe


def lower_sums(graph: Graph, recipe: Recipe) -> Graph:
    """The same float32 function without SUM, but for layers that the recipe wants in float."""
    values = dict(graph.values)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op is not Op.SUM or recipe.wants_float(node.name):
            nodes.append(node)
            continue
        assert isinstance(node.attrs, ReduceAttrs)
        shape = graph.values[node.inputs[0]].shape
        count = np.array([math.prod(shape[axis] for axis in node.attrs.axes)], np.float32)
        times = Value(f"{node.name}.count", count.shape, DType.FLOAT32, data=count)
        mean = dataclasses.replace(values[node.output], name=f"{node.name}.mean")
        values |= {times.name: times, mean.name: mean}
        nodes += [
            dataclasses.replace(node, op=Op.MEAN, name=mean.name, outputs=(mean.name,)),
            dataclasses.replace(
                node, op=Op.MUL, inputs=(mean.name, times.name), attrs=BinaryAttrs()
            ),
        ]
    return graph.replace(values=values.values(), nodes=nodes)
