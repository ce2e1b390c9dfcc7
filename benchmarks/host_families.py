"""Networks of five families that no calibration has seen: what predictions for a host are held to.

They are drawn as people draw them for images and recordings, none like the seven families of
`edgekiln.compiler.probe_networks`: squeeze and expand, bottlenecks with a sum, a pyramid of
separable blocks, branches side by side, windows along time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Activation, AxisAttrs, NoAttrs, Op
from edgekiln.compiler.quantize import quantize

Rng = np.random.Generator
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Unseen:
    """One network in both number formats."""

    family: str
    float32: Graph
    int8: Graph


def unseen(seed: int, count: int) -> Iterator[Unseen]:
    """`count` networks, one family after the other, always the same ones for one seed."""
    names = tuple(FAMILIES)
    for index in range(count):
        family = names[index % len(names)]
        rng = np.random.default_rng((seed, 11, index))
        graph = FAMILIES[family](rng)
        samples = rng.normal(0, 1, (4, *graph.input.shape[1:])).astype(np.float32)
        yield Unseen(family, graph, quantize(graph, samples))


def _weights(rng: Rng, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, 0.3, shape).astype(np.float32)


def _pick(rng: Rng, *choices: int) -> int:
    return choices[int(rng.integers(len(choices)))]


def _conv(
    build: GraphBuilder,
    rng: Rng,
    x: str,
    out: int,
    kernel: Pair = (1, 1),
    stride: int = 1,
    activation: Activation = Activation.RELU,
) -> str:
    return build.conv2d(
        *(x, _weights(rng, out, *kernel, build.shape(x)[3]), _weights(rng, out)),
        stride=(stride, stride if kernel[1] > 1 or kernel[0] == 1 else 1),
        padding=((kernel[0] // 2,) * 2, (kernel[1] // 2,) * 2),
        activation=activation,
    )


def _separable(build: GraphBuilder, rng: Rng, x: str, out: int, stride: int) -> str:
    channels = build.shape(x)[3]
    x = build.depthwise_conv2d(
        *(x, _weights(rng, 1, 3, 3, channels), _weights(rng, channels)),
        stride=(stride, stride),
        padding=((1, 1), (1, 1)),
        activation=Activation.RELU6,
    )
    return _conv(build, rng, x, out, activation=Activation.RELU6)


def _dense(
    build: GraphBuilder, rng: Rng, x: str, out: int, activation: Activation = Activation.NONE
) -> str:
    weights = _weights(rng, out, build.shape(x)[-1])
    return build.fully_connected(x, weights, _weights(rng, out), activation=activation)


def _joined(build: GraphBuilder, *parts: str) -> str:
    return build.node(Op.CONCATENATION, parts, AxisAttrs(3))


def _softmax(build: GraphBuilder, x: str) -> Graph:
    return build.finish(build.node(Op.SOFTMAX, (x,), NoAttrs()))


def _squeezing(rng: Rng) -> Graph:
    """Few channels, then windows of one and of three beside each other; classes by convolution."""
    size = _pick(rng, 24, 32, 40, 48)
    build = GraphBuilder("squeezing", (1, size, size, 3))
    x = _conv(build, rng, build.input, _pick(rng, 8, 12, 16), (3, 3), 2)
    x = build.max_pool2d(x, (2, 2), (2, 2))
    for _ in range(int(rng.integers(2, 5))):
        few, many = _pick(rng, 4, 6, 8), _pick(rng, 8, 12, 16, 24)
        x = _conv(build, rng, x, few)
        x = _joined(build, _conv(build, rng, x, many), _conv(build, rng, x, many, (3, 3)))
    x = _conv(build, rng, x, int(rng.integers(2, 13)))
    return _softmax(build, build.mean(x))


def _bottleneck(rng: Rng) -> Graph:
    """Down to a few channels, a window of three, up again, and the sum."""
    size, width = _pick(rng, 16, 24, 32), _pick(rng, 16, 24, 32, 48)
    build = GraphBuilder("bottleneck", (1, size, size, _pick(rng, 1, 3)))
    x = _conv(build, rng, build.input, width, (3, 3), 2)
    for block in range(int(rng.integers(2, 6))):
        few, stride = max(4, width // 4), 2 if block == 2 else 1
        width = width * stride
        inner = _conv(build, rng, x, few)
        inner = _conv(build, rng, inner, few, (3, 3), stride)
        inner = _conv(build, rng, inner, width, activation=Activation.NONE)
        if stride > 1:
            x = _conv(build, rng, x, width, (1, 1), stride, Activation.NONE)
        x = build.add(x, inner, activation=Activation.RELU)
    return build.finish(_dense(build, rng, build.mean(x), int(rng.integers(2, 101))))


def _pyramid(rng: Rng) -> Graph:
    """Separable blocks, each second one halving the image and doubling the channels."""
    size, width = _pick(rng, 32, 48, 64, 80, 96), _pick(rng, 4, 8, 12, 16)
    build = GraphBuilder("pyramid", (1, size, size, _pick(rng, 1, 3)))
    x = _conv(build, rng, build.input, width, (3, 3), 2, Activation.RELU6)
    for block in range(int(rng.integers(3, 10))):
        stride = 1 + block % 2
        width = min(width * stride, 128)
        x = _separable(build, rng, x, width, stride)
    return _softmax(build, _dense(build, rng, build.mean(x), int(rng.integers(2, 13))))


def _branching(rng: Rng) -> Graph:
    """Windows of one, three and five and a pooling beside each other."""
    size = _pick(rng, 16, 20, 28)
    build = GraphBuilder("branching", (1, size, size, _pick(rng, 1, 3)))
    x = _conv(build, rng, build.input, _pick(rng, 8, 12, 16), (5, 5), 2)
    for _ in range(int(rng.integers(1, 4))):
        width = _pick(rng, 4, 6, 8, 12)
        three = _conv(build, rng, _conv(build, rng, x, width), width, (3, 3))
        five = _conv(build, rng, _conv(build, rng, x, max(2, width // 2)), width, (5, 5))
        pooled = build.max_pool2d(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
        parts = (_conv(build, rng, x, width), three, five, _conv(build, rng, pooled, width))
        x = _joined(build, *parts)
    x = build.average_pool2d(x, (2, 2), (2, 2))
    x = build.reshape(x, (1, int(np.prod(build.shape(x)[1:]))))
    return build.finish(_dense(build, rng, x, int(rng.integers(2, 13))))


def _waves(rng: Rng) -> Graph:
    """A recording of one or a few channels: long windows, poolings along time, dense layers."""
    length, channels = _pick(rng, 128, 187, 256, 400), _pick(rng, 1, 2, 3, 6)
    build = GraphBuilder("waves", (1, length, 1, channels))
    x, width = build.input, _pick(rng, 8, 16, 20)
    for _ in range(int(rng.integers(2, 5))):
        x = _conv(build, rng, x, width, (_pick(rng, 3, 5, 7, 9), 1))
        x = build.max_pool2d(x, (2, 1), (2, 1))
        width = min(width * 3 // 2, 48)
    x = build.reshape(x, (1, int(np.prod(build.shape(x)[1:]))))
    x = _dense(build, rng, x, int(rng.integers(16, 65)), Activation.RELU)
    return _softmax(build, _dense(build, rng, x, int(rng.integers(2, 9))))


FAMILIES: Mapping[str, Callable[[Rng], Graph]] = {
    "squeezing": _squeezing,
    "bottleneck": _bottleneck,
    "pyramid": _pyramid,
    "branching": _branching,
    "waves": _waves,
}
