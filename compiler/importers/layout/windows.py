"""Convolutions, pools and batch norm, over one or two directions; channels are axis 1."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...graph import Array
from ...ops import (
    Attrs,
    BatchNormAttrs,
    ConvAttrs,
    NoAttrs,
    Op,
    PadAttrs,
    Padding,
    Pair,
    PoolAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeConvAttrs,
)
from ...shapes import Shape
from .frame import Frame
from .tensor import NoWordError, Operand, Tensor

Pads = Sequence[Pair]  # (before, after) in each direction


@dataclass(frozen=True, slots=True)
class Window:
    """How a window steps: one entry for each direction."""

    stride: Shape
    pads: tuple[Pair, ...]
    dilation: Shape


def conv(
    frame: Frame, x: Operand, weights: Array, bias: Array | None, window: Window, groups: int = 1
) -> Tensor:
    """`weights` (out, in / groups, *kernel)."""
    x = frame.computed(x)
    kernel = _image_weights(weights)  # (out, kh, kw, in / groups)
    if x.rank != weights.ndim or x.shape[1] != weights.shape[1] * groups:
        raise NoWordError(
            f"a convolution of {x.shape} in {groups} groups by weights {weights.shape}"
        )
    value = image(frame, x)
    depthwise = groups == x.shape[1] and groups > 1
    op = Op.DEPTHWISE_CONV_2D if depthwise else Op.CONV_2D
    attrs = ConvAttrs(_pair(window.stride), _padding(window.pads), _pair(window.dilation))
    laid = kernel.transpose(3, 1, 2, 0) if depthwise else kernel
    return _weighted(frame, op, x, value, laid, bias, attrs, weights.shape[0])


def conv_transpose(
    frame: Frame, x: Operand, weights: Array, bias: Array | None, window: Window, groups: int = 1
) -> Tensor:
    """`weights` (in, out / groups, *kernel); `window.pads` is what is cut off, or added below 0.

    Groups become one convolution with zeros between them, a dilated kernel one with zeros inside.
    """
    x = frame.computed(x)
    if x.rank != weights.ndim or x.shape[1] != weights.shape[0]:
        raise NoWordError(f"a transposed convolution of {x.shape} by weights {weights.shape}")
    dense = _without_groups(weights, groups)
    spread = _dilated(dense, window.dilation)
    if any(before < 0 for before, _ in window.pads):
        raise NoWordError(f"a transposed convolution padded by {tuple(window.pads)}")
    grown = [(0, 0), (0, 0), *((0, max(-after, 0)) for _, after in window.pads)]
    kernel = _image_weights(np.pad(spread, grown).swapaxes(0, 1))
    cut = [(before, max(after, 0)) for before, after in window.pads]
    attrs = TransposeConvAttrs(_pair(window.stride), _padding(cut))
    value = image(frame, x)
    return _weighted(frame, Op.TRANSPOSE_CONV, x, value, kernel, bias, attrs, kernel.shape[0])


def max_pool(frame: Frame, x: Operand, kernel: Shape, window: Window) -> Tensor:
    """Largest of each window; padding never wins. Dilated windows become maxima of slices."""
    x = frame.computed(x)
    value = image(frame, x)
    if set(window.dilation) == {1}:
        attrs = PoolAttrs(_pair(kernel), _pair(window.stride), _padding(window.pads))
        return _result(frame, x, frame.node(Op.MAX_POOL_2D, (value,), attrs))
    if any(map(any, window.pads)):
        raise NoWordError("a dilated max pool with padding")
    for place, axis in enumerate((1, 2)):
        steps = (_pair(part)[place] for part in (kernel, window.stride, window.dilation))
        value = _dilated_maximum(frame, value, axis, *steps)
    return _result(frame, x, value)


def average_pool(
    frame: Frame, x: Operand, kernel: Shape, window: Window, counted: Pads | None = None
) -> Tensor:
    """Mean of each window. Padding does not count, but `counted`, zeros added first, does."""
    x = frame.computed(x)
    value = image(frame, x)
    if set(window.dilation) != {1}:
        return _dilated_average(frame, x, value, kernel, window, counted)
    if counted is not None:
        value = _zeros_around(frame, value, counted)
    attrs = PoolAttrs(_pair(kernel), _pair(window.stride), _padding(window.pads))
    return _result(frame, x, frame.node(Op.AVERAGE_POOL_2D, (value,), attrs))


def batch_norm(frame: Frame, x: Operand, scale: Array, offset: Array) -> Tensor:
    """x · scale + offset, both (channels,); of features (n, channels) and images."""
    x = frame.computed(x)
    counts = x.axes[0] == (0,) or x.shape[0] == 1
    if counts and x.rank == 2 and len(x.axes[1]) <= 1:
        value = frame.arrange(x, [(1,)])
    elif counts and x.rank in (3, 4):
        value = image(frame, x)
    else:
        return _scaled(frame, x, scale, offset)
    operands = (
        value,
        frame.constant(Op.BATCH_NORM, "scale", scale),
        frame.constant(Op.BATCH_NORM, "offset", offset),
    )
    output = frame.node(Op.BATCH_NORM, operands, BatchNormAttrs())
    if x.rank == 2:
        return Tensor(output, x.shape, (frame.samples(x)[0], (1,)))
    return _result(frame, x, output)


def resize(frame: Frame, op: Op, x: Operand, attrs: ResizeAttrs) -> Tensor:
    """RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR of an image."""
    x = frame.computed(x)
    return _result(frame, x, frame.node(op, (image(frame, x),), attrs))


def image(frame: Frame, x: Tensor) -> str:
    """The value (1, height, width, channels) of (n, channels, height, width); a row is 1 high."""
    if x.rank not in (3, 4):
        raise NoWordError(f"windows over a tensor {x.shape}; one or two directions are known")
    frame.samples(x)
    return frame.arrange(x, [(), (2,), (1,)] if x.rank == 3 else [(2,), (3,), (1,)])


def _result(frame: Frame, x: Tensor, value: str) -> Tensor:
    """The handle of an image operator's output."""
    _, height, width, channels = frame.build.shape(value)
    directions = (width,) if x.rank == 3 else (height, width)
    places: tuple[Shape, ...] = ((3,), (2,)) if x.rank == 3 else ((3,), (1,), (2,))
    return Tensor(value, (x.shape[0], channels, *directions), (*frame.samples(x), *places))


