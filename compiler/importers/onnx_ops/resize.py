"""Resize and Upsample: the graph's own resizes of images where they mean the same, else gathers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...graph import Array
from ...ops import Op, Pair, ResizeAttrs
from ...shapes import Shape
from .. import layout
from ..layout import Operand
from ..layout.resample import resample
from .common import Call, Handler
from .resize_weights import Scheme, weights


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis that changes: lengths, and output elements for each input element."""

    axis: int
    before: int
    after: int
    scale: float


def _resize(call: Call) -> Operand:
    x = call.operand()
    if call.version < 11:  # mode and scales alone; places are multiples of the scale
        scales = _floats(call, 1)
        scheme = Scheme(call.text("mode", "nearest"), "asymmetric", "floor")
        if scales is None:
            raise call.unsupported("it has no scales")
        return _resized(call, x, _by_scales(x.shape, range(len(x.shape)), scales), scheme)
    axes = call.several("axes", range(len(x.shape)))
    axes = tuple(axis % len(x.shape) for axis in axes)
    changes = _changes(call, x.shape, axes)
    if call.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return _cropped(call, x, changes, axes)
    return _resized(call, x, changes, _scheme(call))


def _upsample(call: Call) -> Operand:
    x = call.operand()
    scales = call.node.attributes.get("scales") or _floats(call, 1)
    if scales is None:
        raise call.unsupported("it has no scales")
    scheme = Scheme(call.text("mode", "nearest"), "asymmetric", "floor")
    return _resized(call, x, _by_scales(x.shape, range(len(x.shape)), scales), scheme)


def _scheme(call: Call) -> Scheme:
    return Scheme(
        call.text("mode", "nearest"),
        call.text("coordinate_transformation_mode", "half_pixel"),
        call.text("nearest_mode", "round_prefer_floor"),
        call.number("cubic_coeff_a", -0.75),
        bool(call.integer("exclude_outside", 0)),
        bool(call.integer("antialias", 0)),
    )


def _changes(call: Call, shape: Shape, axes: Shape) -> list[_Axis]:
    sizes = call.integers(3, "sizes")
    scales = _floats(call, 2)
    if sizes:
        return _by_sizes(call, shape, axes, sizes)
    if scales is None:
        raise call.unsupported("it has neither scales nor sizes")
    return _by_scales(shape, axes, scales)


def _by_scales(shape: Shape, axes: range | Shape, scales: list[float]) -> list[_Axis]:
    return [
        _Axis(axis, shape[axis], int(np.floor(shape[axis] * scale)), scale)
        for axis, scale in zip(axes, scales, strict=True)
    ]


def _by_sizes(call: Call, shape: Shape, axes: Shape, sizes: list[int]) -> list[_Axis]:
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    scales = [size / shape[axis] for axis, size in zip(axes, sizes, strict=True)]
    if policy == "stretch":
        return [
            _Axis(axis, shape[axis], size, scale)
            for axis, size, scale in zip(axes, sizes, scales, strict=True)
        ]
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [_Axis(axis, shape[axis], int(scale * shape[axis] + 0.5), scale) for axis in axes]


def _floats(call: Call, position: int) -> list[float] | None:
    data = call.floats(position, "scales")
    return None if data is None or data.size == 0 else [float(value) for value in data.reshape(-1)]


def _resized(call: Call, x: Operand, changes: list[_Axis], scheme: Scheme) -> Operand:
    moved = [change for change in changes if change.scale != 1.0 or change.before != change.after]
    if not moved:
        return x
    if any(change.after < 1 for change in moved):
        raise call.unsupported("an empty result")
    native = _native(x.shape, moved, scheme)
    if native is not None:
        return layout.resize(call.frame, native[0], x, native[1])
    for change in moved:
        matrix = weights(change.before, change.after, change.scale, scheme)
        x = resample(call.frame, x, change.axis, matrix)
    return x


def _native(shape: Shape, moved: list[_Axis], scheme: Scheme) -> tuple[Op, ResizeAttrs] | None:
    """TensorFlow Lite's resize of height and width with the same numbers, if there is one."""
    of_image = len(shape) == 4 and shape[0] == 1 and all(c.axis in (2, 3) for c in moved)
    exact = all(abs(change.scale * change.before - change.after) < 1e-6 for change in moved)
    if not of_image or not exact or scheme.antialias:
        return None
    sizes = {change.axis: change.after for change in moved}
    size = sizes.get(2, shape[2]), sizes.get(3, shape[3])
    if scheme.mode == "linear":
        return _bilinear(size, scheme.coordinates)
    if scheme.mode == "nearest" and _repeats(moved, scheme):
        return Op.RESIZE_NEAREST_NEIGHBOR, ResizeAttrs(size)
    return None


def _bilinear(size: Pair, mode: str) -> tuple[Op, ResizeAttrs] | None:
    """Coordinates that both formats have; of one element with aligned corners they differ."""
    known = mode in ("half_pixel", "asymmetric", "align_corners")
    if not known or (min(size) == 1 and mode == "align_corners"):
        return None
    attrs = ResizeAttrs(size, mode == "align_corners", mode == "half_pixel")
    return Op.RESIZE_BILINEAR, attrs


def _repeats(moved: list[_Axis], scheme: Scheme) -> bool:
    """Whether output i reads input ⌊i · in / out⌋: always, or because it repeats every element."""
    if (scheme.coordinates, scheme.rounding) == ("asymmetric", "floor"):
        return True
    whole = all(change.after % change.before == 0 for change in moved)
    # Centres of whole repeats never lie halfway, so both ways to round agree.
    return whole and scheme.coordinates == "half_pixel" and "prefer" in scheme.rounding


def _cropped(call: Call, x: Operand, changes: list[_Axis], axes: Shape) -> Operand:
    """The part of the image that `roi` gives, starts then ends; what lies outside is a constant."""
    roi = _floats(call, 1)
    if roi is None:
        raise call.unsupported("a crop without a region")
    scheme, count = _scheme(call), len(axes)
    filler = call.number("extrapolation_value", 0.0)
    for place, change in enumerate(changes):
        start, end = roi[place], roi[place + count]
        if (start, end) == (0.0, 1.0) and change.before == change.after:
            continue
        places = _crop_places(change, start, end)
        matrix = weights(change.before, change.after, change.scale, scheme, places)
        outside = (places < 0) | (places > change.before - 1)
        matrix[outside] = 0.0
        x = resample(call.frame, x, change.axis, matrix)
        if filler and outside.any():
            along = [1] * len(x.shape)
            along[change.axis] = -1
            fill = np.where(outside, np.float32(filler), np.float32(0)).reshape(along)
            keep = np.where(outside, np.float32(0), np.float32(1)).reshape(along)
            x = layout.binary(call.frame, Op.MUL, x, keep)
            x = layout.binary(call.frame, Op.ADD, x, fill)
    return x


def _crop_places(change: _Axis, start: float, end: float) -> Array:
    span = change.before - 1
    if change.after == 1:
        return np.asarray([0.5 * (start + end) * span])
    step = (end - start) * span / (change.after - 1)
    return start * span + np.arange(change.after) * step


RESIZE: dict[str, Handler] = {"Resize": _resize, "Upsample": _upsample}
