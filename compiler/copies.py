"""Constants of their own: readers that need different encodings of one constant get copies.

Encodings belong to values. A bias or a plain operand follows the encodings around its reader, so
each reader has its own. Weights depend on themselves alone: readers of one kind share them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from .grammar import CHANNEL_AXIS
from .graph import DType, Graph, Node
from .quant_rules import WEIGHTED
from .recipe import Recipe

_WEIGHTS = 1  # their position among the inputs

Kind = tuple[object, ...]
"""Readers of an equal kind can share a constant."""


def own_constants(graph: Graph, recipe: Recipe, floating: Collection[str]) -> Graph:
    """The same float32 function, ready for encodings; nodes named in `floating` stay float32."""
    values = dict(graph.values)
    first: dict[str, Kind] = {}
    nodes = []
    for node in graph.nodes:
        inputs = []
        for position, name in enumerate(node.inputs):
            kind = ("float",) if node.name in floating else _kind(node, position, recipe)
            value = values[name]
            real = value.data is not None and value.dtype is DType.FLOAT32
            if real and first.setdefault(name, kind) != kind:
                value = dataclasses.replace(value, name=f"{node.name}.{position}.own")
                values[value.name] = value
            inputs.append(value.name)
        nodes.append(dataclasses.replace(node, inputs=tuple(inputs)))
    return graph.replace(values=values.values(), nodes=nodes)


def _kind(node: Node, position: int, recipe: Recipe) -> Kind:
    if node.op in WEIGHTED and position == _WEIGHTS:
        return "weights", CHANNEL_AXIS[node.op], recipe.weight_dtype(node.name)
    return "own", node.name, position
