"""What running chains of layers in strips saves, and what it costs, on an emulated Cortex-M4.

    python -m benchmarks c_strips

The models are MLPerf Tiny's and a network of inverted residuals as MobileNetV2 has them, 96 x 96
pixels, with random weights. Each is planned with every layer alone and as generated C has it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.emit_c_layers import layer
from edgekiln.compiler.emit_c_plan import kernel_call, planned
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.ops import Activation, Op
from edgekiln.compiler.plan_memory import plan_memory
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.compiler.shapes import same_padding
from edgekiln.targets.emulate import emulate_folder, missing_tools
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

from .figure import Figure, Scale
from .plausible import MODELS, models_folder

TARGET = "cortex-m4"
SAMPLES = 2
# Of MobileNetV2's blocks: outputs, stride, times the first convolution's channels are widened.
BLOCKS = ((8, 1, 1), (16, 2, 6), (16, 1, 6), (24, 2, 6), (24, 1, 6), (32, 2, 6), (32, 1, 6))


def run(scale: Scale) -> Iterator[Figure]:
    """Arena and instructions of each model."""
    if absent := missing_tools():
        yield Figure(f"not installed: {', '.join(absent)} (make system)", 0, "models", "exact")
        return
    target = load_target(TARGET)
    yield from _figures(inverted_residuals(scale.seed), target, scale.seed)
    folder = models_folder()
    for name in MODELS if folder else ():
        assert folder is not None
        yield from _figures(import_model(folder / f"{name}_int8.tflite"), target, scale.seed)


def inverted_residuals(seed: int) -> Graph:
    """An int8 network of 96 x 96 x 3 whose blocks widen, filter and narrow."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("inverted_residuals", (1, 96, 96, 3))
    x = _conv(build, rng, build.input, 8, 3, 2)
    for out, stride, factor in BLOCKS:
        channels = build.shape(x)[3]
        wide = _conv(build, rng, x, channels * factor, 1, 1) if factor > 1 else x
        size = build.shape(wide)[1:3]
        y = build.depthwise_conv2d(
            wide,
            _weights(rng, 1, 3, 3, channels * factor),
            _weights(rng, channels * factor),
            stride=(stride, stride),
            padding=same_padding((size[0], size[1]), (3, 3), (stride, stride)),
            activation=Activation.RELU6,
        )
        y = build.conv2d(y, _weights(rng, out, 1, 1, channels * factor), _weights(rng, out))
        x = build.add(x, y) if stride == 1 and channels == out else y
    mean = build.mean(x)
    head = build.fully_connected(mean, _weights(rng, 2, build.shape(mean)[1]), _weights(rng, 2))
    graph = build.finish(head)
    return quantize(graph, rng.normal(0, 1, (2, 96, 96, 3)).astype(np.float32))


def _conv(
    build: GraphBuilder, rng: np.random.Generator, x: str, out: int, kernel: int, stride: int
) -> str:
    _, height, width, channels = build.shape(x)
    return build.conv2d(
        x,
        _weights(rng, out, kernel, kernel, channels),
        _weights(rng, out),
        stride=(stride, stride),
        padding=same_padding((height, width), (kernel, kernel), (stride, stride)),
        activation=Activation.RELU6,
    )


def _weights(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, 0.3, shape).astype(np.float32)


def _figures(graph: Graph, target: Target, seed: int) -> Iterator[Figure]:
    family = family_of_core(target.core)
    nodes = [node for node in graph.nodes if node.op is not Op.RESHAPE]
    alone = (layer(graph, node, index, family) for index, node in enumerate(nodes))
    whole = plan_memory(graph, map(kernel_call, alone)).arena_bytes
    calls, plan = planned(graph, family)
    inputs = np.random.default_rng(seed).integers(
        -128, 128, (SAMPLES, *graph.input.shape[1:]), np.int8
    )
    with tempfile.TemporaryDirectory(prefix="edgekiln-strips-") as name:
        emit_c(graph, inputs, family).write(Path(name))
        found = emulate_folder(Path(name), target)
    wrong = np.frombuffer(found.outputs, np.int8) != run_int8(graph, inputs).reshape(-1)
    figures: tuple[tuple[str, float, str, float | None], ...] = (
        ("chains in strips", sum(bool(call.parts) for call in calls), "calls", None),
        ("arena, every layer alone", whole, "bytes", None),
        ("arena", plan.arena_bytes, "bytes", whole),
        ("lower bound", plan.lower_bound_bytes, "bytes", None),
        ("instructions", found.instructions, "insns", None),
        ("code", found.code_bytes, "bytes", None),
        ("bytes of outputs that differ", int(wrong.sum()), "bytes", 0),
    )
    for what, value, unit, at_most in figures:
        tier = "T2" if unit == "insns" else "exact"
        yield Figure(f"{graph.name}: {what}", value, unit, tier, at_most)
