"""Random layers, as networks for small devices have them: what a host's prices are fitted to.

Sizes are drawn evenly on a logarithmic scale; channels are often, but not always, multiples of four
or eight, windows mostly the usual ones, and every third image is a recording: one column.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .builder import GraphBuilder
from .ops import (
    NO_PADDING,
    Activation,
    AxisAttrs,
    BinaryAttrs,
    NoAttrs,
    Op,
    Padding,
    Pair,
    ResizeAttrs,
)
from .shapes import same_padding

Rng = np.random.Generator
Layer = Callable[[GraphBuilder, Rng, str], str]

MOST_MACS = 3e7  # of one layer
MOST_WEIGHTS = 6e5
_DRAWS = 20  # of a window until one fits the image


def drawn(rng: Rng, low: float, high: float) -> int:
    """A whole number, evenly on a logarithmic scale."""
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


def channels(rng: Rng, most: int = 256) -> int:
    """A number of channels."""
    count = drawn(rng, 1, most)
    step = (4, 8, 8, 1, 1)[int(rng.integers(5))]
    return count if count < step else round(count / step) * step


def image(rng: Rng, side: int, elements: int, most: int = 256) -> tuple[int, int, int]:
    """Height, width and channels of at most so many elements together."""
    while True:
        kind, high = rng.random(), drawn(rng, 1, side)
        if kind < 0.3:
            size = (drawn(rng, 2, 6 * side), 1)
        else:
            size = (high, high) if kind < 0.85 else (high, drawn(rng, 1, side))
        count = channels(rng, most)
        if math.prod(size) * count <= elements:
            return (*size, count)


def convolution(
    build: GraphBuilder, rng: Rng, x: str, out: int = 0, kernel: Pair | None = None
) -> str:
    """A convolution of `out` channels, by default as many as are drawn."""
    _, high, wide, depth = build.shape(x)
    for _ in range(_DRAWS):
        count, window = out or channels(rng), kernel or _window(rng)
        where = _placed(rng, (high, wide), window)
        weights = count * math.prod(window) * depth
        if where is None or weights > MOST_WEIGHTS or weights * high * wide > MOST_MACS:
            continue
        stride, padding, dilation = where
        return build.conv2d(
            *(x, _weights(rng, count, *window, depth), _weights(rng, count)),
            stride=stride,
            padding=padding,
            dilation=dilation,
            activation=_activation(rng),
        )
    return x


def pointwise(build: GraphBuilder, rng: Rng, x: str, out: int) -> str:
    """A convolution of single places."""
    weights = _weights(rng, out, 1, 1, build.shape(x)[3])
    return build.conv2d(x, weights, _weights(rng, out), activation=_activation(rng))


def depthwise(build: GraphBuilder, rng: Rng, x: str, kernel: Pair | None = None) -> str:
    """Windows over single channels."""
    _, high, wide, count = build.shape(x)
    for _ in range(_DRAWS):
        window = kernel or _window_of_one(rng)
        where = _placed(rng, (high, wide), window)
        if where is None:
            continue
        stride, padding, dilation = where
        return build.depthwise_conv2d(
            *(x, _weights(rng, 1, *window, count), _weights(rng, count)),
            stride=stride,
            padding=padding,
            dilation=dilation,
            activation=_activation(rng),
        )
    return x


def dense(build: GraphBuilder, rng: Rng, x: str, out: int = 0) -> str:
    """A dense layer, over all elements of an image."""
    shape = build.shape(x)
    size = math.prod(shape[1:])
    flat = build.reshape(x, (1, size)) if len(shape) > 2 else x
    count = out or drawn(rng, 1, min(1024, MOST_WEIGHTS / size))
    weights = _weights(rng, count, size)
    return build.fully_connected(flat, weights, _weights(rng, count), activation=_activation(rng))


def pooling(op: Op) -> Layer:
    """Max or average pooling."""

    def pool(build: GraphBuilder, rng: Rng, x: str) -> str:
        _, high, wide, _ = build.shape(x)
        side = int(rng.choice((2, 2, 2, 3, 3, 4, 5)))
        window = (min(side, high), min(side, wide))
        step = side if rng.random() < 0.6 else int(rng.choice((1, 2)))
        stride = (min(step, window[0]), min(step, window[1]))
        padding = NO_PADDING
        if rng.random() < 0.3:
            padding = same_padding((high, wide), window, stride)
        make = build.max_pool2d if op is Op.MAX_POOL_2D else build.average_pool2d
        return make(x, window, stride, padding)

    return pool


def joined(build: GraphBuilder, rng: Rng, x: str) -> str:
    """Two to four convolutions of single places side by side, now and then what they read too."""
    parts = [pointwise(build, rng, x, channels(rng, 32)) for _ in range(int(rng.integers(2, 5)))]
    parts += [x] * (rng.random() < 0.3)
    return build.node(Op.CONCATENATION, tuple(parts), AxisAttrs(3))


def summed(build: GraphBuilder, rng: Rng, x: str) -> str:
    """A convolution of single places, and what it reads added."""
    inner = pointwise(build, rng, x, build.shape(x)[3])
    return build.add(x, inner, activation=_activation(rng))


def doubled(build: GraphBuilder, rng: Rng, x: str) -> str:
    """The sum of an image and itself."""
    return build.add(x, x, activation=_activation(rng))


def padded(build: GraphBuilder, rng: Rng, x: str) -> str:
    """Zeros around an image, on each side its own number of them."""
    before, after = rng.integers(0, 3, 2), rng.integers(0, 3, 2)
    return build.pad(x, ((int(before[0]), int(after[0])), (int(before[1]), int(after[1]))))


def averaged(build: GraphBuilder, _: Rng, x: str) -> str:
    """The mean over the image."""
    return build.mean(x)


def _unary(op: Op) -> Layer:
    return lambda build, _, x: build.node(op, (x,), NoAttrs())


def _squared(build: GraphBuilder, _: Rng, x: str) -> str:
    return build.node(Op.MUL, (x, x), BinaryAttrs())


def _scaled(build: GraphBuilder, rng: Rng, x: str) -> str:
    factors = build.constant(build.unique(Op.MUL, "factors"), _weights(rng, build.shape(x)[-1]))
    return build.node(Op.MUL, (x, factors), BinaryAttrs())


def _resized(op: Op) -> Layer:
    def resize(build: GraphBuilder, rng: Rng, x: str) -> str:
        _, high, wide, _ = build.shape(x)
        return build.node(op, (x,), ResizeAttrs((2 * high, 2 * wide)))

    return resize


# Often used ones several times: a draw takes them as often.
RARE: tuple[Layer, ...] = (
    *(_squared, _scaled, _unary(Op.SOFTMAX), _unary(Op.RELU), _unary(Op.RELU6)),
    *(_unary(Op.LOGISTIC), _unary(Op.HARD_SWISH), _unary(Op.TANH)),
    *(_resized(Op.RESIZE_BILINEAR), _resized(Op.RESIZE_NEAREST_NEIGHBOR)),
)
LIGHT: tuple[Layer, ...] = (
    *(doubled, averaged, pooling(Op.MAX_POOL_2D), pooling(Op.AVERAGE_POOL_2D)) * 3,
    *(padded, _unary(Op.SOFTMAX)) * 2,
    *RARE,
)


def _weights(rng: Rng, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, 0.3, shape).astype(np.float32)


def _activation(rng: Rng) -> Activation:
    return tuple(Activation)[int(rng.integers(len(Activation)))]


def _window(rng: Rng) -> Pair:
    kind, side = rng.random(), int(rng.choice((3, 5, 7, 8, 10)))
    if kind < 0.65:
        return (1, 1) if kind < 0.35 else (3, 3)
    if kind < 0.78:
        return (5, 5) if kind < 0.75 else (7, 7)
    if kind < 0.9:
        return (side, 1) if kind < 0.88 else (1, side)
    return int(rng.integers(1, 11)), int(rng.integers(1, 7))


def _window_of_one(rng: Rng) -> Pair:
    kind, side = rng.random(), int(rng.choice((3, 5, 7, 9)))
    if kind < 0.75:
        return (3, 3) if kind < 0.5 else (5, 5)
    if kind < 0.9:
        return (7, 7) if kind < 0.8 else ((side, 1) if kind < 0.87 else (1, side))
    return int(rng.integers(1, 8)), int(rng.integers(1, 8))


def _placed(rng: Rng, size: Pair, window: Pair) -> tuple[Pair, Padding, Pair] | None:
    """Stride, padding and dilation of a window; None where it does not fit the image."""
    stride, dilation, kind = (1, 1), (1, 1), rng.random()
    if kind < 0.3:
        stride = (2, 2) if kind < 0.25 else (2, 1)
    elif kind < 0.36:
        far = int(2 ** rng.integers(1, 3))
        dilation = (far if window[0] > 1 else 1, far if window[1] > 1 else 1)
    spread = ((window[0] - 1) * dilation[0] + 1, (window[1] - 1) * dilation[1] + 1)
    way = rng.random()
    padding = NO_PADDING
    if way < 0.65:
        padding = same_padding(size, window, stride, dilation)
    elif way < 0.8:
        padding = ((spread[0] // 2,) * 2, (spread[1] // 2,) * 2)
    sides = zip(size, padding, spread, strict=True)
    fits = all(side + sum(around) >= reach for side, around, reach in sides)
    return (stride, padding, dilation) if fits else None
