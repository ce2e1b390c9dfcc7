"""The instructions of every call of a graph as C on an emulated core."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekiln.targets.emulate_profile import measure_folder
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.fit_loops import CountedCall, CountedModel
from edgekiln.targets.target import Target
from edgekiln.targets.workload import LayerWork

from .c_report import named_calls
from .emit_c import emit_c
from .emit_c_family import Family, family_of_core
from .emit_c_plan import planned_chains
from .graph import Graph
from .kernel_loops import kernel_workload
from .ops import Op

_SEED = 0


def layer_instructions(graph: Graph, target: Target) -> tuple[int, ...]:
    """Instructions of the calls of an int8 `graph` as C, in the order of their first layers.

    A call is a layer, or a chain of layers in strips; a reshape is none. What `model_invoke` does
    itself counts to what it calls next, so calls add up to the instructions of one inference.

    Raises as `emit_c` and `measure_folder` do.
    """
    sample = np.random.default_rng(_SEED).integers(-128, 128, graph.input.shape).astype(np.int8)
    sources = emit_c(graph, sample, family_of_core(target.core))
    with tempfile.TemporaryDirectory(prefix="edgekiln-count-") as name:
        folder = Path(name)
        sources.write(folder)
        counts = measure_folder(folder, target).calls
    calls = [int(layer.rpartition("_")[2]) for layer, _, _ in named_calls(sources.files)]
    if len(counts) != len(calls):
        msg = f"{graph.name}: {len(counts)} counted calls do not match {len(calls)} of model.c"
        raise MeasurementError(msg)
    return tuple(count for _, count in sorted(zip(calls, counts, strict=True)))


def counted_model(graph: Graph, family: Family, instructions: Sequence[float]) -> CountedModel:
    """What `layer_instructions` counted, beside the work of the layers of each call.

    Raises:
        MeasurementError: the graph has another number of calls.
    """
    calls = works_by_call(graph, family)
    if len(calls) != len(instructions):
        msg = f"{graph.name}: {len(instructions)} counts do not match {len(calls)} calls"
        raise MeasurementError(msg)
    pairs = zip(calls, instructions, strict=True)
    return CountedModel(tuple(CountedCall(works, int(count)) for works, count in pairs))


def works_by_call(graph: Graph, family: Family) -> tuple[tuple[LayerWork, ...], ...]:
    """The layers of every call of generated C, calls in the order of their first layers."""
    chains = planned_chains(graph, family)
    work = kernel_workload(graph, family, chains)
    chain_of = {node.output: cut.chain for cut in chains for node in cut.chain.nodes}
    calls: dict[str, list[LayerWork]] = {}
    for layer, node in zip(work.layers, graph.nodes, strict=True):
        if node.op is not Op.RESHAPE:
            chain = chain_of.get(node.output)
            calls.setdefault(chain.output if chain else node.output, []).append(layer)
    return tuple(map(tuple, calls.values()))
