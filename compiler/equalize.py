"""Cross-layer equalization: channels of neighbouring layers scaled towards one range.

M. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction
(arXiv 1906.04721), section 4.1. Where only a positively homogeneous function lies between two
layers (nothing, ReLU, and operators that move, average or choose elements of one channel), channel
c of the first may be divided by s and channel c of the second multiplied by s. ReLU6 clips at a
fixed height, so nothing is scaled through it.

Two choices differ from the paper. Factors are powers of two, so the float function stays the same
bit for bit. And a channel's range includes its bias: a channel with hardly any weights would
otherwise be blown up until its constant output sets the range of the whole tensor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .grammar import CHANNEL_AXIS, WEIGHTED
from .graph import Array, Graph, Node
from .ops import Activation, ConvAttrs, DenseAttrs, Op, PadAttrs, ReduceAttrs
from .passes.rewrite import has_one_reader
from .recipe import Recipe

# These commute with positive factors of channels; channels stay on the last axis, a reshape
# repeats them along it. Means and padding do where they leave the last axis alone.
_CARRIERS = frozenset({Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D, Op.RESHAPE})
_HOMOGENEOUS = frozenset({Activation.NONE, Activation.RELU})
_SWEEPS = 32  # over all pairs; chains settle in a few

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two weighted nodes with a homogeneous way between them that nobody else reads."""

    first: Node
    second: Node


def equalize(graph: Graph, recipe: Recipe) -> Graph:
    """The same function with channel ranges evened out; `graph` is optimized and float32.

    Layers that the recipe keeps are neither scaled nor scaled against.
    """
    pairs = [pair for pair in find_pairs(graph) if not _kept(pair, recipe)]
    data = {name: graph.constant(name) for pair in pairs for name in _constants(pair)}
    for _ in range(_SWEEPS):
        changed = [_even_out(data, pair) for pair in pairs]
        if not any(changed):
            break
    values = (
        dataclasses.replace(value, data=data[name]) if name in data else value
        for name, value in graph.values.items()
    )
    return graph.replace(values=values)


def find_pairs(graph: Graph) -> Iterator[Pair]:
    """Every pair that can be equalized, in execution order."""
    for node in graph.nodes:
        if not _is_plain(graph, node) or not _homogeneous(node):
            continue
        reader = _weighted_reader(graph, node)
        if reader is not None and _owns_constants(graph, node) and _owns_constants(graph, reader):
            yield Pair(node, reader)


def _is_plain(graph: Graph, node: Node) -> bool:
    """Whether each channel of the input is one index of the weights: no groups, no multiplier."""
    channels = graph.values[node.inputs[0]].shape[-1]
    if node.op in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D):
        return graph.values[node.inputs[1]].shape[-1] == channels
    return node.op is Op.FULLY_CONNECTED


def _homogeneous(node: Node) -> bool:
    assert isinstance(node.attrs, ConvAttrs | DenseAttrs)
    return node.attrs.activation in _HOMOGENEOUS


def _weighted_reader(graph: Graph, node: Node) -> Node | None:
    """The one weighted node that reads `node` through carriers alone."""
    channels = graph.values[node.output].shape[-1]
    value = node.output
    while has_one_reader(graph, value):
        reader = graph.consumers(value)[0]
        if reader.op in WEIGHTED:
            return reader if _is_plain(graph, reader) else None
        if not _carries(reader) or graph.values[reader.output].shape[-1] % channels:
            return None
        value = reader.output
    return None


def _carries(node: Node) -> bool:
    """Whether the node commutes with factors of channels and leaves those on the last axis."""
    if isinstance(node.attrs, PadAttrs):
        return node.attrs.fill == 0.0 and node.attrs.amounts[-1] == (0, 0)
    if isinstance(node.attrs, ReduceAttrs) and node.op is Op.MEAN:
        return node.attrs.axes == (1, 2)
    return node.op in _CARRIERS


def _owns_constants(graph: Graph, node: Node) -> bool:
    return all(len(graph.consumers(name)) == 1 for name in node.inputs[1:])


def _kept(pair: Pair, recipe: Recipe) -> bool:
    return recipe.keeps(pair.first.name) or recipe.keeps(pair.second.name)


def _constants(pair: Pair) -> tuple[str, str, str]:
    return pair.first.inputs[1], pair.first.inputs[2], pair.second.inputs[1]


def _even_out(data: dict[str, Array], pair: Pair) -> bool:
    """One pair: first / s, second · s, in place in `data`; whether anything changed."""
    weights, bias, after = (data[name] for name in _constants(pair))
    axis, channels = CHANNEL_AXIS[pair.first.op], len(bias)
    others = tuple(index for index in range(weights.ndim) if index != axis)
    own = np.maximum(np.abs(weights).max(axis=others), np.abs(bias))
    # A flattened image repeats its channels along the last axis of the next layer's weights.
    taken = np.abs(after).reshape(-1, channels).max(axis=0)
    factors = _factors(own, taken)
    if (factors == 1).all():
        return False
    along = [1] * weights.ndim
    along[axis] = -1
    names = _constants(pair)
    data[names[0]] = weights / factors.reshape(along)
    data[names[1]] = bias / factors
    data[names[2]] = (after.reshape(-1, channels) * factors).reshape(after.shape)
    return True


def _factors(own: Array, taken: Array) -> Float32:
    """sqrt(own / taken) as a power of two; 1 where a side is all zeros: nothing to balance."""
    alive = (own > 0) & (taken > 0)
    ratio = np.where(alive, own, 1.0).astype(np.float64) / np.where(alive, taken, 1.0)
    return np.exp2(np.rint(0.5 * np.log2(ratio))).astype(np.float32)
