"""Plans are run byte by byte: every kernel must read what was written for it, nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import memory_plan
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.emit_c_layer import Layer
from edgekiln.compiler.emit_c_layers import layer
from edgekiln.compiler.emit_c_plan import kernel_call
from edgekiln.compiler.graph import Graph, Node
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.ops import ConvAttrs, Op, PoolAttrs
from edgekiln.compiler.plan import ALIGNMENT, plan_arena, storage_roots
from edgekiln.compiler.plan_memory import MemoryPlan, plan_memory
from edgekiln.compiler.plan_tasks import KernelCall
from edgekiln.compiler.quantize import quantize

Event = tuple[str, slice]  # read, write (of the output) or column (of scratch), and which bytes
POISON = -1
# RAM without stack that a model may take, with the portable, the dsp and the helium family.
MODELS = {
    "ad": (768, 1408, 768),
    "ic_resnet8": (33584, 34448, 33440),
    "kws_dscnn": (8336, 8512, 9392),
    "vww_mbv1": (39280, 39280, 39264),
}


def _reads(graph: Graph, node: Node, row: int, column: int) -> Iterator[Event]:
    """What the window of one output pixel sees of the image."""
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs | PoolAttrs)
    _, height, width, channels = graph.values[node.inputs[0]].shape
    is_pool = isinstance(attrs, PoolAttrs)
    kernel = attrs.kernel if is_pool else graph.values[node.inputs[1]].shape[1:3]
    dilation = (1, 1) if is_pool else attrs.dilation
    for ky in range(kernel[0]):
        y = row * attrs.stride[0] - attrs.padding[0][0] + ky * dilation[0]
        for kx in range(kernel[1]):
            x = column * attrs.stride[1] - attrs.padding[1][0] + kx * dilation[1]
            if 0 <= y < height and 0 <= x < width:
                at = (y * width + x) * channels
                yield "read", slice(at, at + channels)


def _groups(count: int, together: int) -> Iterator[range]:
    whole = count // together * together
    yield from (range(first, first + together) for first in range(0, whole, together))
    yield from (range(one, one + 1) for one in range(whole, count))


def _gathered(together: int) -> Callable[[Graph, Node, int], Iterator[Event]]:
    def walk(graph: Graph, node: Node, _: int) -> Iterator[Event]:
        _, height, width, channels = graph.values[node.output].shape
        for pixels in _groups(height * width, together):
            for pixel in pixels:
                yield from _reads(graph, node, pixel // width, pixel % width)
            yield "write", slice(pixels[0] * channels, (pixels[-1] + 1) * channels)

    return walk


def _blocks(rows: int, sizes: tuple[int, int], together: int) -> Iterator[Event]:
    taken, made = sizes
    for group in _groups(rows, together):
        for channels in _groups(made, 4):
            yield "read", slice(group[0] * taken, (group[-1] + 1) * taken)
            for row in group:
                yield "write", slice(row * made + channels[0], row * made + channels[-1] + 1)


def _pointwise(graph: Graph, node: Node, _: int) -> Iterator[Event]:
    _, height, width, made = graph.values[node.output].shape
    return _blocks(height * width, (graph.values[node.inputs[0]].shape[3], made), 2)


def _dense(graph: Graph, node: Node, _: int) -> Iterator[Event]:
    made, taken = graph.values[node.inputs[1]].shape
    return _blocks(graph.values[node.output].elements // made, (taken, made), 1)


def _dsp_dense(graph: Graph, node: Node, _: int) -> Iterator[Event]:
    made, taken = graph.values[node.inputs[1]].shape
    for row in range(graph.values[node.output].elements // made):
        for at in range(0, taken, 4):
            yield "read", slice(row * taken + at, row * taken + min(at + 4, taken))
            yield "column", slice(2 * at, 2 * at + 8)
        yield "write", slice(row * made, (row + 1) * made)


def _helium_dense(graph: Graph, node: Node, _: int) -> Iterator[Event]:
    made, taken = graph.values[node.inputs[1]].shape
    for row in range(graph.values[node.output].elements // made):
        for first in range(0, made, 4):
            yield "read", slice(row * taken, (row + 1) * taken)
            yield "write", slice(row * made + first, row * made + min(first + 4, made))


def _bands(graph: Graph, node: Node, scratch: int) -> Iterator[Event]:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    _, height, width, channels = graph.values[node.inputs[0]].shape
    _, rows, columns, _ = graph.values[node.output].shape
    reach = (graph.values[node.inputs[1]].shape[1] - 1) * attrs.dilation[0]
    copied: set[int] = set()
    for row in range(rows):
        first = row * attrs.stride[0] - attrs.padding[0][0]
        for y in sorted({*range(first, first + reach + 1)} & {*range(height)} - copied):
            copied.add(y)
            yield "read", slice(y * width * channels, (y + 1) * width * channels)
            yield "column", slice(0, scratch)
        yield "write", slice(row * columns * channels, (row + 1) * columns * channels)


def _planes(graph: Graph, node: Node, scratch: int) -> Iterator[Event]:
    taken, made = (graph.values[name].shape[3] for name in (node.inputs[0], node.output))
    for channel in range(made):
        yield "read", slice(channel // (made // taken), None, taken)
        yield "column", slice(0, scratch)
        yield "write", slice(channel, None, made)


def _mean(graph: Graph, node: Node, _: int) -> Iterator[Event]:
    channels = graph.values[node.output].elements
    for channel in range(channels):
        yield "read", slice(channel, None, channels)
        yield "write", slice(channel, channel + 1)


def _pool(graph: Graph, node: Node, _: int) -> Iterator[Event]:
    _, height, width, channels = graph.values[node.output].shape
    for pixel in range(height * width):
        for channel in range(channels):
            for kind, seen in _reads(graph, node, pixel // width, pixel % width):
                yield kind, slice(seen.start + channel, seen.start + channel + 1)
            at = pixel * channels + channel
            yield "write", slice(at, at + 1)


def _elements(graph: Graph, node: Node, _: int) -> Iterator[Event]:
    for at in range(graph.values[node.output].elements):
        yield "read", slice(at, at + 1)
        yield "write", slice(at, at + 1)


def _pad(graph: Graph, node: Node, _: int) -> Iterator[Event]:
    padded = np.full(graph.values[node.output].shape, POISON)
    _, height, width, channels = graph.values[node.inputs[0]].shape
    (top, _), (left, _) = node.attrs.image_padding  # type: ignore[union-attr, misc]
    source = np.arange(height * width * channels).reshape(height, width, channels)
    padded[0, top : top + height, left : left + width] = source
    for at, taken in enumerate(padded.reshape(-1).tolist()):
        if taken != POISON:
            yield "read", slice(taken, taken + 1)
        yield "write", slice(at, at + 1)


def _all_then_all(graph: Graph, node: Node, scratch: int) -> Iterator[Event]:
    """Kernels that the planner gives memory of their own."""
    for _ in range(2):
        yield "read", slice(None)
        yield "column", slice(0, scratch)
        yield "write", slice(None)


WALKS = {
    "ek_conv2d": _gathered(2),
    "ek_dsp_conv2d": _gathered(4),
    "ek_dsp_pointwise": _gathered(4),
    "ek_pointwise": _pointwise,
    "ek_depthwise_conv2d": _planes,
    "ek_dsp_depthwise": _planes,
    "ek_fully_connected": _dense,
    "ek_dsp_fully_connected": _dsp_dense,
    "ek_helium_conv2d": _gathered(1),
    "ek_helium_pointwise": _gathered(1),
    "ek_helium_depthwise": _bands,
    "ek_helium_fully_connected": _helium_dense,
    "ek_helium_add": _elements,
    "ek_mean": _mean,
    "ek_max_pool2d": _pool,
    "ek_average_pool2d": _pool,
    "ek_add": _elements,
    "ek_dsp_add": _elements,
    "ek_softmax": _elements,
    "ek_pad": _pad,
    "ek_grouped_conv2d": _all_then_all,
}


class _Memory:
    """An arena of tags: which byte of which value lies where."""

    def __init__(self, graph: Graph, plan: MemoryPlan) -> None:
        self._plan, self._roots = plan, storage_roots(graph)
        self.tags = np.full(plan.arena_bytes, POISON)
        self._sizes = {name: graph.values[name].nbytes for name in self._roots}
        self._base = {name: 1000 + (i << 24) for i, name in enumerate(self._roots)}

    def _tags(self, name: str) -> np.ndarray:
        root = self._roots[name]
        return self._base[root] + np.arange(self._sizes[name])

    def view(self, name: str) -> np.ndarray:
        start = self._plan.offsets[name]
        return self.tags[start : start + self._sizes[name]]

    def write(self, name: str, part: slice) -> None:
        self.view(name)[part] = self._tags(name)[part]

    def holds(self, name: str, part: slice = slice(None)) -> bool:
        return np.array_equal(self.view(name)[part], self._tags(name)[part])

    def poison_but(self, names: set[str]) -> None:
        kept = np.zeros(len(self.tags), bool)
        for name in names:
            start = self._plan.offsets[name]
            kept[start : start + self._sizes[name]] = True
        self.tags[~kept] = POISON


def _run(graph: Graph, plan: MemoryPlan, layers: Sequence[Layer]) -> None:
    """Every read finds its own bytes; what is still needed survives each layer."""
    memory = _Memory(graph, plan)
    roots = storage_roots(graph)
    by_output = {call.output: call for call in layers}
    nodes = {node.output: node for node in graph.nodes}
    memory.write(graph.inputs[0], slice(None))
    for index, name in enumerate(plan.order):
        call, node = by_output[name], nodes[name]
        later = {
            roots[read] for output in plan.order[index + 1 :] for read in by_output[output].inputs
        } | {roots[output] for output in graph.outputs}
        written = {roots[made] for made in (*graph.inputs, *plan.order[: index + 1])}
        memory.poison_but((written - {name}) & (later | {roots[read] for read in call.inputs}))
        start = plan.scratch.get(name, 0)
        scratch = memory.tags[start : start + call.scratch_bytes]
        column = np.full(call.scratch_bytes, POISON)
        stem = call.kernel
        for suffix in ("_clamped", "_rectified", "_signed", "_wide", "_double"):
            stem = stem.removesuffix(suffix)
        for kind, part in WALKS[stem](graph, node, call.scratch_bytes):
            if kind == "read":
                assert all(memory.holds(read, part) for read in call.inputs), call.symbol
            elif kind == "write":
                assert np.array_equal(scratch[column != POISON], column[column != POISON])
                memory.write(name, part)
            else:
                column[part] = -2 - np.arange(call.scratch_bytes)[part]
                scratch[part] = column[part]
        assert all(memory.holds(value) for value in (later & written) | {name}), call.symbol
    assert memory.holds(graph.outputs[0])


def _layers(graph: Graph, family: Family) -> tuple[Layer, ...]:
    nodes = [node for node in graph.nodes if node.op is not Op.RESHAPE]
    return tuple(layer(graph, node, index, family) for index, node in enumerate(nodes))


def _calls(layers: Sequence[Layer]) -> tuple[KernelCall, ...]:
    return tuple(map(kernel_call, layers))


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("seed", range(12))
def test_kernels_read_their_own_bytes_when_the_graph_is_random(
    seed: int,
    family: Family,
    random_graph: Callable[[int], Graph],
    quantized: Callable[[Graph, int], Graph],
) -> None:
    graph = quantized(random_graph(seed), seed)
    layers = _layers(graph, family)
    plan = plan_memory(graph, _calls(layers))
    assert plan.lower_bound_bytes <= plan.arena_bytes
    assert plan.arena_bytes <= plan_arena(graph).arena_bytes + plan.scratch_bytes + ALIGNMENT
    assert plan == memory_plan(graph, family)
    assert not any(
        offset % ALIGNMENT for offset in (*plan.offsets.values(), *plan.scratch.values())
    )
    _run(graph, plan, layers)


def test_poison_is_noticed_when_an_output_is_moved_up_by_one_step() -> None:
    """The run above would see a plan that is wrong by the least there is."""
    build = GraphBuilder("two", (1, 8, 8, 4))
    rng = np.random.default_rng(0)
    x = build.conv2d(build.input, rng.normal(0, 1, (4, 3, 3, 4)), padding=((1, 1), (1, 1)))
    graph = quantize(build.finish(x), rng.normal(0, 1, (8, 8, 8, 4)).astype(np.float32))
    layers = _layers(graph, Family.PORTABLE)
    plan = plan_memory(graph, _calls(layers))
    _run(graph, plan, layers)
    moved = {**plan.offsets, x: plan.offsets[x] + ALIGNMENT}
    with pytest.raises(AssertionError, match="conv2d_0"):
        _run(graph, dataclasses.replace(plan, offsets=moved), layers)


@pytest.mark.slow
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MODELS)
def test_kernels_read_their_own_bytes_when_the_model_is_real(
    name: str, family: Family, mlperf_models: Path
) -> None:
    graph = _model(mlperf_models, name)
    layers = _layers(graph, family)
    _run(graph, plan_memory(graph, _calls(layers)), layers)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MODELS)
def test_arena_is_as_small_as_known_when_the_model_is_real(
    name: str, family: Family, mlperf_models: Path
) -> None:
    """And nothing can be smaller, but for 128 bytes of the portable keyword model."""
    plan = memory_plan(_model(mlperf_models, name), family)
    assert plan.arena_bytes <= MODELS[name][list(Family).index(family)]
    assert plan.gap_bytes <= (128 if (name, family) == ("kws_dscnn", Family.PORTABLE) else 0)
    assert plan == memory_plan(_model(mlperf_models, name), family)


def _model(mlperf_models: Path, name: str) -> Graph:
    (path,) = (mlperf_models).glob(f"{name}*_int8.tflite")
    return import_model(path)
