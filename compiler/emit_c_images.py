"""Operators that enlarge images, as kernel calls."""

from __future__ import annotations

import numpy as np

from .emit_c_axes import HEADER
from .emit_c_call import HEADER_16, Call, bounds, is_int16, window
from .emit_c_layer import Constant, constant, zero_point
from .emit_c_text import braces
from .errors import EmitError
from .graph import Array, Graph, Node
from .int_kernels.common import channel_multipliers
from .int_kernels.windows import bilinear_lines
from .ops import ResizeAttrs, TransposeConvAttrs

_INT32 = (1 << 31) - 1
_ONE = 1 << 10  # shares of lines are in 1/1024
_LARGEST_SHIFT = 31


def resize_bilinear(graph: Graph, node: Node, symbol: str) -> Call:
    """Rows and columns between two others each."""
    attrs = node.attrs
    assert isinstance(attrs, ResizeAttrs)
    _, height, width, channels = graph.values[node.inputs[0]].shape
    sides = (
        ("rows", bilinear_lines(height, attrs.size[0], attrs)),
        ("columns", bilinear_lines(width, attrs.size[1], attrs)),
    )
    wide = is_int16(graph, node)
    reach = 0 if wide else 128  # sums of int16 have 64 bits
    fields: list[tuple[str, int | str]] = []
    arrays: list[Constant] = []
    for name, lines in sides:
        reach *= int((np.abs(_ONE - lines[2]) + np.abs(lines[2])).max())
        made = _lines(f"model_{symbol}_{name}", lines)
        arrays += made
        parts = zip(("first", "second", "share"), (array.name for array in made), strict=True)
        fields.append((name, braces((("count", len(lines[0])), *parts))))
    if reach + _ONE * _ONE // 2 > _INT32:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 32 bits")
    return Call(
        header=HEADER_16 if wide else HEADER,
        kernel="ek_resize_bilinear_16" if wide else "ek_resize_bilinear",
        params_type="ek_resize_bilinear_params",
        fields=(*fields, ("in_width", width), ("channels", channels)),
        constants=tuple(arrays),
        scratch_bytes=0,
    )


def _lines(name: str, lines: tuple[Array, Array, Array]) -> tuple[Constant, ...]:
    return tuple(
        constant(f"{name}_{part}", numbers.astype(np.int32))
        for part, numbers in zip(("first", "second", "share"), lines, strict=True)
    )


def transpose_conv2d(graph: Graph, node: Node, symbol: str) -> Call:
    """Each output sums the windows that reach it."""
    attrs = node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    if any(graph.values[name].data is None for name in node.inputs[1:]):
        raise EmitError(f"{node.name} ({node.op}): C takes constant weights and biases only")
    weights, bias = (graph.constant(name) for name in node.inputs[1:])
    largest = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1) * 255
    if int((largest + np.abs(bias)).max()) > _INT32:
        raise EmitError(f"{node.name} ({node.op}): sums of this layer exceed 32 bits")
    factors = channel_multipliers(graph, node)
    multipliers = np.array([factor.multiplier for factor in factors], np.int32)
    shifts = np.array([min(factor.shift, _LARGEST_SHIFT) for factor in factors], np.int8)
    arrays = tuple(
        constant(f"model_{symbol}_{name}", data)
        for name, data in (
            ("weights", weights.astype(np.int8)),
            ("bias", bias.astype(np.int32)),
            ("multiplier", multipliers),
            ("shift", shifts),
        )
    )
    low, high = bounds(graph, node)
    names = zip(("bias", "multiplier", "shift"), (array.name for array in arrays[1:]), strict=True)
    output = braces(
        (
            *names,
            ("zero_point", zero_point(graph, node.output)),
            *(("minimum", low), ("maximum", high)),
        )
    )
    return Call(
        header=HEADER,
        kernel="ek_transpose_conv2d",
        params_type="ek_transpose_conv2d_params",
        fields=(
            ("window", window(graph, node, (weights.shape[1], weights.shape[2]), attrs)),
            *(("in_channels", weights.shape[3]), ("channels", len(weights))),
            ("input_zero_point", zero_point(graph, node.inputs[0])),
            *(("weights", arrays[0].name), ("output", output)),
        ),
        constants=arrays,
        scratch_bytes=0,
    )
