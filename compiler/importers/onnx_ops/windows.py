"""Convolutions and pools."""

from __future__ import annotations

from ...ops import Op, Pair
from ...shapes import Shape
from .. import layout
from ..layout import Tensor, Window
from .common import Call, Handler, Result
from .spatial import auto_pads, ceil_extras, paired, transposed_cuts


def _conv(call: Call) -> Tensor:
    weights = call.weights(1)
    x = call.computed()
    kernel = weights.shape[2:]
    window = _window(call, x.shape[2:], kernel)
    bias = call.floats(2, "bias")
    return layout.conv(call.frame, x, weights, bias, window, call.integer("group", 1))


def _conv_transpose(call: Call) -> Tensor:
    weights = call.weights(1)
    x = call.computed()
    directions = len(weights.shape) - 2
    ones = (1,) * directions
    stride, dilation = call.several("strides", ones), call.several("dilations", ones)
    extra = call.several("output_padding", (0,) * directions)
    covered = tuple(
        (size - 1) * step + 1 for size, step in zip(weights.shape[2:], dilation, strict=True)
    )
    wanted = call.several("output_shape", ()) or None
    if wanted is not None:
        wanted = wanted[-directions:]
    mode = call.text("auto_pad", "NOTSET")
    cuts = transposed_cuts(mode, x.shape[2:], covered, stride, extra, wanted)
    if cuts is None:
        pads = (
            call.several("pads", (0,) * 2 * directions) if mode == "NOTSET" else (0, 0) * directions
        )
        cuts = paired(pads)
    cuts = tuple((before, after - more) for (before, after), more in zip(cuts, extra, strict=True))
    window = Window(stride, cuts, dilation)
    bias = call.floats(2, "bias")
    return layout.conv_transpose(call.frame, x, weights, bias, window, call.integer("group", 1))


def _max_pool(call: Call) -> Result:
    x = call.computed()
    kernel = call.several("kernel_shape", ())
    window = _window(call, x.shape[2:], kernel)
    extras = _extras(call, x.shape[2:], kernel, window)
    pads = _longer(window.pads, extras)
    pooled = layout.max_pool(call.frame, x, kernel, Window(window.stride, pads, window.dilation))
    return [pooled, None]


def _average_pool(call: Call) -> Tensor:
    x = call.computed()
    kernel = call.several("kernel_shape", ())
    window = _window(call, x.shape[2:], kernel)
    extras = _extras(call, x.shape[2:], kernel, window)
    nothing = ((0, 0),) * len(kernel)
    if call.integer("count_include_pad", 0):
        counted, uncounted = window.pads, _longer(nothing, extras)
    else:
        counted, uncounted = nothing, _longer(window.pads, extras)
    stepped = Window(window.stride, uncounted, window.dilation)
    return layout.average_pool(call.frame, x, kernel, stepped, counted)


def _global(op: Op) -> Handler:
    def handler(call: Call) -> Tensor:
        x = call.operand()
        axes = range(2, len(x.shape))
        return layout.reduce(call.frame, op, x, axes, keep_dims=True)

    return handler


def _window(call: Call, size: Shape, kernel: Shape) -> Window:
    """Strides, pads and dilations of the node."""
    ones = (1,) * len(kernel)
    if len(size) != len(kernel):
        raise call.unsupported(f"a window {kernel} over {size}")
    stride, dilation = call.several("strides", ones), call.several("dilations", ones)
    mode = call.text("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = auto_pads(mode, size, kernel, stride, dilation)
    elif mode == "VALID":
        pads = ((0, 0),) * len(kernel)
    else:
        pads = paired(call.several("pads", (0,) * 2 * len(kernel)))
    return Window(stride, pads, dilation)


def _extras(call: Call, size: Shape, kernel: Shape, window: Window) -> Shape:
    """What ceil_mode adds behind."""
    if not call.integer("ceil_mode", 0) or call.text("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return (0,) * len(kernel)
    return ceil_extras(size, kernel, window.stride, window.dilation, window.pads)


def _longer(pads: tuple[Pair, ...], extras: Shape) -> tuple[Pair, ...]:
    return tuple(
        (before, after + extra) for (before, after), extra in zip(pads, extras, strict=True)
    )


WINDOWS: dict[str, Handler] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global(Op.MEAN),
    "GlobalMaxPool": _global(Op.REDUCE_MAX),
}
