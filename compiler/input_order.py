"""The order of a sample's axes: the model's input takes the data as it lies, or is refused.

Samples reach an engine without a permutation, so data and graph must agree on the order of axes;
equal numbers of elements do not say that they do. Axes of length 1 do not count. Data in the order
of the framework, (channels, height, width) for one, gets a transpose in front of the graph.
"""

from __future__ import annotations

import math

from .errors import ImportModelError
from .graph import Graph, Node, Value
from .importers.layout.ports import Port
from .ops import Op, TransposeAttrs
from .shapes import Shape

_SAMPLES = "samples"


def fit_input(graph: Graph, port: Port | None, shape: Shape, data: str) -> Graph:
    """The graph for samples of `shape` of the data set named `data`.

    `port` is how the input lay in its framework, None where it lies as it lay there.

    Raises:
        ImportModelError: the samples have other axes than the model, or it is not known in which
            order flat samples hold the channels.
    """
    lies, found = _longer(graph.input.shape[1:]), _longer(shape)
    own = port.shape[1:] if port is not None and port.samples else ()
    moved = bool(own) and _longer(own) != lies
    if found == lies:
        return graph
    if port is not None and moved and found == _longer(own):
        return _transposed(graph, own, port.order)
    flat = len(found) <= 1 or len(lies) <= 1
    if flat and not moved and math.prod(found) == math.prod(lies):
        return graph
    also = f", or as its file has it {own}" if moved else ""
    raise ImportModelError(
        f"model '{graph.name}' takes samples of shape {graph.input.shape[1:]}{also}, data "
        f"'{data}' has samples of shape {shape}; give x in that shape, or the data that the model "
        "was trained on"
    )


def _longer(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def _transposed(graph: Graph, own: Shape, order: Shape) -> Graph:
    """The graph behind a transpose from the framework's order."""
    old = graph.input
    name = _SAMPLES
    while name in graph.values:
        name += "_"
    entry = Value(name, (1, *own), old.dtype, old.quant)
    node = Node(Op.TRANSPOSE, name, (name,), (old.name,), TransposeAttrs((0, *order)), "input")
    return Graph.build(
        graph.name,
        (entry, *graph.values.values()),
        (node, *graph.nodes),
        (name,),
        graph.outputs,
    )
