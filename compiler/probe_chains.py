"""Random graphs for a host's prices: layers alone, between convolutions, in chains and in branches.

An engine treats an operator by what stands around it: it fuses, moves images to another order,
leaves them. So light operators are probed between convolutions, as networks have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from .builder import GraphBuilder
from .graph import Graph
from .ops import AxisAttrs, NoAttrs, Op
from .probe_layers import (
    LIGHT,
    RARE,
    Layer,
    averaged,
    channels,
    convolution,
    dense,
    depthwise,
    drawn,
    image,
    joined,
    padded,
    pointwise,
    pooling,
    summed,
)

Rng = np.random.Generator

_LARGEST = 30_000  # elements between two layers
_BETWEEN: tuple[Layer, ...] = (
    *(pooling(Op.MAX_POOL_2D),) * 4,
    *(pooling(Op.AVERAGE_POOL_2D), joined, summed) * 3,
    *(averaged,) * 2,
    *(depthwise,) * 5,
    padded,
    *RARE,
)


def layer_alone(rng: Rng, name: str) -> Graph:
    """One layer."""
    kind = rng.random()
    if kind > 0.87:
        build = GraphBuilder(name, (1, drawn(rng, 1, 4096)))
        return build.finish(dense(build, rng, build.input))
    build = GraphBuilder(name, (1, *image(rng, 64, 60_000, 384 if kind < 0.2 else 256)))
    if kind < 0.2:
        made = depthwise(build, rng, build.input)
    elif kind < 0.62:
        made = convolution(build, rng, build.input)
    else:
        made = LIGHT[int(rng.integers(len(LIGHT)))](build, rng, build.input)
    return _finished(build, made)


def layer_between(rng: Rng, name: str) -> Graph:
    """A light layer behind a convolution, and what may follow it."""
    build = GraphBuilder(name, (1, *image(rng, 48, 10_000, 16)))
    _, high, wide, _ = build.shape(build.input)
    x = pointwise(
        build, rng, build.input, min(channels(rng, 64), max(1, _LARGEST // (high * wide)))
    )
    x = _BETWEEN[int(rng.integers(len(_BETWEEN)))](build, rng, x)
    follows = rng.random()
    if len(build.shape(x)) == 2:
        return build.finish(dense(build, rng, x, drawn(rng, 2, 40)) if follows < 0.7 else x)
    if follows < 0.4:
        x = pointwise(build, rng, x, channels(rng, 48))
    elif follows < 0.8:
        x = build.mean(x) if follows > 0.65 or _elements(build, x) > 6000 else x
        x = dense(build, rng, x, drawn(rng, 2, 40))
    return build.finish(x)


def chain(rng: Rng, name: str) -> Graph:
    """Up to six layers of any kind, one behind the other."""
    build = GraphBuilder(name, (1, *image(rng, 48, 20_000, 16)))
    x = build.input
    for _ in range(int(rng.integers(1, 7))):
        if len(build.shape(x)) != 4 or _elements(build, x) > 2 * _LARGEST:
            break
        x = _link(build, rng, x)
    return _finished(build, _head(build, rng, x))


def branches(rng: Rng, name: str) -> Graph:
    """Up to three blocks of branches that are joined or added."""
    build = GraphBuilder(name, (1, *image(rng, 40, 12_000, 16)))
    x = build.input
    for _ in range(int(rng.integers(1, 4))):
        if _elements(build, x) > _LARGEST:
            break
        x = _block(build, rng, x)
    return _finished(build, _head(build, rng, x))


def dense_stack(rng: Rng, name: str) -> Graph:
    """Dense layers alone."""
    build = GraphBuilder(name, (1, drawn(rng, 4, 700)))
    x = build.input
    for _ in range(int(rng.integers(1, 7))):
        x = dense(build, rng, x, drawn(rng, 4, 200))
    return build.finish(_softmax(build, x) if rng.random() < 0.5 else x)


def corners(rng: Rng) -> Iterator[Graph]:
    """Layers of the sizes at which kernels change: a price for every part, from few probes."""
    for depth in (3, 8):
        for out in (8, 24, 40, 56, 72, 150):
            for side in (1, 5):
                for window in (1, 3):
                    yield _corner(rng, (side, side, depth), out, window)
    for count in (2, 8, 16, 20, 24, 43, 64):
        for window in (3, 5, 7):
            yield _corner(rng, (9, 9, count), 0, window)
        build = GraphBuilder("corner", (1, 24, 1, count))
        yield build.finish(depthwise(build, rng, build.input, (3, 1)))
    for size, out in ((40, 10), (300, 200), (64, 33), (700, 120), (90, 55), (12, 150)):
        build = GraphBuilder("corner", (1, size))
        yield build.finish(dense(build, rng, build.input, out))

    for layer in (*dict.fromkeys(LIGHT), summed, joined):  # each operator, whatever is drawn
        for size in (5, 14):
            yield _light_corner(rng, layer, (size, size, 2 * size), 0)
        yield _light_corner(rng, layer, (8, 8, 3), 12)
        yield _light_corner(rng, layer, (20, 1, 5), 8)


def _corner(rng: Rng, shape: tuple[int, int, int], out: int, window: int) -> Graph:
    build = GraphBuilder("corner", (1, *shape))
    if out:
        return build.finish(convolution(build, rng, build.input, out, (window, window)))
    return build.finish(depthwise(build, rng, build.input, (window, window)))


def _light_corner(rng: Rng, layer: Layer, shape: tuple[int, int, int], out: int) -> Graph:
    """A light layer alone, or behind `out` channels and before what may follow it."""
    build = GraphBuilder("corner", (1, *shape))
    x = layer(build, rng, pointwise(build, rng, build.input, out) if out else build.input)
    if out == 0 or len(build.shape(x)) == 2:
        return build.finish(x)
    follows = pointwise if shape[1] > 1 else dense
    return build.finish(follows(build, rng, x, 9))


def _link(build: GraphBuilder, rng: Rng, x: str) -> str:
    kind, depth = rng.random(), build.shape(x)[3]
    if kind < 0.5:
        return convolution(build, rng, x, 0 if kind < 0.35 else depth)
    if kind < 0.7:
        return depthwise(build, rng, x)
    if kind < 0.8:
        return summed(build, rng, x)
    return LIGHT[int(rng.integers(len(LIGHT)))](build, rng, x)


def _block(build: GraphBuilder, rng: Rng, x: str) -> str:
    kind, depth = rng.random(), build.shape(x)[3]
    if kind < 0.35:
        parts = [_branch(build, rng, x) for _ in range(int(rng.integers(2, 5)))]
        return build.node(Op.CONCATENATION, tuple(parts), AxisAttrs(3))
    if kind < 0.6:
        inner = convolution(build, rng, pointwise(build, rng, x, channels(rng, 48)), depth)
        return build.add(x, inner) if build.shape(inner) == build.shape(x) else inner
    if kind < 0.8:
        return pointwise(build, rng, depthwise(build, rng, x), channels(rng, 48))
    if kind < 0.9:
        return convolution(build, rng, x)
    return pooling(Op.MAX_POOL_2D if kind < 0.95 else Op.AVERAGE_POOL_2D)(build, rng, x)


def _branch(build: GraphBuilder, rng: Rng, x: str) -> str:
    """Same height and width as `x`: windows of one, or one and three, or a pooling."""
    kind = rng.random()
    _, high, wide, _ = build.shape(x)
    window = (3 if high > 1 else 1, 3 if wide > 1 else 1)
    around = ((window[0] // 2,) * 2, (window[1] // 2,) * 2)
    if kind < 0.2:
        return build.max_pool2d(x, window, (1, 1), around)
    inner = pointwise(build, rng, x, channels(rng, 32))
    if kind < 0.6:
        return inner
    out, depth = channels(rng, 32), build.shape(inner)[3]
    weights = rng.normal(0, 0.3, (out, *window, depth)).astype(np.float32)
    return build.conv2d(inner, weights, padding=around)


def _head(build: GraphBuilder, rng: Rng, x: str) -> str:
    """Often a mean, often a dense layer or two, now and then a softmax."""
    if len(build.shape(x)) == 4:
        if rng.random() < 0.4:
            return x
        x = build.mean(x) if rng.random() < 0.6 or _elements(build, x) > 4000 else x
    for _ in range(int(rng.integers(0, 3))):
        x = dense(build, rng, x, drawn(rng, 2, 100))
    return _softmax(build, x) if rng.random() < 0.4 and len(build.shape(x)) == 2 else x


def _softmax(build: GraphBuilder, x: str) -> str:
    return build.node(Op.SOFTMAX, (x,), NoAttrs())


def _finished(build: GraphBuilder, x: str) -> Graph:
    """The graph; where nothing fitted the image, a sum."""
    return build.finish(build.add(x, x) if x == build.input else x)


def _elements(build: GraphBuilder, x: str) -> int:
    return math.prod(build.shape(x)[1:])


# Kinds of probes, and how many of each there are among 20.
KINDS: Mapping[str, tuple[Callable[[Rng, str], Graph], int]] = {
    "alone": (layer_alone, 8),
    "between": (layer_between, 6),
    "chain": (chain, 3),
    "branches": (branches, 2),
    "dense": (dense_stack, 1),
}
