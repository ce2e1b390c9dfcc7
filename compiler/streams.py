"""What operators along time remember between frames, and which samples may be run apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .graph import DType, Graph, Node, QuantParams, Value
from .ops import LstmAttrs, SvdfAttrs

Floats = npt.NDArray[np.float32]


def variables(graph: Graph, node: Node) -> tuple[Value, ...]:
    """What an engine keeps for `node`, zero at the beginning; int16 beside int8, else float32.

    SVDF remembers the last values of each filter, (1, filters · memory), the oldest first. An LSTM
    has its state and its cell, (1, units) each, which it needs until its sequence ends.
    """
    if isinstance(node.attrs, SvdfAttrs):
        return (_memory(graph, node, node.attrs),)
    if isinstance(node.attrs, LstmAttrs):
        output = graph.values[node.output]
        shape = (1, output.shape[-1])
        cell = QuantParams((node.attrs.cell_scale,), (0,))
        return (
            Value(f"{node.name}.state", shape, output.dtype, output.quant),
            Value(f"{node.name}.cell", shape, DType.INT16, cell),
        )
    return ()


def _memory(graph: Graph, node: Node, attrs: SvdfAttrs) -> Value:
    filters, memory = graph.values[node.inputs[2]].shape
    name, shape = f"{node.name}.state", (1, filters * memory)
    if graph.values[node.inputs[0]].dtype is DType.FLOAT32:
        return Value(name, shape, DType.FLOAT32)
    return Value(name, shape, DType.INT16, QuantParams((attrs.state_scale,), (0,)))


def variable_bytes(graph: Graph) -> int:
    """Bytes of all variables, as engines that run files keep them."""
    return sum(value.nbytes for node in graph.nodes for value in variables(graph, node))


def remembered_bytes(graph: Graph) -> int:
    """Bytes of what lives on from one frame to the next."""
    return variable_bytes(graph) if graph.is_stream else 0


def pieces(graph: Graph, count: int, most: int) -> Iterator[slice]:
    """`count` samples, at least one piece, `most` at a time; a stream's all at once."""
    step = max(count, 1) if graph.is_stream else most
    return (slice(start, start + step) for start in range(0, max(count, 1), step))


def some_of(graph: Graph, samples: Floats, most: int) -> Floats:
    """At most that many samples (n, …), evenly from the first to the last; a stream's beginning."""
    if graph.is_stream:
        return samples[:most]
    rows = np.linspace(0, len(samples) - 1, min(len(samples), most)).astype(np.int64)
    return samples[rows]
