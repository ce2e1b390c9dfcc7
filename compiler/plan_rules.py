"""Which memory the operands of a kernel call may share.

Whatever is not in the table shares nothing, so a kernel may be added without one; a rule says
what the kernel's loops in c/ allow.

| kernel | output on an input that ends there | scratch on it |
|---|---|---|
| add, softmax, lookup | exactly, or lower | - |
| max and average pool | lower, by the distance of the windows | - |
| conv2d | lower, by the windows' distance; they are gathered 2 (dsp: 4, helium: 1) at a time | no |
| pointwise, dsp and helium | the same; exactly where no channels are added | no |
| pointwise, portable | lower, by what 2 pixels write before they are read last | - |
| depthwise, helium | lower, by the rows that are copied before they are written | no |
| depthwise, others | at any whole number of pixels, higher or lower: channels go one by one | no |
| mean | the same | - |
| fully connected, helium | lower, by one row less what is written after its last read | - |
| fully connected, dsp | anywhere for one row, which becomes a column first | lower, by half |
| fully connected, portable | lower, by one row less its last four outputs | - |
| pad | lower, by the padding | - |
| grouped conv2d, depthwise with several outputs of a channel | no | no |
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from .graph import Graph, Node
from .ops import ConvAttrs, PadAttrs, PoolAttrs
from .plan_overlap import Overlap, overlap_of
from .plan_steps import (
    Slide,
    by_bands,
    by_blocks_of_rows,
    by_channels_of_windows,
    by_element,
    by_fours_of_rows,
    by_groups_of_windows,
    by_padded_rows,
    by_rows,
    to_column,
)

_SUFFIX = re.compile(r"_(clamped|rectified|signed|wide|double)$")


@dataclass(frozen=True, slots=True)
class Sharing:
    """Where the output, and the scratch, may lie from each input that ends there; None: apart."""

    output: Overlap | None = None
    scratch: Overlap | None = None


def sharing(graph: Graph, node: Node, kernel: str) -> Sharing:
    """What `kernel` allows when it computes `node`."""
    rule = _RULES.get(_SUFFIX.sub("", kernel))
    return Sharing() if rule is None else rule(graph, node)


def _elements(graph: Graph, node: Node) -> Sharing:
    return Sharing(overlap_of(by_element(graph.values[node.output].elements)))


def _pool(graph: Graph, node: Node) -> Sharing:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    image, out = _image(graph, node.inputs[0]), _image(graph, node.output)
    before = (attrs.padding[0][0], attrs.padding[1][0])
    slide = Slide(image, out, attrs.kernel, attrs.stride, (1, 1), before)
    return Sharing(overlap_of(by_channels_of_windows(slide)))


def _mean(graph: Graph, node: Node) -> Sharing:
    image = _image(graph, node.inputs[0])
    return Sharing(Overlap(-image[2], math.prod(image), image[2]))


def _windows_of(group: int) -> Callable[[Graph, Node], Sharing]:
    def rule(graph: Graph, node: Node) -> Sharing:
        return Sharing(_distance(slide_of(graph, node), group))

    return rule


@lru_cache(maxsize=256)
def _distance(slide: Slide, group: int) -> Overlap:
    return overlap_of(by_groups_of_windows(slide, group))


def _pointwise(graph: Graph, node: Node) -> Sharing:
    height, width, in_channels = _image(graph, node.inputs[0])
    out_channels = graph.values[node.output].shape[3]
    return Sharing(overlap_of(by_blocks_of_rows(height * width, in_channels, out_channels, 2)))


def _depthwise(graph: Graph, node: Node) -> Sharing:
    image, out = _image(graph, node.inputs[0]), _image(graph, node.output)
    if image[2] != out[2]:
        return Sharing()
    return Sharing(Overlap(-math.prod(out), math.prod(image), image[2]))


def _dense(graph: Graph, node: Node) -> Sharing:
    rows, in_size, out_size = _rows(graph, node)
    return Sharing(overlap_of(by_blocks_of_rows(rows, in_size, out_size, 1)))


def _dsp_dense(graph: Graph, node: Node) -> Sharing:
    rows, in_size, out_size = _rows(graph, node)
    return Sharing(
        overlap_of(by_rows(rows, in_size, out_size)), overlap_of(to_column(rows, in_size))
    )


def _helium_dense(graph: Graph, node: Node) -> Sharing:
    return Sharing(overlap_of(by_fours_of_rows(*_rows(graph, node))))


def _bands(graph: Graph, node: Node) -> Sharing:
    return Sharing(overlap_of(by_bands(slide_of(graph, node).upright)))


def _pad(graph: Graph, node: Node) -> Sharing:
    assert isinstance(node.attrs, PadAttrs)
    padding = node.attrs.image_padding
    if padding is None:
        return Sharing()
    (top, _), (left, right) = padding
    image = _image(graph, node.inputs[0])
    return Sharing(overlap_of(by_padded_rows(image, top, left, right)))


def slide_of(graph: Graph, node: Node) -> Slide:
    """How the window of a convolution slides."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    _, height, width, _ = graph.values[node.inputs[1]].shape
    return Slide(
        _image(graph, node.inputs[0]),
        _image(graph, node.output),
        (height, width),
        attrs.stride,
        attrs.dilation,
        (attrs.padding[0][0], attrs.padding[1][0]),
    )


def _image(graph: Graph, name: str) -> tuple[int, int, int]:
    _, height, width, channels = graph.values[name].shape
    return height, width, channels


def _rows(graph: Graph, node: Node) -> tuple[int, int, int]:
    output = graph.values[node.output].shape
    return math.prod(output[:-1]), graph.values[node.inputs[0]].shape[-1], output[-1]


_RULES: Mapping[str, Callable[[Graph, Node], Sharing]] = {
    "ek_add": _elements,
    "ek_dsp_add": _elements,
    "ek_softmax": _elements,
    "ek_lookup": _elements,
    "ek_max_pool2d": _pool,
    "ek_average_pool2d": _pool,
    "ek_mean": _mean,
    "ek_conv2d": _windows_of(2),
    "ek_dsp_conv2d": _windows_of(4),
    "ek_dsp_pointwise": _windows_of(4),
    "ek_pointwise": _pointwise,
    "ek_depthwise_conv2d": _depthwise,
    "ek_dsp_depthwise": _depthwise,
    "ek_dsp_depthwise_any": _depthwise,
    "ek_fully_connected": _dense,
    "ek_dsp_fully_connected": _dsp_dense,
    "ek_helium_add": _elements,
    "ek_helium_conv2d": _windows_of(1),
    "ek_helium_pointwise": _windows_of(1),
    "ek_helium_depthwise": _bands,
    "ek_helium_fully_connected": _helium_dense,
    "ek_pad": _pad,
}
