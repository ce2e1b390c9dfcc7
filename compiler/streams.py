"""What operators along time remember between frames, and which samples may be run apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .graph import DType, Graph, Node, QuantParams, Value
from .ops import Op, SvdfAttrs

Floats = npt.NDArray[np.float32]


def variables(graph: Graph, node: Node) -> tuple[Value, ...]:
    """The memory of `node`, zero before the first frame: int16 in an int8 graph, else float32.

    SVDF has the last values of each filter, (1, filters · memory), the oldest first.
    """
    if node.op is not Op.SVDF:
        return ()
    assert isinstance(node.attrs, SvdfAttrs)
    filters, memory = graph.values[node.inputs[2]].shape
    name, shape = f"{node.name}.state", (1, filters * memory)
    if graph.values[node.inputs[0]].dtype is DType.FLOAT32:
        return (Value(name, shape, DType.FLOAT32),)
    return (Value(name, shape, DType.INT16, QuantParams((node.attrs.state_scale,), (0,))),)


def remembered_bytes(graph: Graph) -> int:
    """Bytes of all that the graph's operators remember."""
    return sum(value.nbytes for node in graph.nodes for value in variables(graph, node))


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
