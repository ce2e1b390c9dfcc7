"""Handlers of operators that compute nothing: other shapes, orders, names."""

from __future__ import annotations

from typing import Any

from ..layout import NoWordError, Operand, Tensor, reshape, transpose
from .call import Call, Handler, axis_of


def _reshape(call: Call) -> Operand:
    return reshape(call.frame, call.operand("self"), call.shape)


def _permute(call: Call) -> Operand:
    x = call.operand("self")
    return transpose(call.frame, x, [axis_of(axis, x) for axis in call["dims"]])


def _transpose(call: Call) -> Operand:
    x = call.operand("self")
    return _swapped(call, x, axis_of(call["dim0"], x), axis_of(call["dim1"], x))


def _matrix_transpose(call: Call) -> Operand:
    x = call.operand("self")
    return x if len(x.shape) < 2 else _swapped(call, x, len(x.shape) - 2, len(x.shape) - 1)


def _swapped(call: Call, x: Operand, first: int, second: int) -> Operand:
    perm = list(range(len(x.shape)))
    perm[first], perm[second] = second, first
    return transpose(call.frame, x, perm)


def _move_axis(call: Call) -> Operand:
    x = call.operand("self")
    source, target = axis_of(call["source"], x), axis_of(call["destination"], x)
    perm = [axis for axis in range(len(x.shape)) if axis != source]
    perm.insert(target, source)
    return transpose(call.frame, x, perm)


def _pixel_shuffle(call: Call) -> Operand:
    """(n, c · r², h, w) to (n, c, h · r, w · r)."""
    factor = int(call["upscale_factor"])
    n, channels, height, width = call.operand("self").shape
    parts = (n, channels // factor**2, factor, factor, height, width)
    split = reshape(call.frame, call.operand("self"), parts)
    return reshape(call.frame, transpose(call.frame, split, (0, 1, 4, 2, 5, 3)), call.shape)


def _pixel_unshuffle(call: Call) -> Operand:
    """(n, c, h · r, w · r) to (n, c · r², h, w)."""
    factor = int(call["downscale_factor"])
    n, channels, height, width = call.operand("self").shape
    parts = (n, channels, height // factor, factor, width // factor, factor)
    split = reshape(call.frame, call.operand("self"), parts)
    return reshape(call.frame, transpose(call.frame, split, (0, 1, 3, 5, 2, 4)), call.shape)


def _channel_shuffle(call: Call) -> Operand:
    """Channels of all groups taken in turn."""
    x, groups = call.operand("self"), int(call["groups"])
    n, channels, *directions = x.shape
    split = reshape(call.frame, x, (n, groups, channels // groups, *directions))
    swapped = _swapped(call, split, 1, 2)
    return reshape(call.frame, swapped, call.shape)


def _same(call: Call) -> Operand:
    """Dropout in eval mode, clones and the like."""
    return call.operand("input" if "input" in call.args else "self")


def _converted(call: Call) -> Operand:
    """A conversion that leaves float32 as it is."""
    import torch

    if call.args.get("dtype") not in (None, torch.float32):
        raise NoWordError(f"a conversion to {call['dtype']}")
    return call.operand("self")


def _item(call: Call) -> Any:
    results = call["self"]
    chosen = results[call["index"]] if isinstance(results, list) else None
    if chosen is None:
        raise NoWordError("a further result of an operator")
    return chosen


def _first_of_two(call: Call) -> list[Tensor | None]:
    return [call.frame.computed(_same(call)), None]


VIEWS: dict[str, Handler] = {
    "aten.view.default": _reshape,
    "aten._unsafe_view.default": _reshape,
    "aten.reshape.default": _reshape,
    "aten.view_copy.default": _reshape,
    "aten.flatten.using_ints": _reshape,
    "aten.unflatten.int": _reshape,
    "aten.squeeze.default": _reshape,
    "aten.squeeze.dim": _reshape,
    "aten.squeeze.dims": _reshape,
    "aten.unsqueeze.default": _reshape,
    "aten.permute.default": _permute,
    "aten.permute_copy.default": _permute,
    "aten.transpose.int": _transpose,
    "aten.swapaxes.default": _transpose,
    "aten.swapdims.default": _transpose,
    "aten.t.default": _matrix_transpose,
    "aten.mT.default": _matrix_transpose,
    "aten.movedim.int": _move_axis,
    "aten.pixel_shuffle.default": _pixel_shuffle,
    "aten.pixel_unshuffle.default": _pixel_unshuffle,
    "aten.channel_shuffle.default": _channel_shuffle,
    "aten.dropout.default": _same,
    "aten.dropout_.default": _same,
    "aten.feature_dropout.default": _same,
    "aten.native_dropout.default": _first_of_two,
    "aten.alpha_dropout.default": _same,
    "aten.clone.default": _same,
    "aten.contiguous.default": _same,
    "aten.alias.default": _same,
    "aten.detach.default": _same,
    "aten.detach_.default": _same,
    "aten.lift_fresh_copy.default": _same,
    "aten.to.dtype": _converted,
    "aten.to.dtype_layout": _converted,
    "aten._to_copy.default": _converted,
    "<built-in function getitem>": _item,
}