def _weighted(
    frame: Frame,
    op: Op,
    x: Tensor,
    value: str,
    weights: Array,
    bias: Array | None,
    attrs: Attrs,
    channels: int,
) -> Tensor:
    filled = np.zeros(channels, np.float32) if bias is None else bias.reshape(-1)
    operands = (
        value,
        frame.constant(op, "weights", weights),
        frame.constant(op, "bias", filled),
    )
    return _result(frame, x, frame.node(op, operands, attrs))


def _image_weights(weights: Array) -> Array:
    """(out, in, *kernel) as (out, kh, kw, in)."""
    if weights.ndim not in (3, 4):
        raise NoWordError(f"a convolution with weights {weights.shape}")
    if weights.ndim == 3:
        weights = weights[:, :, np.newaxis]
    return weights.transpose(0, 2, 3, 1)


def _pair(sizes: Shape) -> Pair:
    """Of one direction as (1, it)."""
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _padding(pads: Pads) -> Padding:
    return ((0, 0), pads[0]) if len(pads) == 1 else (pads[0], pads[1])


def _without_groups(weights: Array, groups: int) -> Array:
    """(in, out, *kernel) with zeros where an input does not reach an output's group."""
    if groups == 1:
        return weights
    inputs, outputs = weights.shape[:2]
    dense = np.zeros((inputs, outputs * groups, *weights.shape[2:]), weights.dtype)
    each = inputs // groups
    for group in range(groups):
        rows = slice(group * each, (group + 1) * each)
        dense[rows, group * outputs : (group + 1) * outputs] = weights[rows]
    return dense


def _dilated(weights: Array, dilation: Shape) -> Array:
    """The kernel with its zeros written out."""
    if set(dilation) <= {1}:
        return weights
    sizes = [step * (size - 1) + 1 for size, step in zip(weights.shape[2:], dilation, strict=True)]
    spread = np.zeros((*weights.shape[:2], *sizes), weights.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, step) for step in dilation))] = weights
    return spread


def _zeros_around(frame: Frame, value: str, pads: Pads) -> str:
    padding = _padding(pads)
    if padding == ((0, 0), (0, 0)):
        return value
    return frame.node(Op.PAD, (value,), PadAttrs(((0, 0), *padding, (0, 0))))


def _taps(
    frame: Frame, value: str, axis: int, kernel: int, stride: int, dilation: int
) -> list[str]:
    """What each place of a window along `axis` reads, as values."""
    shape = frame.build.shape(value)
    count = (shape[axis] - dilation * (kernel - 1) - 1) // stride + 1
    if count < 1:
        raise NoWordError(f"a window of {kernel} by {dilation} over {shape[axis]}")
    if (kernel, stride) == (1, 1):
        return [value]
    size = (*shape[:axis], count, *shape[axis + 1 :])
    steps = tuple(stride if place == axis else 1 for place in range(4))
    begins = (
        tuple(tap * dilation if place == axis else 0 for place in range(4)) for tap in range(kernel)
    )
    return [frame.node(Op.SLICE, (value,), SliceAttrs(begin, size, steps)) for begin in begins]


def _dilated_maximum(
    frame: Frame, value: str, axis: int, kernel: int, stride: int, dilation: int
) -> str:
    first, *rest = _taps(frame, value, axis, kernel, stride, dilation)
    for tap in rest:
        first = frame.node(Op.MAXIMUM, (first, tap), NoAttrs())
    return first


def _dilated_average(
    frame: Frame, x: Tensor, value: str, kernel: Shape, window: Window, counted: Pads | None
) -> Tensor:
    """A depthwise convolution by equal weights: every place counts, or none is padding."""
    if any(map(any, window.pads)):
        raise NoWordError("a dilated average pool whose padding does not count")
    channels = x.shape[1]
    share = np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)
    pads = tuple(counted) if counted is not None else window.pads
    stepped = dataclasses.replace(window, pads=pads)
    return conv(frame, x, share, None, stepped, channels)


def _scaled(frame: Frame, x: Tensor, scale: Array, offset: Array) -> Tensor:
    from .elementwise import binary

    along = (-1, *(1,) * (x.rank - 2))
    scaled = binary(frame, Op.MUL, x, scale.reshape(along))
    shifted = binary(frame, Op.ADD, scaled, offset.reshape(along))
    assert isinstance(shifted, Tensor)
    return shifted
