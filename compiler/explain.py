"""`explain`: where a model's time, RAM and bytes go on one target, layer by layer.

Time is the cost table's, or that of instructions counted on the emulated core; where neither says
anything, layers are told by their multiply-accumulates instead, and no time is named. RAM is the
planner's map: which value lies where, from when to when.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.targets.emulate_profile import measure_folder
from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import NoCostTableError, UnsupportedOperatorError
from edgekiln.targets.estimate import layer_us, strongest_table
from edgekiln.targets.evidence import Tier
from edgekiln.targets.target import Target

from .artifacts import emit_artifact, kind_for
from .emit_c_family import family_of_core
from .emit_c_layer import Layer
from .emit_c_plan import planned
from .graph import Graph, Node
from .kernel_loops import workload_on
from .ops import Op
from .passes import lower_padding
from .plan import lifetimes, plan_arena, storage_roots
from .reference import quantize_input
from .workload import workload


@dataclass(frozen=True, slots=True)
class LayerShare:
    """One layer.

    `time_us` is None where nothing prices it; `live_bytes` is how much of the arena activations
    cover while it runs, `constant_bytes` its weights and biases.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    macs: int
    time_us: float | None
    live_bytes: int
    constant_bytes: int


@dataclass(frozen=True, slots=True)
class Block:
    """A value's place in the arena, from layer `first` to layer `last`, both included."""

    name: str
    first: int
    last: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Layers in the order that they run in.

    `tier` is that of the times, `note` says why there are none.
    """

    target_id: str
    format: str
    engine: str
    layers: tuple[LayerShare, ...]
    blocks: tuple[Block, ...]
    arena_bytes: int
    tier: str | None
    note: str = ""


def explain(graph: Graph, target: Target, fmt: str, *, emulate: bool = False) -> Explanation:
    """Shares of `graph` in the format `fmt` on `target`.

    Raises:
        EmitError: the format cannot hold the graph.
        TargetError: no engine of the target runs the format; the emulator is not installed.
    """
    engine = engine_of(target, fmt)
    graph, offsets, arena_bytes = _planned(graph, target, fmt)
    blocks = _blocks(graph, offsets)
    try:
        counted = emulate and fmt == "c"
        times = _counted(graph, target) if counted else _priced(graph, target, engine)
        tier, note = times.tier.name, ""
        by_layer: Mapping[str, float] = times.by_layer
    except (NoCostTableError, UnsupportedOperatorError) as error:
        tier, note, by_layer = None, str(error), {}
    layers = tuple(
        LayerShare(
            name=node.name,
            op=node.op.value,
            shape=graph.values[node.output].shape,
            macs=work.macs,
            time_us=by_layer.get(node.name),
            live_bytes=_covered([b for b in blocks if b.first <= step <= b.last]),
            constant_bytes=_constant_bytes(graph, node),
        )
        for step, (node, work) in enumerate(
            zip(graph.nodes, workload(graph).layers, strict=True), start=1
        )
    )
    return Explanation(target.id, fmt, engine, layers, blocks, arena_bytes, tier, note)


@dataclass(frozen=True, slots=True)
class _Times:
    by_layer: Mapping[str, float]  # µs
    tier: Tier


def _planned(graph: Graph, target: Target, fmt: str) -> tuple[Graph, Mapping[str, int], int]:
    """The graph as the format runs it, in the order that it is planned for, and its arena."""
    if fmt != "c":
        lowered = lower_padding(graph) if fmt == "tflite" else graph
        arena = plan_arena(lowered)
        return lowered, arena.offsets, arena.arena_bytes
    calls, plan = planned(graph, family_of_core(target.core))
    return graph.replace(nodes=_ordered(graph, calls)), plan.offsets, plan.arena_bytes


def _ordered(graph: Graph, calls: Sequence[Layer]) -> list[Node]:
    """Nodes in the order of the calls; a reshape, which is no work, follows what it reshapes."""
    moves = [node for node in graph.nodes if node.op is Op.RESHAPE]
    nodes: list[Node] = []
    known = set(graph.inputs)
    for run in ((), *_nodes_of(graph, calls)):
        nodes.extend(run)
        known.update(node.output for node in run)
        for move in moves:
            if move.inputs[0] in known and move.output not in known:
                nodes.append(move)
                known.add(move.output)
    return nodes


def _nodes_of(graph: Graph, calls: Sequence[Layer]) -> list[tuple[Node, ...]]:
    """The layers of every call: more than one where they run in strips."""
    by_output = {node.output: node for node in graph.nodes}
    return [
        call.chain.chain.nodes if call.chain is not None else (by_output[call.output],)
        for call in calls
    ]


def _blocks(graph: Graph, offsets: Mapping[str, int]) -> tuple[Block, ...]:
    roots = storage_roots(graph)
    last = len(graph.nodes)
    return tuple(
        Block(
            buffer.name,
            max(1, buffer.first),
            min(last, buffer.last),
            offsets[buffer.name],
            graph.values[buffer.name].nbytes,
        )
        for buffer in lifetimes(graph, roots)
        if buffer.name in offsets
    )


def _covered(blocks: Sequence[Block]) -> int:
    """Bytes under the blocks; an output may lie over an input that is read to its end."""
    covered, end = 0, 0
    for block in sorted(blocks, key=lambda block: block.offset):
        top = block.offset + block.nbytes
        covered += max(0, top - max(end, block.offset))
        end = max(end, top)
    return covered


def _priced(graph: Graph, target: Target, engine: str) -> _Times:
    work = workload_on(graph, target, engine)
    table = strongest_table(target, engine, work.dtype)
    times = {layer.name: layer_us(target, table, layer) for layer in work.layers}
    return _Times(times, table.tier)


def _counted(graph: Graph, target: Target) -> _Times:
    """Instructions of each call of the generated C, as microseconds."""
    if target.cycles_per_instruction is None:
        raise NoCostTableError(
            f"target '{target.id}' states no cycles_per_instruction; add it to its profile"
        )
    shape = (1, *graph.input.shape[1:])
    sample = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    artifact = emit_artifact(graph, kind_for(target, "c"), quantize_input(graph, sample))
    with tempfile.TemporaryDirectory(prefix="edgekiln-explain-") as name:
        for file, data in artifact.files.items():
            (Path(name) / file).write_bytes(data)
        calls = measure_folder(Path(name), target).calls
    layers, _ = planned(graph, family_of_core(target.core))
    us = target.cycles_per_instruction[1] * 1e6 / target.clock_hz
    times = {node.name: 0.0 for node in graph.nodes}
    shares = _shares(graph, target)
    for nodes, count in zip(_nodes_of(graph, layers), calls, strict=True):
        whole = sum(shares[node.name] for node in nodes)
        for node in nodes:
            part = shares[node.name] / whole if len(nodes) > 1 else 1.0
            times[node.name] = count * us * part
    return _Times(times, Tier.T2)


def _shares(graph: Graph, target: Target) -> Mapping[str, float]:
    """In which proportion layers that run together share what they took.

    That of their prices; of their multiply-accumulates where nothing prices them.
    """
    try:
        return _priced(graph, target, "c").by_layer
    except (NoCostTableError, UnsupportedOperatorError):
        return {layer.name: float(layer.macs) for layer in workload(graph).layers}


def _constant_bytes(graph: Graph, node: Node) -> int:
    operands = (graph.values[name] for name in node.inputs)
    return sum(value.nbytes for value in operands if value.data is not None)
