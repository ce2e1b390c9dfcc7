"""Constant folding: what reads constants alone is computed once, here."""

from __future__ import annotations

import dataclasses

from ..graph import Graph
from ..interpret import kernel_of


def fold_constants(graph: Graph) -> Graph:
    """No node is left whose operands are all constants."""
    values = dict(graph.values)
    nodes = []
    for node in graph.nodes:
        operands = [values[name].data for name in node.inputs]
        known = [data for data in operands if data is not None]
        if len(known) < len(operands) or node.output in graph.outputs:
            nodes.append(node)
            continue
        data = kernel_of(graph, node)(graph, node, *known)
        values[node.output] = dataclasses.replace(values[node.output], data=data)
    return graph.replace(values=values.values(), nodes=nodes)
