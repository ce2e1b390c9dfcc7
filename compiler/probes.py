"""`calibrate`: a cost table for a target from small models that are run there now.

Probes are random little networks: convolutions, depthwise blocks, residual additions, poolings,
paddings and dense heads over many sizes, a few plain dense ones, and each operator without
weights alone, because inside a network the convolutions hide what it costs. On `host` they
run in LiteRT as the runtime runs them (XNNPACK, one thread) and are timed (T3); for a
microcontroller their C is emulated and instructions become time through the profile's cycles per
instruction (T2).
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.targets.emulate import emulate_folder, latency_from_instructions
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.evidence import Tier
from edgekiln.targets.fit import Sample, fit_cost_table
from edgekiln.targets.measure import measure_callable
from edgekiln.targets.target import CostTable, Evidence, Target

from .builder import GraphBuilder
from .emit_c import emit_c
from .emit_tflite import emit_tflite
from .graph import Activation, Graph
from .quantize import quantize
from .workload import workload

CONVOLUTIONAL_PROBES = 14
DENSE_PROBES = 6
LIGHT_PROBES = 2  # of each operator without weights
HOST_BUDGET_S = 0.15  # timed runs of one probe

Rng = np.random.Generator


def calibrate(target: Target, seed: int = 0) -> Target:
    """`target` with a new int8 cost table first, and the evidence that it stands on.

    Raises MeasurementError where probes of this class cannot run here, MissingToolError where the
    emulator is not installed.
    """
    time_us = _TIMERS.get(target.device_class)
    if time_us is None:
        msg = (
            f"target '{target.id}' is of class {target.device_class}, which cannot be measured "
            f"from here; calibrate `host` on the device itself"
        )
        raise MeasurementError(msg)
    samples = [Sample(workload(graph), time_us(graph, target)) for graph in probe_graphs(seed)]
    tier = Tier.T3 if target.device_class == "host" else Tier.T2
    evidence = _evidence(target, tier, len(samples), seed)
    table = fit_cost_table(samples, "int8", tier, evidence.id)
    if tier is Tier.T2:
        table = _widened(table, target)
    return dataclasses.replace(
        target, costs=(table, *target.costs), evidence=(*target.evidence, evidence)
    )


def probe_graphs(seed: int) -> Iterator[Graph]:
    """The int8 probes of `seed`, always the same ones."""
    rng = np.random.default_rng(seed)
    for index in range(CONVOLUTIONAL_PROBES):
        yield _quantized(_convolutional(rng, index), rng)
    for index in range(DENSE_PROBES):
        yield _quantized(_dense(rng, index), rng)
    for index in range(LIGHT_PROBES * len(_LIGHT)):
        yield _quantized(_alone(rng, index), rng)


def _quantized(graph: Graph, rng: Rng) -> Graph:
    samples = rng.normal(0, 1, (4, *graph.input.shape[1:])).astype(np.float32)
    return quantize(graph, samples)


def _convolutional(rng: Rng, index: int) -> Graph:
    size, channels = int(2 ** rng.uniform(2.5, 4.8)), int(rng.choice((1, 2, 3, 4)))
    build = GraphBuilder(f"probe_{index}", (1, size, size, channels))
    x = _conv(build, rng, build.input, _width(rng), 3, _stride(rng))
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
    return build.finish(_LIGHT[index % len(_LIGHT)](build, rng, build.input))


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


def _separable_block(build: GraphBuilder, rng: Rng, x: str) -> str:
    channels, stride = build.shape(x)[3], _stride(rng)
    x = build.depthwise_conv2d(
        *(x, _weights(rng, 1, 3, 3, channels), _weights(rng, channels)),
        stride=(stride, stride),
        padding=((1, 1), (1, 1)),
        activation=Activation.RELU,
    )
    return _conv(build, rng, x, _width(rng), 1)


def _residual_block(build: GraphBuilder, rng: Rng, x: str) -> str:
    inner = _conv(build, rng, x, build.shape(x)[3], 3)
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


_LIGHT: tuple[Callable[[GraphBuilder, Rng, str], str], ...] = (
    _max_pool_block,
    _average_pool_block,
    _pad_block,
    lambda build, _, x: build.add(x, x),
    lambda build, _, x: build.mean(x),
)


def time_on_host(graph: Graph, _: Target) -> float:
    """Median microseconds of one inference of an int8 `graph` in LiteRT on this machine."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=emit_tflite(graph), num_threads=1)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    interpreter.set_tensor(place, _samples(graph))
    return measure_callable(interpreter.invoke, budget_s=HOST_BUDGET_S).median_us


def time_emulated(graph: Graph, target: Target) -> float:
    """Microseconds of one inference of an int8 `graph` in C, emulated on the core of `target`."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-probe-") as name:
        folder = Path(name)
        emit_c(graph, _samples(graph)).write(folder)
        emulation = emulate_folder(folder, target)
    return latency_from_instructions(target, emulation.instructions).value * 1e3


def _samples(graph: Graph) -> npt.NDArray[np.int8]:
    """One int8 input; what it holds hardly matters to time."""
    return np.random.default_rng(0).integers(-128, 128, graph.input.shape).astype(np.int8)


_TIMERS: dict[str, Callable[[Graph, Target], float]] = {
    "host": time_on_host,
    "mcu": time_emulated,
}


def _evidence(target: Target, tier: Tier, count: int, seed: int) -> Evidence:
    how = "LiteRT on this machine" if tier is Tier.T3 else "generated C under QEMU"
    source = f"{count} probe models of seed {seed}, {how}"
    return Evidence(f"calibration-{target.device_class}", tier, source)


def _widened(table: CostTable, target: Target) -> CostTable:
    """Instructions are exact, cycles per instruction are not: their interval adds to the fit's."""
    assert target.cycles_per_instruction is not None
    low, value, high = target.cycles_per_instruction
    return dataclasses.replace(
        table,
        low_ratio=table.low_ratio * low / value,
        high_ratio=table.high_ratio * high / value,
    )
