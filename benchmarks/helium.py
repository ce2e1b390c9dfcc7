"""Generated C on an emulated Cortex-M55 beside CMSIS-NN: instructions per multiply-accumulate.

Four layers, int8 with one factor for each channel, run on QEMU's mps3-an547; instructions are exact
and repeatable, outputs must equal the integer reference. CMSIS-NN's figures were measured once by
this project on the same emulated core: CMSIS-NN 99f736a, -Ofast, its kernel calls alone. Its fully
connected one contains a sum over the weights that TensorFlow Lite Micro takes ahead of time. Then
the int8 reference models of MLPerf Tiny v1 (`mlperf_tiny` of the data folder, `EDGEKILN_DATA`),
beside the kernels of the dsp family on the same core.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c, memory_plan
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.compiler.workload import workload
from edgekiln.targets.emulate import Emulation, emulate_folder, missing_tools
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.profiles import load_target

from .figure import Figure, Scale

CORE = "cortex-m55"
SAMPLES = 2
MODELS = ("ic_resnet8", "kws_dscnn", "vww_mbv1", "ad_fc")


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def _conv_3x3(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("conv 3x3", (1, 32, 32, 16))
    weights, padding = _normal(rng, 16, 3, 3, 16), ((1, 1), (1, 1))
    return build.finish(build.conv2d(build.input, weights, _normal(rng, 16), padding=padding))


def _depthwise_3x3(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("depthwise 3x3", (1, 24, 24, 32))
    weights, padding = _normal(rng, 1, 3, 3, 32), ((1, 1), (1, 1))
    x = build.depthwise_conv2d(build.input, weights, _normal(rng, 32), padding=padding)
    return build.finish(x)


def _pointwise(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("pointwise", (1, 12, 12, 64))
    return build.finish(build.conv2d(build.input, _normal(rng, 64, 1, 1, 64), _normal(rng, 64)))


def _fully_connected(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("fully connected", (1, 640))
    return build.finish(
        build.fully_connected(build.input, _normal(rng, 128, 640), _normal(rng, 128))
    )


@dataclass(frozen=True, slots=True)
class Layer:
    """What CMSIS-NN takes for each multiply-accumulate, and how much of it ours may take."""

    make: Callable[[np.random.Generator], Graph]
    peer: float
    at_most: float


LAYERS = (
    Layer(_conv_3x3, 0.39, 1.0),
    Layer(_depthwise_3x3, 2.69, 0.6),
    Layer(_pointwise, 0.39, 1.0),
    Layer(_fully_connected, 0.95, 0.3),
)


def run(scale: Scale) -> Iterator[Figure]:
    """Instructions per multiply-accumulate of each layer, then instructions of each model."""
    if absent := missing_tools(MACHINES[CORE].tools):
        yield Figure(f"not installed: {', '.join(absent)} (make system)", 0, "layers", "exact")
        return
    for layer in LAYERS:
        rng = np.random.default_rng(scale.seed)
        graph = layer.make(rng)
        samples = rng.normal(0, 1, (16, *graph.input.shape[1:])).astype(np.float32)
        yield from _layer_figures(quantize(graph, samples), layer, scale.seed)
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EDGEKILN_DATA", default)) / "mlperf_tiny"
    if not folder.is_dir():
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    for name in MODELS:
        graph = import_model(folder / f"{name}_int8.tflite")
        yield from _model_figures(graph, name, scale.seed)


def _layer_figures(graph: Graph, layer: Layer, seed: int) -> Iterator[Figure]:
    result, differing = _emulated(graph, Family.HELIUM, seed)
    macs = sum(work.macs for work in workload(graph).layers)
    per_mac = result.instructions / macs
    yield Figure(f"{graph.name}: bytes of outputs that differ", differing, "bytes", "exact", 0)
    yield Figure(f"{graph.name}: instructions per MAC", per_mac, "insns", "T2")
    yield Figure(f"{graph.name}: instructions per MAC, CMSIS-NN", layer.peer, "insns", "T2")
    yield Figure(f"{graph.name}: ratio", per_mac / layer.peer, "", "T2", layer.at_most)


def _model_figures(graph: Graph, name: str, seed: int) -> Iterator[Figure]:
    result, differing = _emulated(graph, Family.HELIUM, seed)
    dsp, _ = _emulated(graph, Family.DSP, seed)
    ratio = result.instructions / dsp.instructions
    arena = memory_plan(graph, Family.HELIUM).arena_bytes
    yield Figure(f"{name}: bytes of outputs that differ", differing, "bytes", "exact", 0)
    yield Figure(f"{name}: instructions", result.instructions, "insns", "T2")
    yield Figure(f"{name}: instructions, dsp kernels", dsp.instructions, "insns", "T2")
    yield Figure(f"{name}: ratio", ratio, "", "T2", 0.5)
    yield Figure(f"{name}: code", result.code_bytes, "bytes", "exact", 16_384)
    yield Figure(f"{name}: parameters", result.weight_bytes, "bytes", "exact")
    yield Figure(f"{name}: activations and scratch", arena, "bytes", "exact")
    yield Figure(f"{name}: stack", result.stack_bytes, "bytes", "exact")


def _emulated(graph: Graph, family: Family, seed: int) -> tuple[Emulation, int]:
    """A run on the core, and how many bytes of its outputs differ from the reference."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-128, 128, (SAMPLES, *graph.input.shape[1:])).astype(np.int8)
    target = dataclasses.replace(load_target("cortex-m4"), core=CORE)
    with tempfile.TemporaryDirectory(prefix="edgekiln-helium-") as folder:
        emit_c(graph, inputs, family).write(Path(folder))
        result = emulate_folder(Path(folder), target)
    differing = np.frombuffer(result.outputs, np.int8) != run_int8(graph, inputs).reshape(-1)
    return result, int(differing.sum())
