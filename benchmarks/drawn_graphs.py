"""`draw_graphs`: small int8 graphs of every geometry that convolutions can have, by hypothesis.

One to four layers on an image of odd sizes: convolutions, depthwise convolutions of any kernel with
strides, dilations and several outputs of a channel, residual additions, concatenations, pools; then
an end that is dense or none. Weights come from a drawn seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Activation, AxisAttrs, Op, Padding, Pair
from edgekiln.compiler.quantize import quantize

_CALIBRATION = 4  # samples
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Drawing:
    """A graph in the making, and where its numbers come from."""

    draw: st.DrawFn
    rng: np.random.Generator
    build: GraphBuilder

    def number(self, low: int, high: int) -> int:
        """Both ends included."""
        return self.draw(st.integers(low, high))

    def weights(self, *shape: int) -> Floats:
        return self.rng.normal(0, 0.5, shape).astype(np.float32)

    def activation(self) -> Activation:
        return self.draw(st.sampled_from(list(Activation)))


@dataclass(frozen=True, slots=True)
class _Slide:
    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: Padding


def draw_graphs(count: int) -> tuple[Graph, ...]:
    """The first `count` graphs that hypothesis draws: the same in every run."""
    found: list[Graph] = []

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(_graphs())
    def collect(graph: Graph) -> None:
        found.append(graph)

    collect()
    return tuple(found[:count])


@st.composite
def _graphs(draw: st.DrawFn) -> Graph:
    """A quantized graph of at most 11 x 11 pixels and a handful of channels."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    sizes = st.integers(1, 11)
    build = GraphBuilder("drawn", (1, draw(sizes), draw(sizes), draw(st.integers(1, 6))))
    drawing = _Drawing(draw, rng, build)
    x = build.input
    for _ in range(drawing.number(1, 4)):
        x = draw(st.sampled_from(_LAYERS))(drawing, x)
    graph = build.finish(draw(st.sampled_from(_ENDS))(drawing, x))
    shape = graph.input.shape[1:]
    return quantize(graph, rng.normal(0, 1, (_CALIBRATION, *shape)).astype(np.float32))


def _slide(drawing: _Drawing, x: str, longest: int) -> _Slide:
    """A window that fits `x` with its padding somewhere."""
    square = drawing.number(0, 3) == 0  # 3 by 3, as most are
    axes = []
    for size in drawing.build.shape(x)[1:3]:
        before, after = drawing.number(0, 3), drawing.number(0, 3)
        stride, dilation = drawing.number(1, 3), drawing.number(1, 3)
        if drawing.number(0, 3):  # rarely both
            stride, dilation = (stride, 1) if drawing.number(0, 1) else (1, dilation)
        kernel = 3 if square else drawing.number(1, longest)
        room = (size + before + after - 1) // dilation + 1
        axes.append((min(kernel, room), stride, dilation, (before, after)))
    (high, down, apart_y, rows), (wide, right, apart_x, columns) = axes
    return _Slide((high, wide), (down, right), (apart_y, apart_x), (rows, columns))


def _conv(drawing: _Drawing, x: str) -> str:
    slide = _slide(drawing, x, 4)
    channels, out = drawing.build.shape(x)[3], drawing.number(1, 9)
    return drawing.build.conv2d(
        x,
        drawing.weights(out, *slide.kernel, channels),
        drawing.weights(out),
        stride=slide.stride,
        dilation=slide.dilation,
        padding=slide.padding,
        activation=drawing.activation(),
    )


def _depthwise(drawing: _Drawing, x: str) -> str:
    slide = _slide(drawing, x, 11)
    channels = drawing.build.shape(x)[3] * (2 if drawing.number(0, 7) == 0 else 1)
    return drawing.build.depthwise_conv2d(
        x,
        drawing.weights(1, *slide.kernel, channels),
        drawing.weights(channels),
        stride=slide.stride,
        dilation=slide.dilation,
        padding=slide.padding,
        activation=drawing.activation(),
    )


def _pointwise(drawing: _Drawing, x: str, out: int) -> str:
    channels = drawing.build.shape(x)[3]
    return drawing.build.conv2d(x, drawing.weights(out, 1, 1, channels), drawing.weights(out))


def _residual(drawing: _Drawing, x: str) -> str:
    y = _pointwise(drawing, x, drawing.build.shape(x)[3])
    return drawing.build.add(x, y, activation=drawing.activation())


def _concatenation(drawing: _Drawing, x: str) -> str:
    y = _pointwise(drawing, x, drawing.number(1, 5))
    return drawing.build.node(Op.CONCATENATION, (x, y), AxisAttrs(3))


def _pool(drawing: _Drawing, x: str) -> str:
    height, width = drawing.build.shape(x)[1:3]
    kernel = min(drawing.number(1, 3), height), min(drawing.number(1, 3), width)
    stride = drawing.number(1, 2), drawing.number(1, 2)
    pool = drawing.draw(st.sampled_from((drawing.build.max_pool2d, drawing.build.average_pool2d)))
    return pool(x, kernel, stride, ((0, 0), (0, 0)))


def _no_end(drawing: _Drawing, x: str) -> str:
    return x


def _dense(drawing: _Drawing, x: str) -> str:
    mean = drawing.build.mean(x)
    out = drawing.number(1, 9)
    weights = drawing.weights(out, drawing.build.shape(mean)[1])
    return drawing.build.fully_connected(mean, weights, drawing.weights(out))


_Layer = Callable[[_Drawing, str], str]
_LAYERS: tuple[_Layer, ...] = (
    *(_depthwise, _depthwise, _depthwise),
    *(_conv, _conv, _residual, _concatenation, _pool),
)
_ENDS: tuple[_Layer, ...] = (_no_end, _dense)
