"""Handlers of convolutions, pools and upsampling, over one or two directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...graph import Array
from ...ops import Op, ResizeAttrs
from ...shapes import Shape
from ..layout import (
    NoWordError,
    Operand,
    Tensor,
    Window,
    average_pool,
    concat,
    conv,
    conv_transpose,
    max_pool,
    reduce,
    resize,
    slice_axis,
)
from .call import Call, Handler


def spread(value: Any, directions: int) -> Shape:
    """torch gives an int, [n], or one number for each direction."""
    sizes = [int(size) for size in (value if isinstance(value, list | tuple) else [value])]
    return tuple(sizes) if len(sizes) == directions else (sizes[0],) * directions


def _conv(call: Call) -> Tensor:
    weights, bias = _floats(call.weights("weight")), call.array("bias")
    directions = weights.ndim - 2
    dilation = spread(call["dilation"], directions)
    stride = spread(call["stride"], directions)
    if call.args.get("transposed"):
        return _transposed(call)
    pads = _conv_pads(call["padding"], weights.shape[2:], dilation)
    window = Window(stride, pads, dilation)
    return conv(call.frame, call.operand("input"), weights, bias, window, int(call["groups"]))


def _conv_pads(amount: Any, kernel: Shape, dilation: Shape) -> tuple[tuple[int, int], ...]:
    if amount == "valid":
        return ((0, 0),) * len(kernel)
    if amount == "same":  # torch puts the odd element after
        totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((size, size) for size in spread(amount, len(kernel)))


def _transposed(call: Call) -> Tensor:
    weights, bias = _floats(call.weights("weight")), call.array("bias")
    directions = weights.ndim - 2
    cut = spread(call["padding"], directions)
    more = spread(call["output_padding"], directions)
    window = Window(
        spread(call["stride"], directions),
        tuple((size, size - extra) for size, extra in zip(cut, more, strict=True)),
        spread(call["dilation"], directions),
    )
    x = call.operand("input")
    return conv_transpose(call.frame, x, weights, bias, window, int(call["groups"]))


def _floats(weights: Array) -> Array:
    return np.asarray(weights, np.float32)


def _pool_window(call: Call) -> tuple[Shape, Window, tuple[tuple[int, int], ...]]:
    """(kernel, window without padding, padding) as torch is told."""
    directions = len(call.shape) - 2
    kernel = spread(call["kernel_size"], directions)
    stride = spread(call["stride"], directions) if call["stride"] else kernel
    dilation = spread(call.args.get("dilation", 1), directions)
    pads = tuple((size, size) for size in spread(call["padding"], directions))
    return kernel, Window(stride, ((0, 0),) * directions, dilation), pads


def _beyond(
    call: Call, kernel: Shape, window: Window, pads: Sequence[tuple[int, int]]
) -> list[int]:
    """What `ceil_mode` adds at the end of each direction for the last, partial window."""
    sizes = call.operand("self").shape[2:]
    extra = []
    for place, size in enumerate(sizes):
        covered = (call.shape[2 + place] - 1) * window.stride[place]
        covered += window.dilation[place] * (kernel[place] - 1) + 1
        extra.append(max(covered - size - sum(pads[place]), 0))
    return extra


def _max_pool(call: Call) -> Tensor:
    kernel, window, pads = _pool_window(call)
    extra = _beyond(call, kernel, window, pads)
    padded = tuple((low, high + more) for (low, high), more in zip(pads, extra, strict=True))
    x = call.operand("self")
    return max_pool(call.frame, x, kernel, Window(window.stride, padded, window.dilation))


def _average_pool(call: Call) -> Tensor:
    if call.args.get("divisor_override") is not None:
        raise NoWordError("an average pool with its own divisor")
    kernel, window, pads = _pool_window(call)
    extra = _beyond(call, kernel, window, pads)
    counted = pads if call["count_include_pad"] else None
    inside = ((0, 0),) * len(pads) if counted else pads
    padded = tuple((low, high + more) for (low, high), more in zip(inside, extra, strict=True))
    x = call.operand("self")
    stepped = Window(window.stride, padded, window.dilation)
    return average_pool(call.frame, x, kernel, stepped, counted)


def _adaptive(op: Op) -> Handler:
    def handler(call: Call) -> Operand:
        x = call.operand("self")
        sizes, wanted = x.shape[2:], call.shape[2:]
        if set(wanted) == {1}:
            axes = tuple(range(2, len(x.shape)))
            return reduce(call.frame, op, x, axes, keep_dims=True)
        kernel = tuple(size // out for size, out in zip(sizes, wanted, strict=True))
        if all(size == each * out for size, each, out in zip(sizes, kernel, wanted, strict=True)):
            window = Window(kernel, ((0, 0),) * len(kernel), (1,) * len(kernel))
            pool = average_pool if op is Op.MEAN else max_pool
            return pool(call.frame, x, kernel, window)
        for axis, out in enumerate(wanted, start=2):
            x = _uneven(call, op, x, axis, out)
        return x

    return handler


def _uneven(call: Call, op: Op, x: Operand, axis: int, out: int) -> Operand:
    """Window i covers ⌊i · size / out⌋ up to ⌈(i + 1) · size / out⌉: one reduction for each."""
    size = x.shape[axis]
    if size == out:
        return x
    parts = []
    for index in range(out):
        begin, end = index * size // out, math.ceil((index + 1) * size / out)
        part = slice_axis(call.frame, x, axis, begin, end - begin)
        parts.append(reduce(call.frame, op, part, (axis,), keep_dims=True))
    return concat(call.frame, parts, axis)


def _with_indices(handler: Handler) -> Handler:
    """The first of two results; nobody may read the places of maxima."""
    return lambda call: [handler(call), None]


def _upsample(op: Op, *, half_pixel: bool) -> Handler:
    def handler(call: Call) -> Tensor:
        align = bool(call.args.get("align_corners"))
        x = call.operand("input" if "input" in call.args else "self")
        _check_scales(call, x.shape[2:], align=align)
        size = call.shape[2:] if len(call.shape) == 4 else (1, *call.shape[2:])
        attrs = ResizeAttrs(
            (size[0], size[1]), align_corners=align, half_pixel_centers=half_pixel and not align
        )
        return resize(call.frame, op, x, attrs)

    return handler


def _check_scales(call: Call, sizes: Shape, *, align: bool) -> None:
    """torch steps by a given scale, which may not be the quotient of the lengths."""
    given = call.args.get("scale_factors") or [
        call.args.get(name) for name in ("scales_h", "scales_w", "scales") if name in call.args
    ]
    for size, out, scale in zip(sizes, call.shape[2:], given, strict=False):
        if scale is not None and not align and not math.isclose(size * scale, out, rel_tol=1e-6):
            raise NoWordError(f"an upsampling of {size} by {scale} to {out}")


_NEAREST = _upsample(Op.RESIZE_NEAREST_NEIGHBOR, half_pixel=False)
_NEAREST_EXACT = _upsample(Op.RESIZE_NEAREST_NEIGHBOR, half_pixel=True)
_LINEAR = _upsample(Op.RESIZE_BILINEAR, half_pixel=True)

WINDOWS: dict[str, Handler] = {
    "aten.conv1d.default": _conv,
    "aten.conv1d.padding": _conv,
    "aten.conv2d.default": _conv,
    "aten.conv2d.padding": _conv,
    "aten.convolution.default": _conv,
    "aten.conv_transpose1d.default": _transposed,
    "aten.conv_transpose2d.input": _transposed,
    "aten.max_pool1d.default": _max_pool,
    "aten.max_pool2d.default": _max_pool,
    "aten.max_pool1d_with_indices.default": _with_indices(_max_pool),
    "aten.max_pool2d_with_indices.default": _with_indices(_max_pool),
    "aten.avg_pool1d.default": _average_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.adaptive_avg_pool1d.default": _adaptive(Op.MEAN),
    "aten.adaptive_avg_pool2d.default": _adaptive(Op.MEAN),
    "aten._adaptive_avg_pool2d.default": _adaptive(Op.MEAN),
    "aten.adaptive_max_pool1d.default": _with_indices(_adaptive(Op.REDUCE_MAX)),
    "aten.adaptive_max_pool2d.default": _with_indices(_adaptive(Op.REDUCE_MAX)),
    "aten.upsample_nearest1d.default": _NEAREST,
    "aten.upsample_nearest1d.vec": _NEAREST,
    "aten.upsample_nearest2d.default": _NEAREST,
    "aten.upsample_nearest2d.vec": _NEAREST,
    "aten._upsample_nearest_exact1d.default": _NEAREST_EXACT,
    "aten._upsample_nearest_exact1d.vec": _NEAREST_EXACT,
    "aten._upsample_nearest_exact2d.default": _NEAREST_EXACT,
    "aten._upsample_nearest_exact2d.vec": _NEAREST_EXACT,
    "aten.upsample_linear1d.default": _LINEAR,
    "aten.upsample_linear1d.vec": _LINEAR,
    "aten.upsample_bilinear2d.default": _LINEAR,
    "aten.upsample_bilinear2d.vec": _LINEAR,
}
