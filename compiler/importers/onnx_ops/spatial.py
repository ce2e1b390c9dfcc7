"""Arithmetic of ONNX windows: auto_pad, ceil_mode, and what a transposed convolution cuts off."""

from __future__ import annotations

from collections.abc import Sequence

from ...ops import Pair
from ...shapes import Shape


def paired(pads: Sequence[int]) -> tuple[Pair, ...]:
    """ONNX lists what comes before every axis, then what comes after."""
    half = len(pads) // 2
    return tuple((int(pads[axis]), int(pads[axis + half])) for axis in range(half))


def auto_pads(
    mode: str, size: Shape, kernel: Shape, stride: Shape, dilation: Shape
) -> tuple[Pair, ...]:
    """SAME_UPPER and SAME_LOWER: ceil(size / stride) outputs, an odd element after or before."""
    pads = []
    for length, window, step, spread in zip(size, kernel, stride, dilation, strict=True):
        covered = (-(-length // step) - 1) * step + (window - 1) * spread + 1
        total = max(covered - length, 0)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return tuple(pads)


def ceil_extras(
    size: Shape, kernel: Shape, stride: Shape, dilation: Shape, pads: Sequence[Pair]
) -> Shape:
    """Elements that ceil_mode reads behind the padding; windows must begin before those."""
    extras = []
    for length, window, step, spread, (before, after) in zip(
        size, kernel, stride, dilation, pads, strict=True
    ):
        reach = (window - 1) * spread + 1
        room = length + before + after - reach
        count = -(-room // step) + 1
        if (count - 1) * step >= length + before:
            count -= 1
        extras.append(max((count - 1) * step - room, 0))
    return tuple(extras)


def transposed_cuts(
    mode: str, size: Shape, kernel: Shape, stride: Shape, extra: Shape, wanted: Shape | None
) -> tuple[Pair, ...] | None:
    """What is cut off the full result so that `wanted`, or SAME's size · stride, is left.

    `kernel` is what a dilated kernel covers. None where the node says its pads itself.
    """
    if wanted is None and mode not in ("SAME_UPPER", "SAME_LOWER"):
        return None
    cuts = []
    for axis, length in enumerate(size):
        full = (length - 1) * stride[axis] + kernel[axis] + extra[axis]
        total = full - (length * stride[axis] if wanted is None else wanted[axis])
        less, more = total // 2, total - total // 2
        cuts.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return tuple(cuts)
