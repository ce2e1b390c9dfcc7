"""Chains of random layers: what the loops of the kernels are priced with.

Shapes are drawn so that every loop is passed in some and not in others: channels that are multiples
of four and not, pixels left over after groups of four, windows inside and across the border, all
ranges of outputs. Nothing here looks like a network that somebody would train, and need not: a loop
takes the same instructions wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .builder import GraphBuilder
from .graph import Graph
from .ops import NO_PADDING, Activation, NoAttrs, Op, Padding
from .quantize import quantize

Rng = np.random.Generator
Layer = Callable[[GraphBuilder, Rng, str], str]

LAYERS = (4, 7)  # of one chain, first and after the last
MOST_ELEMENTS = 4096  # of an activation: small images cost as much to know as large ones


def chain_probes(seed: int, count: int) -> Iterator[Graph]:
    """`count` int8 chains, always the same ones for one seed."""
    for index in range(count):
        rng = np.random.default_rng((seed, 2, index))
        graph = _dense_chain(rng, index) if index % 5 == 4 else _chain(rng, index)
        samples = rng.normal(0, 1, (4, *graph.input.shape[1:])).astype(np.float32)
        yield quantize(graph, samples)


def strip_probes(seed: int, count: int) -> Iterator[Graph]:
    """`count` int8 graphs whose widened images are the largest by far: they run in strips."""
    for index in range(count):
        rng = np.random.default_rng((seed, 3, index))
        graph = _widened(rng, index)
        samples = rng.normal(0, 1, (4, *graph.input.shape[1:])).astype(np.float32)
        yield quantize(graph, samples)


def _widened(rng: Rng, index: int) -> Graph:
    """Widen, filter, and two times out of three narrow."""
    shape = (1, int(rng.integers(10, 21)), int(rng.integers(10, 21)), int(rng.integers(2, 7)))
    build = GraphBuilder(f"strips_{index}", shape)
    wide = 4 * int(rng.integers(4, 13))
    x = _product(build, rng, build.input, wide)
    x = _depthwise(build, rng, x, (3, 3) if index % 2 else (5, 5))
    if index % 3:
        x = _product(build, rng, x, int(rng.integers(2, 7)))
    return build.finish(_dense(build, rng, build.mean(x)))


def _chain(rng: Rng, index: int) -> Graph:
    shape = (1, _size(rng), _size(rng), int(rng.integers(1, 13)))
    build = GraphBuilder(f"chain_{index}", shape)
    x = build.input
    menu = tuple(_LAYERS.values())
    for turn in range(int(rng.integers(*LAYERS))):
        # In turn, so that every layer is in several chains.
        x = menu[(index * 3 + turn * 5) % len(menu)](build, rng, x)
    x = build.mean(x) if rng.random() < 0.5 else _flattened(build, x)
    return build.finish(_dense(build, rng, x))


def _dense_chain(rng: Rng, index: int) -> Graph:
    build = GraphBuilder(f"chain_{index}", (1, int(rng.integers(3, 150))))
    x = build.input
    for _ in range(int(rng.integers(2, 5))):
        x = _dense(build, rng, x)
    return build.finish(build.node(Op.SOFTMAX, (x,), NoAttrs()))


def _size(rng: Rng) -> int:
    return int(rng.integers(3, 15))


def _weights(rng: Rng, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, 0.3, shape).astype(np.float32)


def _activation(rng: Rng) -> Activation:
    return _ACTIVATIONS[int(rng.integers(len(_ACTIVATIONS)))]


_ACTIVATIONS = tuple(Activation)


def _channels(rng: Rng, pixels: int) -> int:
    most = max(2, min(40, MOST_ELEMENTS // pixels))
    return int(rng.integers(1, most))


def _aligned(rng: Rng, pixels: int) -> int:
    return 4 * max(1, _channels(rng, pixels) // 4)


def _padding(rng: Rng, size: Sequence[int], kernel: Sequence[int]) -> Padding:
    """As much as keeps the size, or none where the window fits."""
    if rng.random() < 0.3 and all(k <= n for k, n in zip(kernel, size, strict=True)):
        return NO_PADDING
    height, width = (((k - 1) // 2, k // 2) for k in kernel)
    return height, width


def _conv2d(build: GraphBuilder, rng: Rng, x: str) -> str:
    _, height, width, depth = build.shape(x)
    kernel = tuple(int(k) for k in rng.integers(1, 6, 2))
    dilation = (2, 2) if rng.random() < 0.15 and min(height, width) > 2 * max(kernel) else (1, 1)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    draw = _aligned if rng.random() < 0.5 else _channels
    out = draw(rng, height * width)
    stride = tuple(int(s) for s in rng.integers(1, 3, 2))
    return build.conv2d(
        *(x, _weights(rng, out, *kernel, depth), _weights(rng, out)),
        stride=(stride[0], stride[1]),
        padding=_padding(rng, (height, width), reach),
        dilation=dilation,
        activation=_activation(rng),
    )


def _pointwise(build: GraphBuilder, rng: Rng, x: str) -> str:
    _, height, width, _ = build.shape(x)
    draw = _aligned if rng.random() < 0.5 else _channels
    return _product(build, rng, x, draw(rng, height * width))


def _product(build: GraphBuilder, rng: Rng, x: str, out: int) -> str:
    weights = _weights(rng, out, 1, 1, build.shape(x)[3])
    return build.conv2d(x, weights, _weights(rng, out), activation=_activation(rng))


def _grouped(build: GraphBuilder, rng: Rng, x: str) -> str:
    _, height, width, depth = build.shape(x)
    if depth % 2:
        return _pointwise(build, rng, x)
    out = 2 * max(1, _channels(rng, height * width) // 2)
    return build.conv2d(
        *(x, _weights(rng, out, 3, 3, depth // 2), _weights(rng, out)),
        padding=((1, 1), (1, 1)),
        activation=_activation(rng),
    )


def _depthwise(build: GraphBuilder, rng: Rng, x: str, kernel: tuple[int, int]) -> str:
    _, height, width, depth = build.shape(x)
    more = 2 if depth < 8 and rng.random() < 0.3 else 1
    stride = (1, 1) if rng.random() < 0.6 else (2, 2)
    return build.depthwise_conv2d(
        *(x, _weights(rng, 1, *kernel, depth * more), _weights(rng, depth * more)),
        stride=stride,
        padding=_padding(rng, (height, width), kernel),
        activation=_activation(rng),
    )


def _depthwise_any(build: GraphBuilder, rng: Rng, x: str) -> str:
    kernel = rng.integers(1, 6, 2)
    return _depthwise(build, rng, x, (int(kernel[0]), int(kernel[1])))


def _pool(build: GraphBuilder, rng: Rng, x: str, op: str) -> str:
    _, height, width, _ = build.shape(x)
    kernel = (min(height, int(rng.integers(2, 4))), min(width, int(rng.integers(2, 4))))
    stride = int(rng.integers(1, 3))
    inside = min(kernel) > 1  # no window may see padding alone
    padding = ((0, 1), (0, 1)) if inside and rng.random() < 0.3 else NO_PADDING
    pool = build.max_pool2d if op == "max" else build.average_pool2d
    return pool(x, kernel, (stride, stride), padding)


def _pad(build: GraphBuilder, rng: Rng, x: str) -> str:
    top, left, bottom, right = (int(n) for n in rng.integers(0, 3, 4))
    return build.pad(x, ((top, bottom), (left, right)))


def _add(build: GraphBuilder, rng: Rng, x: str) -> str:
    return build.add(x, x, activation=_activation(rng))


def _flattened(build: GraphBuilder, x: str) -> str:
    _, height, width, channels = build.shape(x)
    return build.reshape(x, (1, height * width * channels))


def _dense(build: GraphBuilder, rng: Rng, x: str) -> str:
    out = int(rng.integers(1, 65))
    weights = _weights(rng, out, build.shape(x)[-1])
    return build.fully_connected(x, weights, _weights(rng, out), activation=_activation(rng))


_LAYERS: Mapping[str, Layer] = {
    "conv2d": _conv2d,
    "depthwise": lambda build, rng, x: _depthwise(build, rng, x, (3, 3)),
    "pointwise": _pointwise,
    "max_pool": lambda build, rng, x: _pool(build, rng, x, "max"),
    "conv2d again": _conv2d,
    "add": _add,
    "depthwise of any window": _depthwise_any,
    "pad": _pad,
    "pointwise again": _pointwise,
    "average_pool": lambda build, rng, x: _pool(build, rng, x, "average"),
    "grouped": _grouped,
}
