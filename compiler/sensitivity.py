"""Sensitivity: what quantizing one layer alone does to the outputs of the float model.

For every node with numbers of its own (weighted layers, sums, means), its constants and output are
rounded as the plan says while the rest stays float; what runs in float32 anyway is left out. The
outputs are then compared with the float model's on the same samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .encoding import QuantizationPlan, round_trip
from .grammar import KEEPS_QUANT
from .graph import Array, Graph, Node
from .interpret import kernel_of, run_float_all
from .streams import some_of

SAMPLES = 256  # at most: every activation of the float model is held for all of them

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """One layer quantized alone; errors are of the logits, over `samples` samples.

    `sqnr_db` is 10·log10(mean(float²) / mse), infinite where nothing changed; `label_flips` counts
    samples whose label is another one.
    """

    layer: str
    op: str
    source: str
    mse: float
    sqnr_db: float
    label_flips: int
    samples: int


def measure_sensitivity(
    graph: Graph, plan: QuantizationPlan, calibration: Floats
) -> tuple[LayerSensitivity, ...]:
    """One row a layer, the most harmful first; ties in execution order.

    `graph` is the float graph that `plan` is for; `calibration` (n, …) holds preprocessed samples,
    n ≥ 1, of which at most SAMPLES are used (`streams.some_of`).
    """
    known: dict[str, Array] = dict(run_float_all(graph, some_of(graph, calibration, SAMPLES)))
    found = (
        _compare(node, known[graph.outputs[0]], _with_one_rounded(graph, plan, index, known))
        for index, node in enumerate(graph.nodes)
        if node.op not in KEEPS_QUANT
        and node.name not in plan.floating
        and node.output in plan.encodings
    )
    return tuple(sorted(found, key=lambda row: -row.mse))


def _compare(node: Node, exact: Array, rounded: Array) -> LayerSensitivity:
    wanted = exact.astype(np.float64)
    mse = float(np.mean((rounded.astype(np.float64) - wanted) ** 2))
    power = float(np.mean(wanted**2))
    return LayerSensitivity(
        layer=node.name,
        op=node.op.value,
        source=node.source,
        mse=mse,
        sqnr_db=10.0 * math.log10(power / mse) if mse > 0.0 and power > 0.0 else math.inf,
        label_flips=int(np.count_nonzero(exact.argmax(axis=-1) != rounded.argmax(axis=-1))),
        samples=len(exact),
    )


def _with_one_rounded(
    graph: Graph, plan: QuantizationPlan, index: int, known: dict[str, Array]
) -> Array:
    """The output when the node at `index` is rounded; nodes before it are taken from `known`."""
    node = graph.nodes[index]
    operands = (
        known[name] if name in known else _rounded(graph, plan, name) for name in node.inputs
    )
    output = kernel_of(graph, node)(graph, node, *operands)
    changed: dict[str, Array] = {node.output: round_trip(output, plan.encodings[node.output])}
    for later in graph.nodes[index + 1 :]:
        if any(name in changed for name in later.inputs):
            read = [_operand(graph, name, changed, known) for name in later.inputs]
            changed[later.output] = kernel_of(graph, later)(graph, later, *read)
    output_name = graph.outputs[0]
    return changed.get(output_name, known[output_name])


def _rounded(graph: Graph, plan: QuantizationPlan, name: str) -> Array:
    """A constant as its encoding says it; indices have none."""
    data, encoding = graph.constant(name), plan.encodings.get(name)
    return data if encoding is None else round_trip(data, encoding)


def _operand(graph: Graph, name: str, changed: dict[str, Array], known: dict[str, Array]) -> Array:
    if name in changed:
        return changed[name]
    return known[name] if name in known else graph.constant(name)
