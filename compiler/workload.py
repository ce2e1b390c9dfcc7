"""What a graph asks of a device, for the cost models in `edgekiln.targets`."""

from __future__ import annotations

from edgekiln.targets.workload import LayerWork, Workload

from .graph import Graph, Node
from .ops import Op


def workload(graph: Graph) -> Workload:
    """One layer for each node, in order, for one inference."""
    layers = tuple(_layer(graph, node) for node in graph.nodes)
    return Workload(layers, graph.input.dtype.value)


def _layer(graph: Graph, node: Node) -> LayerWork:
    output = graph.values[node.output]
    read = sum(graph.values[name].nbytes for name in node.inputs)
    return LayerWork(
        node.name, node.op.value, _macs(graph, node), read + output.nbytes, output.elements
    )


def _macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates; operators without weights have none."""
    if node.op is Op.FULLY_CONNECTED:
        return graph.values[node.inputs[1]].elements
    positions = graph.values[node.output].elements
    if node.op is Op.CONV_2D:
        _, height, width, channels = graph.values[node.inputs[1]].shape
        return positions * height * width * channels
    if node.op is Op.DEPTHWISE_CONV_2D:
        _, height, width, _ = graph.values[node.inputs[1]].shape
        return positions * height * width
    return 0
