"""Operators with drawn shapes, windows, cuts and numbers: LiteRT's bytes, there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import (
    NO_PADDING,
    Activation,
    Attrs,
    ConvAttrs,
    MatmulAttrs,
    Op,
    PadAttrs,
    Padding,
    Pair,
    PoolAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from edgekiln.compiler.shapes import Shape, same_padding

Rng = np.random.Generator
Drawn = tuple[Op, Attrs, tuple[Shape, ...]]
TWO_INPUTS = (Op.BATCH_MATMUL,)


def whole(rng: Rng, low: int, high: int) -> int:
    """A number of low, …, high - 1."""
    return int(rng.integers(low, high))


def _window(rng: Rng) -> tuple[Pair, Pair, Pair, Pair, Padding]:
    """Image size, kernel, stride, dilation and padding that fit one another."""
    kernel = (whole(rng, 1, 5), whole(rng, 1, 5))
    stride = (whole(rng, 1, 4), whole(rng, 1, 4))
    dilation = (1, 1) if rng.random() < 0.7 else (whole(rng, 1, 3), whole(rng, 1, 3))
    size = (
        whole(rng, (kernel[0] - 1) * dilation[0] + 1, 14),
        whole(rng, (kernel[1] - 1) * dilation[1] + 1, 14),
    )
    uneven = (
        (whole(rng, 0, kernel[0]), whole(rng, 0, kernel[0])),
        (whole(rng, 0, kernel[1]), whole(rng, 0, kernel[1])),
    )
    paddings = (NO_PADDING, same_padding(size, kernel, stride, dilation), uneven)
    return size, kernel, stride, dilation, paddings[whole(rng, 0, 3)]


def _activation(rng: Rng) -> Activation:
    return list(Activation)[whole(rng, 0, 3)]


def _conv(rng: Rng) -> Drawn:
    size, kernel, stride, dilation, padding = _window(rng)
    groups, share = whole(rng, 1, 4), whole(rng, 1, 4)
    attrs = ConvAttrs(stride, padding, dilation, _activation(rng))
    weights = (whole(rng, 1, 4) * groups, *kernel, share)
    return Op.CONV_2D, attrs, ((1, *size, share * groups), weights)


def _depthwise(rng: Rng) -> Drawn:
    size, kernel, stride, dilation, padding = _window(rng)
    channels = whole(rng, 1, 6)
    attrs = ConvAttrs(stride, padding, dilation, _activation(rng))
    weights = (1, *kernel, channels * whole(rng, 1, 4))
    return Op.DEPTHWISE_CONV_2D, attrs, ((1, *size, channels), weights)


def _transpose_conv(rng: Rng) -> Drawn:
    size, kernel, stride, _, _ = _window(rng)
    full = [(size[axis] - 1) * stride[axis] + kernel[axis] for axis in (0, 1)]
    rows, columns = ((min(whole(rng, 0, 3), n // 3), min(whole(rng, 0, 3), n // 3)) for n in full)
    channels = whole(rng, 1, 5)
    attrs = TransposeConvAttrs(stride, (rows, columns), _activation(rng))
    shapes = ((1, *size, channels), (whole(rng, 1, 5), *kernel, channels))
    return Op.TRANSPOSE_CONV, attrs, shapes


def _pool(rng: Rng) -> Drawn:
    size, kernel, stride, dilation, padding = _window(rng)
    op = (Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D)[whole(rng, 0, 2)]
    attrs = PoolAttrs(kernel, stride, padding if dilation == (1, 1) else NO_PADDING)
    return op, attrs, ((1, *size, whole(rng, 1, 5)),)


def _resize(rng: Rng) -> Drawn:
    size, _, _, _, _ = _window(rng)
    op = (Op.RESIZE_BILINEAR, Op.RESIZE_NEAREST_NEIGHBOR)[whole(rng, 0, 2)]
    kind = whole(rng, 0, 3)
    attrs = ResizeAttrs((whole(rng, 1, 20), whole(rng, 1, 20)), kind == 1, kind == 2)
    return op, attrs, ((1, *size, whole(rng, 1, 4)),)


def _shape(rng: Rng) -> Shape:
    return (1, *(whole(rng, 1, 7) for _ in range(whole(rng, 1, 5))))


def _transpose(rng: Rng) -> Drawn:
    shape = _shape(rng)
    perm = (0, *(int(axis) + 1 for axis in rng.permutation(len(shape) - 1)))
    return Op.TRANSPOSE, TransposeAttrs(perm), (shape,)


def _slice(rng: Rng) -> Drawn:
    shape = _shape(rng)
    rows = [(0, 1, 1)]
    for length in shape[1:]:
        stride = int(rng.choice([1, 1, 2, 3, -1, -2]))
        begin = whole(rng, 0, length)
        room = (length - 1 - begin) // stride if stride > 0 else begin // -stride
        rows.append((begin, whole(rng, 1, room + 2), stride))
    begins, sizes, strides = zip(*rows, strict=True)
    return Op.SLICE, SliceAttrs(begins, sizes, strides), (shape,)


def _pad(rng: Rng) -> Drawn:
    shape = _shape(rng)
    amounts = tuple((whole(rng, 0, 3), whole(rng, 0, 3)) for _ in shape[1:])
    fill = float(rng.normal()) if rng.random() < 0.5 else 0.0
    return Op.PAD, PadAttrs(((0, 0), *amounts), fill), (shape,)


def _matmul(rng: Rng) -> Drawn:
    lead = tuple(whole(rng, 1, 4) for _ in range(whole(rng, 0, 3)))
    rows, inner, columns = (whole(rng, 1, 8) for _ in range(3))
    other = tuple(1 if rng.random() < 0.3 else size for size in lead)
    transposed = rng.random() < 0.5
    b = (columns, inner) if transposed else (inner, columns)
    shapes = ((1, *lead, rows, inner), (1, *other, *b))
    return Op.BATCH_MATMUL, MatmulAttrs(transposed), shapes


KINDS = (_conv, _depthwise, _transpose_conv, _pool, _resize, _transpose, _slice, _pad, _matmul)


def drawn(rng: Rng, count: int) -> Iterator[Drawn]:
    for _ in range(count):
        yield KINDS[whole(rng, 0, len(KINDS))](rng)


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.INT8, DType.INT16])
@pytest.mark.parametrize("seed", range(3))
def test_operator_gives_the_bytes_of_litert_when_everything_is_drawn(
    seed: int,
    dtype: DType,
    one_operator: Callable[..., Graph],
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    for number, (op, attrs, shapes) in enumerate(drawn(np.random.default_rng(seed), 60)):
        graph = one_operator(op, attrs, shapes, dtype, number)
        batches = draw_codes(graph, 2, number)
        data = emit_tflite(graph)
        actual, expected = run_all(graph, batches)["y"], run_litert_samples(data, batches)[0]
        bound = 1e-5 * max(1.0, np.abs(expected).max()) if dtype is DType.FLOAT32 else 0.0
        difference = np.abs(actual.astype(np.float64) - expected).max()
        assert difference <= bound, (op, attrs, shapes)
        if op not in TWO_INPUTS:
            again = run_all(import_tflite(data, "again"), batches)["y"]
            assert np.abs(again.astype(np.float64) - actual).max() <= bound, (op, attrs, shapes)
