"""Empirical bias correction: quantization must not move the mean of a channel.

M. Nagel et al., arXiv 1906.04721, section 4.2, from calibration data: layer by layer, in execution
order, the mean of each output channel before its activation is compared between the float graph
and the int8 graph corrected so far, and the bias takes up the difference.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from .encoding import QuantizationPlan, apply, decode, encode
from .grammar import WEIGHTED
from .graph import Array, Graph, Node, Value
from .int_kernels.common import params
from .interpret import kernel_of
from .ops import Activation, ConvAttrs, DenseAttrs
from .recipe import Recipe
from .reference import quantize_input

SAMPLES = 256  # at most: every activation between two layers is held for all of them

Floats = npt.NDArray[np.float32]


def correct_biases(
    graph: Graph, plan: QuantizationPlan, calibration: Floats, recipe: Recipe
) -> Graph:
    """The float `graph` with the biases that its int8 form under `plan` should have.

    `calibration` (n, …) holds preprocessed samples; at most SAMPLES of them are used, spread
    evenly. Layers that the recipe keeps stay as they are.
    """
    rows = np.linspace(0, len(calibration) - 1, min(len(calibration), SAMPLES)).astype(np.int64)
    x = calibration[rows]
    int8 = apply(graph, plan)
    exact: dict[str, Array] = {graph.inputs[0]: x}
    rounded: dict[str, Array] = {graph.inputs[0]: quantize_input(int8, x)}
    corrected = graph
    for node in graph.nodes:
        if node.op in WEIGHTED and not recipe.keeps(node.name):
            bias = _corrected_bias(graph, int8, node, exact, rounded)
            corrected = _with(corrected, bias)
            int8 = _with(int8, encode(bias, plan.encodings[bias.name]))
        exact[node.output] = kernel_of(graph, node)(graph, node, *_operands(graph, node, exact))
        rounded[node.output] = kernel_of(int8, node)(int8, node, *_operands(int8, node, rounded))
        _forget(graph, node, exact)
        _forget(graph, node, rounded)
    return corrected


def _corrected_bias(
    graph: Graph, int8: Graph, node: Node, exact: dict[str, Array], rounded: dict[str, Array]
) -> Value:
    """The bias plus what the mean of each channel has lost, before the activation."""
    assert isinstance(node.attrs, ConvAttrs | DenseAttrs)
    bare = dataclasses.replace(
        node, attrs=dataclasses.replace(node.attrs, activation=Activation.NONE)
    )
    kernel = kernel_of(graph, node)
    wanted = kernel(graph, bare, *_operands(graph, node, exact))
    reals = (
        decode(data, params(int8, name))
        for name, data in zip(node.inputs, _operands(int8, node, rounded), strict=True)
    )
    lost = (wanted - kernel(int8, bare, *reals)).astype(np.float64)
    shift = lost.mean(axis=tuple(range(lost.ndim - 1)))
    bias = graph.values[node.inputs[2]]
    return dataclasses.replace(bias, data=(graph.constant(bias.name) + shift).astype(np.float32))


def _operands(graph: Graph, node: Node, known: dict[str, Array]) -> list[Array]:
    return [known[name] if name in known else graph.constant(name) for name in node.inputs]


def _with(graph: Graph, value: Value) -> Graph:
    return graph.replace(values={**graph.values, value.name: value}.values())


def _forget(graph: Graph, node: Node, known: dict[str, Array]) -> None:
    """Drop what no node after this one reads."""
    later = graph.nodes[graph.nodes.index(node) + 1 :]
    for name in node.inputs:
        if name in known and not any(name in after.inputs for after in later):
            del known[name]
