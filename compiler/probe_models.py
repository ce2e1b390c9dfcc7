"""Random little networks and single operators: what a host's cost tables are fitted to.

Convolutions, depthwise blocks, residual additions, poolings, paddings and dense heads over many
sizes and windows, a few plain dense ones, and each light operator alone, because inside a network
the convolutions hide what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import numpy.typing as npt

from .builder import GraphBuilder
from .graph import Graph
from .ops import Activation, Op
from .probe_extras import PROBES_EACH, extra_probes
from .probe_lstm import lstm_probes
from .quantize import quantize

CONVOLUTIONAL_PROBES = 14
DENSE_PROBES = 6
LIGHT_PROBES = 3  # of each operator that a convolution outweighs

Rng = np.random.Generator


def probe_graphs(seed: int) -> Iterator[Graph]:
    """The int8 probes of `seed`, always the same ones."""
    rng = np.random.default_rng(seed)
    for index in range(CONVOLUTIONAL_PROBES):
        yield _quantized(_convolutional(rng, index), rng)
    for index in range(DENSE_PROBES):
        yield _quantized(_dense(rng, index), rng)
    for index in range(LIGHT_PROBES * len(_LIGHT)):
        yield _quantized(_alone(rng, index), rng)


def more_probes(ops: Collection[str], seed: int) -> Iterator[Graph]:
    """The int8 probes of further operators, always the same ones for one seed."""
    rng = np.random.default_rng((seed, 1))
    for graph in extra_probes(ops, rng):
        yield _quantized(graph, rng)
    if Op.UNIDIRECTIONAL_SEQUENCE_LSTM in ops:
        yield from lstm_probes(rng, PROBES_EACH)


def _quantized(graph: Graph, rng: Rng) -> Graph:
    samples = rng.normal(0, 1, (4, *graph.input.shape[1:])).astype(np.float32)
    return quantize(graph, samples)


def _convolutional(rng: Rng, index: int) -> Graph:
    size, channels = int(2 ** rng.uniform(2.5, 4.8)), int(rng.choice((1, 2, 3, 4)))
    build = GraphBuilder(f"probe_{index}", (1, size, size, channels))
    x = _conv(build, rng, build.input, _width(rng), _kernel(rng), _stride(rng))
    for offset in range(int(rng.integers(1, 4))):
        # In turn, so that every operator is in several probes.
        x = _BLOCKS[(index + offset) % len(_BLOCKS)](build, rng, x)
    return _head(build, rng, x, flatten=index % 3 == 0)


def _dense(rng: Rng, index: int) -> Graph:
    """Up to three dense layers, every other probe over a flattened image."""
    side = int(rng.integers(3, 10))
    flat = index % 2 == 0
    build = GraphBuilder(f"probe_dense_{index}", (1, side * side) if flat else (1, side, side, 1))
    x = build.input if flat else build.reshape(build.input, (1, side * side))
    for _ in range(index % 3):
        x = _fully_connected(build, rng, x, int(rng.integers(8, 129)), Activation.RELU)
    return build.finish(_fully_connected(build, rng, x, int(rng.integers(2, 11))))


def _alone(rng: Rng, index: int) -> Graph:
    size = int(rng.integers(4, 21))
    build = GraphBuilder(f"probe_alone_{index}", (1, size, size, _width(rng)))
    count = len(_LIGHT)
    return build.finish(_LIGHT[index % count](build, rng, build.input, index // count))


def _head(build: GraphBuilder, rng: Rng, x: str, *, flatten: bool) -> Graph:
    if flatten:
        _, height, width, channels = build.shape(x)
        x = build.reshape(x, (1, height * width * channels))
    else:
        x = build.mean(x)
    return build.finish(_fully_connected(build, rng, x, int(rng.integers(2, 11))))


def _width(rng: Rng) -> int:
    """Output channels, as many between 4 and 8 as between 32 and 64."""
    return int(2 ** rng.uniform(2, 6))


def _stride(rng: Rng) -> int:
    return int(rng.choice((1, 2)))


def _kernel(rng: Rng) -> int:
    """Of two sizes: else what a tap costs could not be told from what an output does."""
    return int(rng.choice((3, 5)))


def _weights(rng: Rng, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, 0.3, shape).astype(np.float32)


def _conv(build: GraphBuilder, rng: Rng, x: str, out: int, kernel: int, stride: int = 1) -> str:
    weights = _weights(rng, out, kernel, kernel, build.shape(x)[3])
    around = (kernel // 2, kernel // 2)
    return build.conv2d(
        *(x, weights, _weights(rng, out)),
        stride=(stride, stride),
        padding=(around, around),
        activation=Activation.RELU,
    )


def _fully_connected(
    build: GraphBuilder, rng: Rng, x: str, out: int, activation: Activation = Activation.NONE
) -> str:
    weights = _weights(rng, out, build.shape(x)[1])
    return build.fully_connected(x, weights, _weights(rng, out), activation=activation)


def _conv_block(build: GraphBuilder, rng: Rng, x: str) -> str:
    return _conv(build, rng, x, _width(rng), int(rng.choice((1, 3, 5))), _stride(rng))


def _depthwise(build: GraphBuilder, rng: Rng, x: str, kernel: int, stride: int) -> str:
    channels, around = build.shape(x)[3], (kernel // 2, kernel // 2)
    return build.depthwise_conv2d(
        *(x, _weights(rng, 1, kernel, kernel, channels), _weights(rng, channels)),
        stride=(stride, stride),
        padding=(around, around),
        activation=Activation.RELU,
    )


def _separable_block(build: GraphBuilder, rng: Rng, x: str) -> str:
    x = _depthwise(build, rng, x, _kernel(rng), _stride(rng))
    return _conv(build, rng, x, _width(rng), 1)


def _residual_block(build: GraphBuilder, rng: Rng, x: str) -> str:
    inner = _conv(build, rng, x, build.shape(x)[3], _kernel(rng))
    return build.add(x, inner, activation=Activation.RELU)


def _max_pool_block(build: GraphBuilder, _: Rng, x: str) -> str:
    return build.max_pool2d(x, (2, 2), (2, 2)) if build.shape(x)[1] > 3 else x


def _average_pool_block(build: GraphBuilder, _: Rng, x: str) -> str:
    return build.average_pool2d(x, (2, 2), (2, 2)) if build.shape(x)[1] > 3 else x


def _pad_block(build: GraphBuilder, _: Rng, x: str) -> str:
    return build.pad(x, ((1, 1), (1, 1)))


_BLOCKS: tuple[Callable[[GraphBuilder, Rng, str], str], ...] = (
    _conv_block,
    _separable_block,
    _max_pool_block,
    _residual_block,
    _average_pool_block,
    _separable_block,
    _pad_block,
)


# `turn` counts the probes of one operator, so that its windows are of several sizes.
_LIGHT: tuple[Callable[[GraphBuilder, Rng, str, int], str], ...] = (
    lambda build, _, x, turn: build.max_pool2d(x, (2 + turn, 2 + turn), (2 + turn, 2 + turn)),
    lambda build, _, x, turn: build.average_pool2d(x, (2 + turn, 2 + turn), (2 + turn, 2 + turn)),
    lambda build, rng, x, turn: _depthwise(build, rng, x, 3 + 2 * (turn % 2), 1),
    lambda build, rng, x, _: _pad_block(build, rng, x),
    lambda build, _, x, __: build.add(x, x),
    lambda build, _, x, __: build.mean(x),
)
