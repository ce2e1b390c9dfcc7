"""Small networks of seven families, as people draw them: what a calibrated table is held to.

None of them takes part in a fit, so the ratios of their times to what a table says of them are
those of models that it has not seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from .builder import GraphBuilder
from .graph import Graph
from .ops import Activation, NoAttrs, Op
from .quantize import quantize

Rng = np.random.Generator


def networks(seed: int, count: int) -> Iterator[Graph]:
    """`count` int8 networks, one family after the other, always the same ones for one seed."""
    families = tuple(FAMILIES)
    for index in range(count):
        family = families[index % len(families)]
        made = network(family, (seed, 3, index))
        yield dataclasses.replace(made, name=f"{family}_{index}")


def network(family: str, seed: int | tuple[int, ...]) -> Graph:
    """One int8 network of a family of `FAMILIES`."""
    rng = np.random.default_rng(seed)
    graph = FAMILIES[family](rng)
    samples = rng.normal(0, 1, (4, *graph.input.shape[1:])).astype(np.float32)
    return quantize(graph, samples)


def network_float(family: str, seed: int | tuple[int, ...]) -> Graph:
    """The same network in float32."""
    return FAMILIES[family](np.random.default_rng(seed))


def _weights(rng: Rng, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, 0.3, shape).astype(np.float32)


def _pick(rng: Rng, *choices: int) -> int:
    return choices[int(rng.integers(len(choices)))]


def _conv(
    build: GraphBuilder,
    rng: Rng,
    x: str,
    out: int,
    kernel: tuple[int, int],
    stride: int = 1,
    activation: Activation = Activation.RELU,
    dilation: int = 1,
) -> str:
    around = tuple(((k - 1) * dilation // 2, k // 2 * dilation) for k in kernel)
    return build.conv2d(
        *(x, _weights(rng, out, *kernel, build.shape(x)[3]), _weights(rng, out)),
        stride=(stride, stride if kernel[1] > 1 or kernel[0] == 1 else 1),
        padding=(around[0], around[1]),
        dilation=(dilation, 1 if kernel[1] == 1 else dilation),
        activation=activation,
    )


def _depthwise(
    build: GraphBuilder, rng: Rng, x: str, stride: int, activation: Activation, kernel: int = 3
) -> str:
    channels, around = build.shape(x)[3], (kernel // 2, kernel // 2)
    return build.depthwise_conv2d(
        *(x, _weights(rng, 1, kernel, kernel, channels), _weights(rng, channels)),
        stride=(stride, stride),
        padding=(around, around),
        activation=activation,
    )


def _dense(
    build: GraphBuilder, rng: Rng, x: str, out: int, activation: Activation = Activation.NONE
) -> str:
    weights = _weights(rng, out, build.shape(x)[-1])
    return build.fully_connected(x, weights, _weights(rng, out), activation=activation)


def _flat(build: GraphBuilder, x: str) -> str:
    return build.reshape(x, (1, int(np.prod(build.shape(x)[1:]))))


def _finished(build: GraphBuilder, rng: Rng, x: str) -> Graph:
    x = _dense(build, rng, build.mean(x), int(rng.integers(2, 13)))
    return build.finish(build.node(Op.SOFTMAX, (x,), NoAttrs()))


def _residual(rng: Rng) -> Graph:
    """Two convolutions and their input, with a projection where the size changes."""
    size = _pick(rng, 12, 16, 20)
    build = GraphBuilder("residual", (1, size, size, 3))
    width = _pick(rng, 6, 8, 12, 16)
    x = _conv(build, rng, build.input, width, (3, 3))
    for block in range(int(rng.integers(1, 4))):
        stride = 2 if block else 1
        width = width * 3 // 2 if block else width
        inner = _conv(build, rng, x, width, (3, 3), stride)
        inner = _conv(build, rng, inner, width, (3, 3), 1, Activation.NONE)
        if block:
            x = _conv(build, rng, x, width, (1, 1), stride, Activation.NONE)
        x = build.add(x, inner, activation=Activation.RELU)
    return _finished(build, rng, x)


def _separable(rng: Rng) -> Graph:
    """Keyword spotting: a tall first window over a spectrogram, then separable blocks."""
    build = GraphBuilder("separable", (1, _pick(rng, 25, 33, 49), 10, 1))
    width = _pick(rng, 8, 16, 20, 24)
    x = build.conv2d(
        *(build.input, _weights(rng, width, 10, 4, 1), _weights(rng, width)),
        stride=(2, 2),
        padding=((4, 5), (1, 1)),
        activation=Activation.RELU,
    )
    for _ in range(int(rng.integers(1, 5))):
        x = _depthwise(build, rng, x, 1, Activation.RELU)
        x = _conv(build, rng, x, width, (1, 1))
    return _finished(build, rng, x)


def _inverted(rng: Rng) -> Graph:
    """Expand, filter, project, add: clamped at six."""
    size = _pick(rng, 16, 20, 24)
    build = GraphBuilder("inverted", (1, size, size, 3))
    width = _pick(rng, 4, 6, 8)
    x = _conv(build, rng, build.input, width, (3, 3), 2, Activation.RELU6)
    for _ in range(int(rng.integers(2, 5))):
        stride, more = _pick(rng, 1, 1, 2), int(rng.integers(0, 5))
        hidden = build.shape(x)[3] * _pick(rng, 2, 3, 4, 6)
        inner = _conv(build, rng, x, hidden, (1, 1), 1, Activation.RELU6)
        inner = _depthwise(build, rng, inner, stride, Activation.RELU6, _pick(rng, 3, 3, 5))
        out = build.shape(x)[3] + more
        inner = _conv(build, rng, inner, out, (1, 1), 1, Activation.NONE)
        x = build.add(x, inner) if build.shape(inner) == build.shape(x) else inner
    return _finished(build, rng, x)


def _stacked(rng: Rng) -> Graph:
    """Pairs of convolutions and a pooling, then dense layers."""
    size = _pick(rng, 12, 16, 20)
    build = GraphBuilder("stacked", (1, size, size, _pick(rng, 1, 3)))
    x, width = build.input, _pick(rng, 4, 7, 8, 10)
    for _ in range(2):
        x = _conv(build, rng, x, width, (3, 3))
        x = _conv(build, rng, x, width, (3, 3))
        x = build.max_pool2d(x, (2, 2), (2, 2))
        width *= 2
    x = _dense(build, rng, _flat(build, x), int(rng.integers(16, 49)), Activation.RELU)
    return build.finish(_dense(build, rng, x, int(rng.integers(2, 13))))


def _digits(rng: Rng) -> Graph:
    """Windows of five without padding, average pooling, three dense layers."""
    size = _pick(rng, 20, 24, 28)
    build = GraphBuilder("digits", (1, size, size, 1))
    x = build.input
    for width in (_pick(rng, 4, 6, 8), _pick(rng, 8, 12, 16)):
        x = build.conv2d(
            *(x, _weights(rng, width, 5, 5, build.shape(x)[3]), _weights(rng, width)),
            activation=Activation.RELU,
        )
        x = build.average_pool2d(x, (2, 2), (2, 2))
    x = _flat(build, x)
    for width in (int(rng.integers(24, 85)), int(rng.integers(16, 49))):
        x = _dense(build, rng, x, width, Activation.RELU)
    x = _dense(build, rng, x, 10)
    return build.finish(build.node(Op.SOFTMAX, (x,), NoAttrs()))


def _autoencoder(rng: Rng) -> Graph:
    """Dense layers down to a few numbers and up again."""
    size, width = int(rng.integers(64, 321)), int(rng.integers(24, 97))
    build = GraphBuilder("autoencoder", (1, size))
    x = build.input
    for out in (width, width, int(rng.integers(4, 17)), width, width):
        x = _dense(build, rng, x, out, Activation.RELU)
    return build.finish(_dense(build, rng, x, size))


def _temporal(rng: Rng) -> Graph:
    """Motion or sound over time: windows along one axis, each further apart than the last."""
    build = GraphBuilder("temporal", (1, _pick(rng, 50, 64, 100), 1, _pick(rng, 3, 6, 9)))
    width = int(rng.integers(6, 25))
    x = _conv(build, rng, build.input, width, (5, 1), 2)
    for level in range(int(rng.integers(2, 5))):
        inner = _conv(build, rng, x, width, (3, 1), dilation=2**level)
        x = build.add(x, inner, activation=Activation.RELU)
    return _finished(build, rng, x)


FAMILIES: Mapping[str, Callable[[Rng], Graph]] = {
    "residual": _residual,
    "separable": _separable,
    "inverted": _inverted,
    "stacked": _stacked,
    "digits": _digits,
    "autoencoder": _autoencoder,
    "temporal": _temporal,
}
