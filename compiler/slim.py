"""`channel_groups`, `slim`: the same network with fewer channels or a smaller input.

What comes out is for pricing alone: its weights are the first ones of each axis, so it computes
nothing of use until it is trained. Layers whose channels hang together (a convolution, the
depthwise one behind it, what is added to it) form one group and are narrowed together; channels of
the input, of the output, and of what is moved about (concatenated, transposed, sliced) stay.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import CompileError
from .grammar import check
from .graph import Graph, Node, QuantParams, Value
from .ops import Attrs, Op, PoolAttrs
from .shapes import Shape, output_shape

_PRODUCERS = (Op.CONV_2D, Op.FULLY_CONNECTED)  # their outputs begin a group
_FOLLOWERS = frozenset(
    {
        *(Op.DEPTHWISE_CONV_2D, Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D, Op.PAD, Op.MEAN, Op.RESHAPE),
        *(Op.ADD, Op.SUB, Op.MUL, Op.MINIMUM, Op.MAXIMUM, Op.RELU, Op.RELU6, Op.LEAKY_RELU),
        *(Op.ELU, Op.HARD_SWISH, Op.LOGISTIC, Op.TANH, Op.GELU, Op.ABS, Op.QUANTIZE),
        *(Op.RESIZE_NEAREST_NEIGHBOR, Op.RESIZE_BILINEAR),
    }
)
_WHOLE = 4  # kernels take channels in fours


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share their channels, by the value that begins the group."""

    root: str
    channels: int
    layers: tuple[str, ...]


def channel_groups(graph: Graph) -> tuple[Group, ...]:
    """The groups that may be narrowed, in the order of the network."""
    owner, fixed = _owners(graph)
    groups: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op is not Op.RESHAPE:
            groups.setdefault(owner[node.output], []).append(node.name)
    return tuple(
        Group(root, graph.values[root].shape[-1], tuple(layers))
        for root, layers in groups.items()
        if root not in fixed and graph.values[root].shape[-1] > 1
    )


def narrowed(channels: int, factor: float) -> int:
    """`factor` of `channels`, in whole fours where there are that many."""
    wanted = channels * factor
    whole = _WHOLE if channels >= 2 * _WHOLE else 1
    return max(1, min(channels, whole * max(1, round(wanted / whole))))


def slim(graph: Graph, channels: Mapping[str, int], side: float = 1.0) -> Graph:
    """`graph` with `channels` of each group named by its root, and its input's sides times `side`.

    Raises:
        CompileError: no such graph is possible: a window no longer fits its input.
    """
    owner, _ = _owners(graph)
    kept = {name: channels.get(root, graph.values[root].shape[-1]) for name, root in owner.items()}
    values = dict(graph.values)
    entry = graph.input
    values[entry.name] = dataclasses.replace(entry, shape=_smaller(entry.shape, side))
    nodes = []
    for node in graph.nodes:
        operands = tuple(
            _operand(graph, node, index, values, kept) for index in range(len(node.inputs))
        )
        values |= {value.name: value for value in operands}
        new = dataclasses.replace(
            node,
            inputs=tuple(value.name for value in operands),
            attrs=_attrs(graph, node, operands[0].shape),
        )
        shape = _shape(graph, new, [value.shape for value in operands], kept)
        values[node.output] = dataclasses.replace(graph.values[node.output], shape=shape)
        nodes.append(new)
    read = {name for node in nodes for name in (*node.inputs, *node.outputs)}
    used = [value for value in values.values() if value.name in read]
    slimmer = graph.replace(values=used, nodes=nodes)
    check(slimmer)
    return slimmer


def _owners(graph: Graph) -> tuple[dict[str, str], set[str]]:
    """The root of each activation's group, and the roots that must stay as they are."""
    owner = {name: name for name in graph.inputs}
    fixed = set(graph.inputs)

    def root(name: str) -> str:
        while owner[name] != name:
            name = owner[name]
        return name

    for node in graph.nodes:
        reads = [root(name) for name in node.inputs if graph.values[name].data is None]
        owner[node.output] = node.output
        if node.op in _FOLLOWERS and _keeps_channels(graph, node):
            for one in (node.output, *reads[1:]):
                if root(one) != reads[0]:
                    fixed |= {reads[0]} if root(one) in fixed else set()
                    owner[root(one)] = reads[0]
        elif node.op not in _PRODUCERS or _is_grouped(graph, node):
            fixed |= {node.output, *reads}
    owner = {name: root(name) for name in owner}
    fixed |= {owner[name] for name in graph.outputs}
    return owner, {owner[name] for name in fixed}


