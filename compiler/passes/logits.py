"""The end of a classifier: a graph gives logits, and the runtime turns them into shares."""

from __future__ import annotations

from ..graph import Graph
from ..ops import Op
from .rewrite import edit, producer


def end_in_logits(graph: Graph) -> Graph:
    """The graph without a softmax at its very end, whatever its number format."""
    last = producer(graph, graph.outputs[0])
    if last is None or last.op is not Op.SOFTMAX or graph.consumers(last.output):
        return graph
    shorter = edit(graph, nodes={last.name: ()}, redirect={last.output: last.inputs[0]})
    kept = [value for name, value in shorter.values.items() if name != last.output]
    return shorter.replace(values=kept)
