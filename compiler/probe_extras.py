"""Probes for operators that the usual probes leave out: made only for models that have them.

Each is the operator alone over an image of random size, three times with other sizes, like the
light operators of `probes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from .builder import GraphBuilder
from .graph import Graph
from .ops import (
    Attrs,
    AxisAttrs,
    BinaryAttrs,
    GeluAttrs,
    LeakyAttrs,
    MatmulAttrs,
    NoAttrs,
    Op,
    ReduceAttrs,
    ResizeAttrs,
    SliceAttrs,
    SvdfAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)

Rng = np.random.Generator
Extra = Callable[[GraphBuilder, str, int, int], str]  # of an image (1, size, size, channels)

PROBES_EACH = 3


def extra_probes(ops: Collection[str], rng: Rng) -> Iterator[Graph]:
    """Float32 probes of the operators among `ops` that are priced alone; the others have none."""
    for op, build_one in EXTRAS.items():
        if op.value not in ops:
            continue
        for turn in range(PROBES_EACH):
            size, channels = int(rng.integers(4, 21)), int(2 ** rng.uniform(2, 6))
            build = GraphBuilder(f"probe_{op.value}_{turn}", (1, size, size, channels))
            yield build.finish(build_one(build, build.input, size, channels))


def _unary(op: Op) -> Extra:
    return lambda build, x, size, channels: build.node(op, (x,))


def _positive(op: Op) -> Extra:
    """Operators of numbers above zero: x² + 1 comes first."""

    def extra(build: GraphBuilder, x: str, size: int, channels: int) -> str:
        squared = build.node(Op.MUL, (x, x), BinaryAttrs())
        one = build.constant(build.unique(Op.ADD, "one"), np.ones(1, np.float32))
        return build.node(op, (build.node(Op.ADD, (squared, one), BinaryAttrs()),))

    return extra


def _binary(op: Op) -> Extra:
    return lambda build, x, size, channels: build.node(op, (x, x), BinaryAttrs())


def _shared(op: Op, attrs: Attrs) -> Extra:
    """Operands of two encodings, so that one is converted."""

    def extra(build: GraphBuilder, x: str, size: int, channels: int) -> str:
        return build.node(op, (x, build.node(Op.LOGISTIC, (x,))), attrs)

    return extra


def _reduce(op: Op) -> Extra:
    return lambda build, x, size, channels: build.node(op, (x,), ReduceAttrs((1, 2)))


def _prelu(build: GraphBuilder, x: str, size: int, channels: int) -> str:
    slope = build.constant(build.unique(Op.PRELU, "slope"), np.full(channels, 0.25, np.float32))
    return build.node(Op.PRELU, (x, slope))


def _gather(build: GraphBuilder, x: str, size: int, channels: int) -> str:
    indices = build.constant(build.unique(Op.GATHER, "indices"), np.arange(channels)[::-1].copy())
    return build.node(Op.GATHER, (x, indices), AxisAttrs(3))


def _matmul(build: GraphBuilder, x: str, size: int, channels: int) -> str:
    rows = build.reshape(x, (1, size * size, channels))
    return build.node(Op.BATCH_MATMUL, (rows, rows), MatmulAttrs(transpose_b=True))


def _slice(build: GraphBuilder, x: str, size: int, channels: int) -> str:
    half = max(1, channels // 2)
    attrs = SliceAttrs((0, 0, 0, 0), (1, size, size, half), (1, 1, 1, 1))
    return build.node(Op.SLICE, (x,), attrs)


def _resize(op: Op) -> Extra:
    return lambda build, x, size, channels: build.node(op, (x,), ResizeAttrs((2 * size, 2 * size)))


def _transpose_conv(build: GraphBuilder, x: str, size: int, channels: int) -> str:
    out = max(1, channels // 2)
    weights = np.linspace(-1, 1, out * 4 * channels, dtype=np.float32)
    operands = (
        x,
        build.constant(
            build.unique(Op.TRANSPOSE_CONV, "weights"), weights.reshape(out, 2, 2, channels)
        ),
        build.constant(build.unique(Op.TRANSPOSE_CONV, "bias"), np.zeros(out, np.float32)),
    )
    return build.node(Op.TRANSPOSE_CONV, operands, TransposeConvAttrs((2, 2)))


def _svdf(build: GraphBuilder, x: str, size: int, channels: int) -> str:
    features, rank, memory = size * size * channels, 2, 8
    frame = build.reshape(x, (1, features))
    shapes = ("weights", (4 * rank, features)), ("in_time", (4 * rank, memory)), ("bias", (4,))
    constants = (
        build.constant(
            build.unique(Op.SVDF, name),
            np.linspace(-1, 1, math.prod(shape), dtype=np.float32).reshape(shape),
        )
        for name, shape in shapes
    )
    return build.node(Op.SVDF, (frame, *constants), SvdfAttrs(rank))


EXTRAS: Mapping[Op, Extra] = {
    Op.SUB: _binary(Op.SUB),
    Op.MUL: _binary(Op.MUL),
    Op.MINIMUM: _shared(Op.MINIMUM, NoAttrs()),
    Op.MAXIMUM: _shared(Op.MAXIMUM, NoAttrs()),
    Op.RELU: _unary(Op.RELU),
    Op.RELU6: _unary(Op.RELU6),
    Op.LEAKY_RELU: lambda build, x, size, channels: build.node(
        Op.LEAKY_RELU, (x,), LeakyAttrs(0.1)
    ),
    Op.PRELU: _prelu,
    Op.ELU: _unary(Op.ELU),
    Op.HARD_SWISH: _unary(Op.HARD_SWISH),
    Op.LOGISTIC: _unary(Op.LOGISTIC),
    Op.TANH: _unary(Op.TANH),
    Op.GELU: lambda build, x, size, channels: build.node(Op.GELU, (x,), GeluAttrs()),
    Op.EXP: _unary(Op.EXP),
    Op.RSQRT: _positive(Op.RSQRT),
    Op.ABS: _unary(Op.ABS),
    Op.SOFTMAX: _unary(Op.SOFTMAX),
    Op.LOG_SOFTMAX: _unary(Op.LOG_SOFTMAX),
    Op.REDUCE_MAX: _reduce(Op.REDUCE_MAX),
    Op.TRANSPOSE: lambda build, x, size, channels: build.node(
        Op.TRANSPOSE, (x,), TransposeAttrs((0, 3, 1, 2))
    ),
    Op.CONCATENATION: _shared(Op.CONCATENATION, AxisAttrs(3)),
    Op.SLICE: _slice,
    Op.GATHER: _gather,
    Op.RESIZE_NEAREST_NEIGHBOR: _resize(Op.RESIZE_NEAREST_NEIGHBOR),
    Op.RESIZE_BILINEAR: _resize(Op.RESIZE_BILINEAR),
    Op.BATCH_MATMUL: _matmul,
    Op.TRANSPOSE_CONV: _transpose_conv,
    Op.SVDF: _svdf,
}
"""An operator that comes with another (a conversion beside a concatenation) is priced with it."""
