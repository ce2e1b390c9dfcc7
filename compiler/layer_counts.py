"""The instructions of every layer of a graph as C on an emulated core."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekiln.targets.emulate_profile import measure_folder
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.fit_loops import CountedLayer, CountedModel
from edgekiln.targets.target import Target

from .c_report import named_calls
from .emit_c import emit_c
from .emit_c_family import Family, family_of_core
from .graph import Graph
from .kernel_loops import kernel_workload
from .ops import Op

_SEED = 0


def layer_instructions(graph: Graph, target: Target) -> tuple[int, ...]:
    """Instructions of the layers of an int8 `graph` in the order of its nodes, reshapes left out.

    What `model_invoke` does itself counts to the layer that it calls next, so layers add up to the
    instructions of one inference.

    One number, the whole, where some layers run together in strips.

    Raises as `emit_c` and `measure_folder` do.
    """
    sample = np.random.default_rng(_SEED).integers(-128, 128, graph.input.shape).astype(np.int8)
    sources = emit_c(graph, sample, family_of_core(target.core))
    with tempfile.TemporaryDirectory(prefix="edgekiln-count-") as name:
        folder = Path(name)
        sources.write(folder)
        counts = measure_folder(folder, target).calls
    calls = [int(layer.rpartition("_")[2]) for layer, _, _ in named_calls(sources.files)]
    layers = sum(node.op is not Op.RESHAPE for node in graph.nodes)
    if len(counts) != len(calls):
        msg = f"{graph.name}: {len(counts)} counted calls do not match {len(calls)} of model.c"
        raise MeasurementError(msg)
    if sorted(calls) != list(range(layers)):
        return (sum(counts),)
    return tuple(count for _, count in sorted(zip(calls, counts, strict=True)))


def counted_model(graph: Graph, family: Family, instructions: Sequence[float]) -> CountedModel:
    """What `layer_instructions` counted, beside the work of each layer."""
    work = kernel_workload(graph, family).layers
    works = tuple(
        layer for layer, node in zip(work, graph.nodes, strict=True) if node.op is not Op.RESHAPE
    )
    if len(instructions) != len(works):
        return CountedModel(works, int(sum(instructions)))
    pairs = zip(works, instructions, strict=True)
    return CountedModel.of([CountedLayer(layer, int(count)) for layer, count in pairs])
