"""`calibrate`: cost tables for a target from small models that are run there now.

Probes are random little networks: convolutions, depthwise blocks, residual additions, poolings,
paddings and dense heads over many sizes and windows, a few plain dense ones, and each light
operator alone, because inside a network the convolutions hide what it costs. On `host` they are
timed (T3) in every engine that its formats name, on one thread as the runtime runs them; for a
microcontroller their C is emulated and instructions become time through the profile's cycles per
instruction (T2). Each engine gets its own table: no engine's times say much about another's.
"""

from __future__ import annotations

import dataclasses
import platform
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.c_library import build_library, c_compiler
from edgekiln.targets.emulate import emulate_folder, latency_from_instructions, machine_of
from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.evidence import Tier
from edgekiln.targets.fit import Sample, fit_cost_table
from edgekiln.targets.measure import measure_callable
from edgekiln.targets.target import CostTable, Evidence, Target

from .builder import GraphBuilder
from .emit_c import emit_c
from .emit_c_family import family_of_core
from .emit_c_layers import C_OPERATORS
from .emit_onnx import emit_onnx
from .emit_tflite import emit_tflite
from .graph import Graph
from .ops import Activation
from .oracles import RUNTIME_CALLS, distribution_version, tool_version
from .probe_extras import extra_probes
from .quantize import quantize
from .workload import workload

CONVOLUTIONAL_PROBES = 14
DENSE_PROBES = 6
LIGHT_PROBES = 3  # of each operator that a convolution outweighs
HOST_BUDGET_S = 0.06  # timed runs of one probe in one engine

Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Fitted:
    """One engine's table and what it stands on."""

    table: CostTable
    evidence: Evidence


def calibrate(
    target: Target, seed: int = 0, ops: Collection[str] = (), formats: Sequence[str] = ()
) -> Target:
    """`target` with a new int8 cost table first for every engine that can run here.

    Engines are those of `formats`, by default of the target's own but the optional ones.

    `ops` are operators of a model beyond those of the usual probes: they are probed as well where
    the class of device can run them from here.

    A table and evidence of an earlier calibration give way to the new ones.

    Raises MeasurementError where probes of this class cannot run here, MissingToolError where the
    emulator is not installed.
    """
    asked = formats or target.formats
    timed = [fmt for fmt in asked if (target.device_class, fmt) in _TIMERS]
    if not timed:
        msg = (
            f"target '{target.id}' is of class {target.device_class} with the formats "
            f"{', '.join(asked)}, which cannot be measured from here; "
            f"calibrate `host` on the device itself"
        )
        raise MeasurementError(msg)
    known = ops if target.device_class == "host" else [op for op in ops if op in C_OPERATORS]
    graphs = (*probe_graphs(seed), *more_probes(known, seed))
    fits = [_fitted(target, fmt, graphs, seed) for fmt in timed]
    renewed = {fit.evidence.id for fit in fits}
    older = (table for table in target.costs if table.evidence_id not in renewed)
    others = (item for item in target.evidence if item.id not in renewed)
    return dataclasses.replace(
        target,
        costs=(*(fit.table for fit in fits), *older),
        evidence=(*others, *(fit.evidence for fit in fits)),
    )


def _fitted(target: Target, fmt: str, graphs: Sequence[Graph], seed: int) -> Fitted:
    time_us = _TIMERS[target.device_class, fmt]
    samples = [Sample(workload(graph), time_us(graph, target)) for graph in graphs]
    evidence = _evidence(target, fmt, len(samples), seed)
    engine = engine_of(target, fmt)
    table = fit_cost_table(samples, engine, "int8", evidence.tier, evidence.id)
    return Fitted(_widened(table, target) if table.tier is Tier.T2 else table, evidence)


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


def time_on_host(graph: Graph, fmt: str) -> float:
    """Median microseconds of one inference of an int8 `graph` in an engine of this machine."""
    sample = np.random.default_rng(0).normal(0, 1, graph.input.shape[1:]).astype(np.float32)
    call = RUNTIME_CALLS[fmt](_RUNNABLES[fmt](graph), sample)
    return measure_callable(call, budget_s=HOST_BUDGET_S).median_us


def _library(graph: Graph) -> bytes:
    return build_library(emit_c(graph, _samples(graph)).files)


# format -> what its engine on this machine loads
_RUNNABLES: Mapping[str, Callable[[Graph], bytes]] = {
    "tflite": emit_tflite,
    "onnx": emit_onnx,
    "c": _library,
}


def time_emulated(graph: Graph, target: Target) -> float:
    """Microseconds of one inference of an int8 `graph` in C, emulated on the core of `target`."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-probe-") as name:
        folder = Path(name)
        emit_c(graph, _samples(graph), family_of_core(target.core)).write(folder)
        emulation = emulate_folder(folder, target)
    return latency_from_instructions(target, emulation.instructions).value * 1e3


def _samples(graph: Graph) -> npt.NDArray[np.int8]:
    """One int8 input; what it holds hardly matters to time."""
    return np.random.default_rng(0).integers(-128, 128, graph.input.shape).astype(np.int8)


# (device class, format) -> how a probe is timed
_TIMERS: dict[tuple[str, str], Callable[[Graph, Target], float]] = {
    ("host", "tflite"): lambda graph, _: time_on_host(graph, "tflite"),
    ("host", "onnx"): lambda graph, _: time_on_host(graph, "onnx"),
    ("host", "c"): lambda graph, _: time_on_host(graph, "c"),
    ("mcu", "c"): time_emulated,
}


def _evidence(target: Target, fmt: str, count: int, seed: int) -> Evidence:
    """Engine versions and the command: enough to do it again."""
    engine = engine_of(target, fmt)
    if engine == "c" and target.device_class == "host":
        compiler = tool_version(c_compiler() or "cc")
        tier, how = Tier.T3, f"generated C, {compiler}, one thread of {_processor()}"
    elif engine == "c":
        tools = (tool_version(tool) for tool in machine_of(target).tools if tool != "gcc")
        tier, how = Tier.T2, f"generated C, instructions under emulation, {', '.join(tools)}"
    else:
        version = distribution_version(_DISTRIBUTIONS[engine])
        tier, how = Tier.T3, f"{_DISTRIBUTIONS[engine]} {version}, one thread of {_processor()}"
    again = f"edgekiln targets calibrate {target.id} --seed {seed}"
    return Evidence(f"probes-{engine}", tier, f"{count} probe models, {how}; {again}")


_DISTRIBUTIONS = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}


def _processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _widened(table: CostTable, target: Target) -> CostTable:
    """Instructions are exact, cycles per instruction are not: their interval adds to the fit's."""
    assert target.cycles_per_instruction is not None
    low, value, high = target.cycles_per_instruction
    return dataclasses.replace(
        table,
        low_ratio=table.low_ratio * low / value,
        high_ratio=table.high_ratio * high / value,
    )
