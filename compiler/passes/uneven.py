"""Windows that TensorFlow Lite cannot say in one operator, as several that mean the same.

- A max pool is padded with the lowest number there is, then pools without padding.
- An average pool, which does not count padding, is cut into parts of one window size: each border
  row and column has its own. The parts are put together again, exact in every format.
- A transposed convolution makes the whole output, and a slice cuts it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..graph import Graph, Node, Value
from ..ops import (
    NO_PADDING,
    Attrs,
    AxisAttrs,
    Op,
    PadAttrs,
    Pair,
    PoolAttrs,
    SliceAttrs,
    TransposeConvAttrs,
)
from ..shapes import output_shape, window_size

LOWEST = float(np.finfo(np.float32).min)
"""No element of an image is lower; in integers it saturates to the lowest code."""


@dataclass(frozen=True, slots=True)
class Part:
    """Output positions along one axis whose windows see equally many elements: no padding."""

    begin: int  # of the input that they read
    size: int
    kernel: int


class Steps:
    """Collects the nodes that replace one; each but the last writes a value of its own."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph = graph
        self._node = node
        self.nodes: list[Node] = []
        self.values: list[Value] = []

    def add(self, op: Op, inputs: tuple[str, ...], attrs: Attrs, like: str) -> str:
        """A node that writes a new value, encoded as the value `like` is."""
        name = f"{self._node.name}.{op.value}_{len(self.nodes)}"
        known = dict(self._graph.values) | {value.name: value for value in self.values}
        shape = output_shape(op, attrs, tuple(known[each].shape for each in inputs))
        self.values.append(dataclasses.replace(known[like], name=name, shape=shape, data=None))
        self.nodes.append(Node(op, name, inputs, (name,), attrs, self._node.source))
        return name

    def end(self, op: Op, inputs: tuple[str, ...], attrs: Attrs) -> None:
        """The node that writes what the replaced one wrote."""
        node = self._node
        self.nodes.append(Node(op, node.name, inputs, node.outputs, attrs, node.source))


def split_max_pool(graph: Graph, node: Node) -> Steps:
    """PAD with the lowest number, then a pool without padding."""
    assert isinstance(node.attrs, PoolAttrs)
    steps, x = Steps(graph, node), node.inputs[0]
    amounts = ((0, 0), *node.attrs.padding, (0, 0))
    padded = steps.add(Op.PAD, (x,), PadAttrs(amounts, LOWEST), x)
    steps.end(node.op, (padded,), dataclasses.replace(node.attrs, padding=NO_PADDING))
    return steps


def split_average_pool(graph: Graph, node: Node) -> Steps:
    """A pool without padding for each part of the output, put together along both axes."""
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    steps, x = Steps(graph, node), node.inputs[0]
    size = graph.values[x].shape
    axes = [
        tuple(parts(size[axis + 1], attrs.kernel[axis], attrs.stride[axis], attrs.padding[axis]))
        for axis in (0, 1)
    ]
    rows = [
        _joined(steps, [_pooled(steps, x, size, attrs.stride, down, along) for along in axes[1]], 2)
        for down in axes[0]
    ]
    if len(rows) > 1:
        steps.end(Op.CONCATENATION, tuple(rows), AxisAttrs(1))
    else:  # the last node already is the whole
        last = steps.nodes.pop()
        steps.values.pop()
        steps.end(last.op, last.inputs, last.attrs)
    return steps


def parts(size: int, kernel: int, stride: int, padding: Pair) -> Iterator[Part]:
    """The output positions along an axis, in order, as few parts as there can be.

    Positions that see the whole window make one part; each that reaches into the padding is one.
    """
    starts = [
        place * stride - padding[0] for place in range(window_size(size, kernel, stride, padding))
    ]
    for whole, group in itertools.groupby(starts, lambda start: 0 <= start <= size - kernel):
        places = list(group)
        if whole:
            yield Part(places[0], places[-1] - places[0] + kernel, kernel)
            continue
        for start in places:
            begin, end = max(start, 0), min(start + kernel, size)
            yield Part(begin, end - begin, end - begin)


def split_transpose_conv(graph: Graph, node: Node) -> Steps:
    """The whole output, then a slice of it."""
    attrs = node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    steps = Steps(graph, node)
    bare = dataclasses.replace(attrs, padding=NO_PADDING)
    whole = steps.add(node.op, node.inputs, bare, node.output)
    begin = (0, attrs.padding[0][0], attrs.padding[1][0], 0)
    size = graph.values[node.output].shape
    steps.end(Op.SLICE, (whole,), SliceAttrs(begin, size, (1, 1, 1, 1)))
    return steps


def _pooled(
    steps: Steps, x: str, size: tuple[int, ...], stride: Pair, down: Part, along: Part
) -> str:
    begin = (0, down.begin, along.begin, 0)
    taken = (size[0], down.size, along.size, size[3])
    if taken != size:
        x = steps.add(Op.SLICE, (x,), SliceAttrs(begin, taken, (1, 1, 1, 1)), x)
    attrs = PoolAttrs((down.kernel, along.kernel), stride)
    return steps.add(Op.AVERAGE_POOL_2D, (x,), attrs, x)


def _joined(steps: Steps, names: list[str], axis: int) -> str:
    if len(names) == 1:
        return names[0]
    return steps.add(Op.CONCATENATION, tuple(names), AxisAttrs(axis), names[0])