def _keeps_channels(graph: Graph, node: Node) -> bool:
    """Whether the last axis of the output is that of every activation read, or a flattened one."""
    shape = graph.values[node.output].shape
    reads = [graph.values[n].shape for n in node.inputs if graph.values[n].data is None]
    if node.op is Op.RESHAPE:
        flat = len(shape) == 2 and shape[1] == math.prod(reads[0][1:])
        return flat or shape[-1] == reads[0][-1]
    if node.op is Op.MEAN and len(shape) == len(reads[0]):
        return shape[-1] == reads[0][-1]
    return all(read[-1] == shape[-1] for read in reads)


def _is_grouped(graph: Graph, node: Node) -> bool:
    x, weights = (graph.values[name].shape for name in node.inputs[:2])
    return node.op is Op.CONV_2D and weights[3] != x[3]


def _operand(
    graph: Graph, node: Node, index: int, values: Mapping[str, Value], kept: Mapping[str, int]
) -> Value:
    """An operand as the slimmer node reads it: an activation, or a constant cut to its axes."""
    value = values[node.inputs[index]]
    whole = graph.values[node.inputs[index]]
    if whole.data is None:
        return value
    out = kept[node.output]
    if node.op in _PRODUCERS:
        axes = {0: out}
        if index == 1:
            axes[len(whole.shape) - 1] = values[node.inputs[0]].shape[-1]
    elif whole.shape and whole.shape[-1] == graph.values[node.output].shape[-1]:
        axes = {len(whole.shape) - 1: out}
    else:
        return whole
    shared = len(graph.consumers(whole.name)) > 1
    return _cut(whole, f"{whole.name}__{node.name}" if shared else whole.name, axes)


def _cut(value: Value, name: str, axes: Mapping[int, int]) -> Value:
    """The first elements along `axes`, with the scales that belong to them."""
    assert value.data is not None
    index = tuple(slice(0, axes.get(axis, size)) for axis, size in enumerate(value.shape))
    data = np.ascontiguousarray(value.data[index])
    quant = value.quant
    count = None if quant is None or quant.axis is None else axes.get(quant.axis)
    if quant is not None and count is not None and len(quant.scale) > 1:
        quant = QuantParams(quant.scale[:count], quant.zero_point[:count], quant.axis)
    return dataclasses.replace(value, name=name, shape=data.shape, data=data, quant=quant)


def _attrs(graph: Graph, node: Node, x: Shape) -> Attrs:
    """A pooling over the whole image stays one."""
    attrs = node.attrs
    if isinstance(attrs, PoolAttrs) and attrs.kernel == graph.values[node.inputs[0]].shape[1:3]:
        return PoolAttrs((x[1], x[2]), (x[1], x[2]))
    return attrs


def _shape(graph: Graph, node: Node, reads: list[Shape], kept: Mapping[str, int]) -> Shape:
    if node.op is not Op.RESHAPE:
        return output_shape(node.op, node.attrs, tuple(reads))
    was, read = graph.values[node.output].shape, graph.values[node.inputs[0]].shape
    if len(was) == 2 and was[1] == math.prod(read[1:]):
        return (1, math.prod(reads[0][1:]))
    if reads[0] == read:
        return was
    if math.prod(reads[0]) == math.prod((*was[:-1], kept[node.output])):
        return (*was[:-1], kept[node.output])
    raise CompileError(f"layer '{node.name}' fixes the shape {was}, which a smaller input has not")


def _smaller(shape: Shape, side: float) -> Shape:
    if side == 1.0:
        return shape
    if len(shape) != 4:
        raise CompileError(f"an input of shape {shape[1:]} has no sides to make smaller")
    height, width = (max(1, round(size * side)) for size in shape[1:3])
    return (1, height, width, shape[3])
