"""Instructions for each multiply-accumulate (MAC) of single layers on an emulated Cortex-M4.

    python -m benchmarks c_layers

Each shape is a model of one layer with random weights, quantized, and run as generated C;
instructions are exact and repeatable, and are those of the whole invoke. Outputs must equal the
integer reference. Taps that fall into the padding count as MACs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Activation, Pair
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.compiler.shapes import same_padding
from edgekiln.compiler.workload import workload
from edgekiln.targets.emulate import emulate_folder, missing_tools
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

from .figure import Figure, Scale

TARGET = "cortex-m4"
SAMPLES = 2

Make = Callable[[np.random.Generator], Graph]


@dataclass(frozen=True, slots=True)
class Image:
    """Height, width and channels of an input."""

    height: int
    width: int
    channels: int


def _weights(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def _depthwise(image: Image, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)) -> Make:
    def make(rng: np.random.Generator) -> Graph:
        size = image.height, image.width
        build = GraphBuilder("depthwise", (1, *size, image.channels))
        out = build.depthwise_conv2d(
            build.input,
            _weights(rng, 1, *kernel, image.channels),
            _weights(rng, image.channels),
            stride=stride,
            dilation=dilation,
            padding=same_padding(size, kernel, stride, dilation),
            activation=Activation.RELU,
        )
        return build.finish(out)

    return make


def _conv(image: Image, kernel: Pair, out_channels: int, stride: Pair = (1, 1)) -> Make:
    def make(rng: np.random.Generator) -> Graph:
        size = image.height, image.width
        build = GraphBuilder("conv", (1, *size, image.channels))
        out = build.conv2d(
            build.input,
            _weights(rng, out_channels, *kernel, image.channels),
            _weights(rng, out_channels),
            stride=stride,
            padding=same_padding(size, kernel, stride),
            activation=Activation.RELU,
        )
        return build.finish(out)

    return make


def _dense(in_size: int, out_size: int) -> Make:
    def make(rng: np.random.Generator) -> Graph:
        build = GraphBuilder("dense", (1, in_size))
        weights, bias = _weights(rng, out_size, in_size), _weights(rng, out_size)
        return build.finish(build.fully_connected(build.input, weights, bias))

    return make


LAYERS: Mapping[str, Make] = {
    "depthwise 3x3, 24x24x16": _depthwise(Image(24, 24, 16), (3, 3)),
    "depthwise 3x3 by 2, 24x24x16": _depthwise(Image(24, 24, 16), (3, 3), (2, 2)),
    "depthwise 3x3 dilated 2, 24x24x16": _depthwise(Image(24, 24, 16), (3, 3), (1, 1), (2, 2)),
    "depthwise 5x5, 24x24x16": _depthwise(Image(24, 24, 16), (5, 5)),
    "depthwise 5x5 by 2, 24x24x16": _depthwise(Image(24, 24, 16), (5, 5), (2, 2)),
    "depthwise 5x5, 7x7x48": _depthwise(Image(7, 7, 48), (5, 5)),
    "depthwise 7x7, 24x24x16": _depthwise(Image(24, 24, 16), (7, 7)),
    "depthwise 1x3, 1x128x16": _depthwise(Image(1, 128, 16), (1, 3)),
    "depthwise 3x1, 128x1x16": _depthwise(Image(128, 1, 16), (3, 1)),
    "depthwise 1x9, 1x128x16": _depthwise(Image(1, 128, 16), (1, 9)),
    "depthwise 9x1, 128x1x16": _depthwise(Image(128, 1, 16), (9, 1)),
    "depthwise 1x9 dilated 4, 1x128x16": _depthwise(Image(1, 128, 16), (1, 9), (1, 1), (1, 4)),
    "depthwise 1x9 by 2, 1x128x16": _depthwise(Image(1, 128, 16), (1, 9), (1, 2)),
    "depthwise 9x1, 49x10x16": _depthwise(Image(49, 10, 16), (9, 1)),
    "conv 3x3, 32x32x3 to 16": _conv(Image(32, 32, 3), (3, 3), 16),
    "conv 3x3 by 2, 96x96x3 to 8": _conv(Image(96, 96, 3), (3, 3), 8, (2, 2)),
    "conv 3x3, 28x28x1 to 8": _conv(Image(28, 28, 1), (3, 3), 8),
    "conv 10x4 by 2, 49x10x1 to 64": _conv(Image(49, 10, 1), (10, 4), 64, (2, 2)),
    "conv 1x9, 1x128x3 to 16": _conv(Image(1, 128, 3), (1, 9), 16),
    "conv 9x1, 128x1x6 to 16": _conv(Image(128, 1, 6), (9, 1), 16),
    "conv 3x3, 16x16x16 to 16": _conv(Image(16, 16, 16), (3, 3), 16),
    "conv 1x1, 16x16x16 to 32": _conv(Image(16, 16, 16), (1, 1), 32),
    "conv 1x1, 16x16x6 to 9": _conv(Image(16, 16, 6), (1, 1), 9),
    "fully connected 640 to 128": _dense(640, 128),
    "fully connected 64 to 10": _dense(64, 10),
    "fully connected 33 to 3": _dense(33, 3),
    "fully connected 16 to 16": _dense(16, 16),
    "fully connected 8 to 128": _dense(8, 128),
    "fully connected 10 to 1": _dense(10, 1),
}


def run(scale: Scale) -> Iterator[Figure]:
    """Instructions a MAC of each layer, and the bytes of all outputs that differ."""
    if absent := missing_tools():
        yield Figure(f"not installed: {', '.join(absent)} (make system)", 0, "layers", "exact")
        return
    target = load_target(TARGET)
    differing = 0
    for name, make in LAYERS.items():
        instructions, macs, wrong = _measure(make, target, scale.seed)
        differing += wrong
        yield Figure(name, instructions / macs, "insns/MAC", "T2")
    yield Figure("bytes of outputs that differ", differing, "bytes", "exact", 0)


def _measure(make: Make, target: Target, seed: int) -> tuple[int, int, int]:
    """Instructions, MACs, and bytes of outputs that differ from the reference's."""
    rng = np.random.default_rng(seed)
    graph = make(rng)
    shape = graph.input.shape[1:]
    graph = quantize(graph, rng.normal(0, 1, (8, *shape)).astype(np.float32))
    inputs = rng.integers(-128, 128, (SAMPLES, *shape)).astype(np.int8)
    with tempfile.TemporaryDirectory(prefix="edgekiln-layers-") as name:
        emit_c(graph, inputs, family_of_core(target.core)).write(Path(name))
        found = emulate_folder(Path(name), target)
    expected = run_int8(graph, inputs).reshape(-1)
    wrong = int((np.frombuffer(found.outputs, np.int8) != expected).sum())
    return found.instructions, workload(graph).macs, wrong
