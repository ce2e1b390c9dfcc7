"""What a graph asks of a device, for the cost models in `edgekiln.targets`."""

from __future__ import annotations

import math

from edgekiln.targets.workload import LayerWork, Workload

from .graph import Graph, Node
from .ops import RECURRENT, STREAMING, Op

_ALIGNED = 4  # channels that the kernels of most engines take at once


def workload(graph: Graph) -> Workload:
    """One layer for each node, in order, for one inference."""
    layers = tuple(_layer(graph, node) for node in graph.nodes)
    return Workload(layers, graph.input.dtype.value)


def _layer(graph: Graph, node: Node) -> LayerWork:
    output = graph.values[node.output]
    read = sum(graph.values[name].nbytes for name in node.inputs)
    macs = _macs(graph, node)
    return LayerWork(
        name=node.name,
        op=node.op.value,
        macs=macs,
        bytes_moved=read + output.nbytes,
        output_elements=output.elements,
        im2col_bytes=_im2col_bytes(graph, node),
        tail_macs=_tail_macs(graph, node, macs),
    )


def _im2col_bytes(graph: Graph, node: Node) -> int:
    """Bytes of the matrix that a convolution's windows unroll to."""
    if node.op not in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D):
        return 0
    x, weights = graph.values[node.inputs[0]], graph.values[node.inputs[1]]
    places = graph.values[node.output].elements // graph.values[node.output].shape[3]
    per_element = x.nbytes // max(1, x.elements)
    return places * math.prod(weights.shape[1:3]) * x.shape[3] * per_element


def _tail_macs(graph: Graph, node: Node, macs: int) -> int:
    """What MACs grow by when the channels that a layer reads and writes are rounded up to fours."""
    if node.op not in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED):
        return 0
    shape = graph.values[node.inputs[1]].shape
    channels = (shape[3],) if node.op is Op.DEPTHWISE_CONV_2D else (shape[0], shape[-1])
    rounded = math.prod(-(-count // _ALIGNED) * _ALIGNED for count in channels)
    return macs * rounded // math.prod(channels) - macs


def _macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates; operators without weights have none."""
    positions = graph.values[node.output].elements
    if node.op is Op.FULLY_CONNECTED:
        return positions * graph.values[node.inputs[1]].shape[-1]
    if node.op is Op.BATCH_MATMUL:
        rows = math.prod(graph.values[node.output].shape[:-1])
        return positions * graph.values[node.inputs[0]].elements // max(1, rows)
    if node.op is Op.TRANSPOSE_CONV:
        windows = math.prod(graph.values[node.inputs[0]].shape[1:3])
        return windows * graph.values[node.inputs[1]].elements
    if node.op is Op.CONV_2D:
        _, height, width, channels = graph.values[node.inputs[1]].shape
        return positions * height * width * channels
    if node.op is Op.DEPTHWISE_CONV_2D:
        _, height, width, _ = graph.values[node.inputs[1]].shape
        return positions * height * width
    return _macs_along_time(graph, node) if node.op in RECURRENT else 0


def _macs_along_time(graph: Graph, node: Node) -> int:
    """All weights of an SVDF for each frame, all of an LSTM for each step."""
    weights = sum(
        v.elements for name in node.inputs[1:] if len((v := graph.values[name]).shape) > 1
    )
    return weights if node.op in STREAMING else weights * graph.values[node.output].shape[1]
