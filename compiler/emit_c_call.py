"""What layers of every family share: the call, the window, folded sums, the kernel's suffix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .emit_c_layer import Constant, Fields, zero_point
from .emit_c_pack import Int8, Sums, fold
from .emit_c_text import braces
from .errors import EmitError
from .graph import Graph, Node
from .int_kernels.common import output_range, params
from .ops import BinaryAttrs, ConvAttrs, DenseAttrs, PoolAttrs
from .plan_steps import Slide

_INT32 = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Call:
    """What an operator says of its call."""

    header: str
    kernel: str
    params_type: str
    fields: Fields
    constants: tuple[Constant, ...]
    scratch_bytes: int
    operands: tuple[Constant | str, ...] | None = None  # None: the activations that it reads
    listed: bool = False  # operands go as one array of pointers


def window(graph: Graph, node: Node, kernel: tuple[int, int], attrs: ConvAttrs | PoolAttrs) -> str:
    """The initialiser of an `ek_window`."""
    _, in_height, in_width, in_channels = graph.values[node.inputs[0]].shape
    _, out_height, out_width, out_channels = graph.values[node.output].shape
    image, out = (in_height, in_width, in_channels), (out_height, out_width, out_channels)
    dilation = attrs.dilation if isinstance(attrs, ConvAttrs) else (1, 1)
    before = attrs.padding[0][0], attrs.padding[1][0]
    return window_of(Slide(image, out, kernel, attrs.stride, dilation, before))


def window_of(slide: Slide) -> str:
    """The same of a window that slides as `slide` says."""
    return braces(
        (
            *(("in_height", slide.image[0]), ("in_width", slide.image[1])),
            *(("out_height", slide.out[0]), ("out_width", slide.out[1])),
            *(("kernel_height", slide.kernel[0]), ("kernel_width", slide.kernel[1])),
            *(("stride_height", slide.stride[0]), ("stride_width", slide.stride[1])),
            *(("dilation_height", slide.dilation[0]), ("dilation_width", slide.dilation[1])),
            *(("pad_top", slide.before[0]), ("pad_left", slide.before[1])),
        )
    )


def folded(graph: Graph, node: Node, filters_axis: int) -> tuple[Int8, Sums]:
    """Weights (channels, taps) and what their sums with stored inputs can be."""
    if any(graph.values[name].data is None for name in node.inputs[1:]):
        raise EmitError(f"{node.name} ({node.op}): C takes constant weights and biases only")
    weights, bias = (graph.constant(name) for name in node.inputs[1:])
    rows = np.moveaxis(weights, filters_axis, 0).reshape(weights.shape[filters_axis], -1)
    sums = fold(np.ascontiguousarray(rows, np.int8), bias, zero_point(graph, node.inputs[0]))
    if max(sums.largest, int(np.abs(sums.bias).max())) > _INT32:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 32 bits")
    return rows, sums


def dsp_can(largest_sum: int, shifts: Iterable[int], offset: int) -> bool:
    """Whether the few instructions of c/dsp/ek_finish.h do not overflow in a layer.

    `offset` is the output's zero point; factors are multiplier · 2^(shift - 31).
    """
    return all(
        shift <= 0 and 2 * largest_sum + (abs(2 * offset + 1) << -shift) <= _INT32
        for shift in shifts
    )


def helium_can(shifts: Iterable[int]) -> bool:
    """Whether c/helium/ek_rounding.h has the factors multiplier · 2^(shift - 31) of a layer."""
    return all(shift <= 0 for shift in shifts)


def bounds(graph: Graph, node: Node) -> tuple[int, int]:
    """The smallest and the largest output."""
    assert isinstance(node.attrs, ConvAttrs | DenseAttrs | BinaryAttrs)
    return output_range(params(graph, node.output), node.attrs.activation)


def finish(graph: Graph, node: Node) -> str:
    """The suffix of the dsp kernel whose outputs fit the layer: c/dsp/ek_dsp_kernels.h."""
    if bounds(graph, node) != (-128, 127):
        return "clamped"
    return "rectified" if _never_below_zero(graph, node) else "signed"


def helium_finish(graph: Graph, node: Node) -> str:
    """The suffix of the helium kernel whose rounding fits: c/helium/ek_helium_kernels.h."""
    below = bounds(graph, node)[0] == -128 and _never_below_zero(graph, node)
    return "rectified" if below else "clamped"


def _never_below_zero(graph: Graph, node: Node) -> bool:
    """With the zero point at -128 what is below zero saturates."""
    return zero_point(graph, node.output) == -128
