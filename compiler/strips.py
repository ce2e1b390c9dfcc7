"""Chains of layers that can run in strips of rows, so that what lies between them is never whole.

A depthwise convolution with the pointwise one before it (which widens the image), the pointwise one
after it (which narrows it), or both. Strip by strip the rows that the next outputs need are made
in a buffer, those that two strips share are kept and moved to its front, and outputs go to their
place. Nothing is computed twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from .graph import DType, Graph, Node, Value
from .ops import ConvAttrs, Op


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers that follow each other; at least one of the pointwise ones is there."""

    expand: Node | None
    depthwise: Node
    project: Node | None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """In the order in which they run."""
        return tuple(n for n in (self.expand, self.depthwise, self.project) if n is not None)

    @property
    def source(self) -> str:
        """What the chain reads."""
        return self.nodes[0].inputs[0]

    @property
    def output(self) -> str:
        """What it computes."""
        return self.nodes[-1].output


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of one strip: outputs, and the depthwise convolution's inputs `low` to `high`.

    The first `kept` of those are there already.
    """

    first: int
    rows: int
    low: int
    high: int
    kept: int


@dataclass(frozen=True, slots=True)
class CutChain:
    """A chain and the strips that it runs in."""

    chain: Chain
    strips: tuple[Strip, ...]


def chains(graph: Graph) -> tuple[Chain, ...]:
    """All chains of int8 layers of `graph`, one in another where both are possible."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    makers = {node.output: node for node in graph.nodes}

    def alone(name: str) -> bool:
        return len(readers.get(name, ())) == 1 and name not in graph.outputs

    found: list[Chain] = []
    for node in graph.nodes:
        if node.op is not Op.DEPTHWISE_CONV_2D or not _one_to_one(graph, node):
            continue
        if graph.values[node.output].dtype is not DType.INT8:
            continue
        before = makers.get(node.inputs[0])
        after = readers[node.output][0] if alone(node.output) else None
        expand = before if before and alone(before.output) and _pointwise(graph, before) else None
        project = after if after and _pointwise(graph, after) else None
        if expand and project:
            found.append(Chain(expand, node, project))
        if project:
            found.append(Chain(None, node, project))
        if expand:
            found.append(Chain(expand, node, None))
    return tuple(found)


def strips(graph: Graph, depthwise: Node, rows: int) -> Iterator[Strip]:
    """Strips of `rows` rows of outputs; the last may have fewer."""
    attrs = depthwise.attrs
    assert isinstance(attrs, ConvAttrs)
    in_height = graph.values[depthwise.inputs[0]].shape[1]
    kernel = graph.values[depthwise.inputs[1]].shape[1]
    out_height = graph.values[depthwise.output].shape[1]
    before, stride = attrs.padding[0][0], attrs.stride[0]
    reached = 0
    for first in range(0, out_height, rows):
        count = min(rows, out_height - first)
        low = max(0, first * stride - before)
        high = min(in_height, (first + count - 1) * stride - before + kernel)
        yield Strip(first, count, low, high, max(0, reached - low))
        reached = high


def padding_above(chain: Chain, strip: Strip) -> int:
    """Rows of padding above the strip."""
    attrs = chain.depthwise.attrs
    assert isinstance(attrs, ConvAttrs)
    return max(0, attrs.padding[0][0] - strip.first * attrs.stride[0])


def part_of(graph: Graph, chain: Chain, node: Node, strip: Strip) -> tuple[Graph, Node]:
    """`node` as it is in `strip`, in a graph whose images have that many rows."""
    if node is chain.depthwise:
        attrs = node.attrs
        assert isinstance(attrs, ConvAttrs)
        (_, after), columns = attrs.padding
        attrs = dataclasses.replace(attrs, padding=((padding_above(chain, strip), after), columns))
        node, heights = dataclasses.replace(node, attrs=attrs), (strip.high - strip.low, strip.rows)
    elif node is chain.expand:
        heights = (max(1, strip.high - strip.low - strip.kept),) * 2
    else:
        heights = (strip.rows, strip.rows)
    names = (node.inputs[0], node.output)
    values = [_of_height(graph.values[n], h) for n, h in zip(names, heights, strict=True)]
    return graph.replace(values=(*graph.values.values(), *values)), node


def _of_height(value: Value, height: int) -> Value:
    _, _, *rest = value.shape
    return dataclasses.replace(value, shape=(1, height, *rest))


def _one_to_one(graph: Graph, node: Node) -> bool:
    """Each channel gives one, windows overlap, and rows of the kernel are neighbours."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    source, output = graph.values[node.inputs[0]].shape, graph.values[node.output].shape
    kernel = graph.values[node.inputs[1]].shape[1]
    before, after = attrs.padding[0]
    return (
        source[3] == output[3]
        and attrs.dilation[0] == 1
        and attrs.stride[0] <= kernel
        and max(before, after) < kernel
        and output[2] <= source[2]
    )


def _pointwise(graph: Graph, node: Node) -> bool:
    attrs = node.attrs
    if node.op is not Op.CONV_2D or not isinstance(attrs, ConvAttrs):
        return False
    weights = graph.values[node.inputs[1]]
    if weights.data is None or weights.shape[1:3] != (1, 1):
        return False
    plain = attrs.stride == (1, 1) and attrs.padding == ((0, 0), (0, 0))
    return plain and weights.shape[3] == graph.values[node.inputs[0]].shape[3]
