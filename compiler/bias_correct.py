"""Empirical bias correction: quantization must not move the mean of a channel.

M. Nagel et al., arXiv 1906.04721, section 4.2, from calibration data: layer by layer, in execution
order, the mean of each output channel before its activation is compared between the float graph
and the quantized graph corrected so far, and the bias takes up the difference.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from .encoding import QuantizationPlan
from .graph import DType, Graph, Node, Value
from .interpret import KERNELS
from .lockstep import Lockstep
from .ops import Activation, ConvAttrs, DenseAttrs, TransposeConvAttrs
from .recipe import Recipe
from .streams import some_of

SAMPLES = 256  # at most: every activation between two layers is held for all of them

Floats = npt.NDArray[np.float32]


def correct_biases(
    graph: Graph, plan: QuantizationPlan, calibration: Floats, recipe: Recipe, start: Graph
) -> Graph:
    """`start` with the biases that its quantized form under `plan` should have.

    `graph` is the float graph to come near; `start` is the same with weights that may already have
    been corrected. `calibration` (n, …) holds preprocessed samples; at most SAMPLES of them are
    used, spread evenly. Layers that the recipe keeps, and layers in float32, stay as they are.
    """
    steps = Lockstep(graph, plan, start, some_of(graph, calibration, SAMPLES))
    values = dict(start.values)
    for node in steps.layers():
        if not recipe.keeps(node.name):
            bias = _corrected_bias(steps, node, start)
            steps.put(bias)
            values[bias.name] = bias
    return start.replace(values=values.values())


def _corrected_bias(steps: Lockstep, node: Node, start: Graph) -> Value:
    """The bias plus what the mean of each channel has lost, before the activation."""
    assert isinstance(node.attrs, ConvAttrs | DenseAttrs | TransposeConvAttrs)
    bare = dataclasses.replace(
        node, attrs=dataclasses.replace(node.attrs, activation=Activation.NONE)
    )
    kernel = KERNELS[DType.FLOAT32][node.op]
    weights, bias = node.inputs[1:]
    wanted = kernel(
        steps.graph,
        bare,
        steps.exact_input(node),
        steps.graph.constant(weights),
        steps.graph.constant(bias),
    )
    found = kernel(
        steps.graph, bare, steps.rounded_input(node), steps.real(weights), steps.real(bias)
    )
    lost = (wanted - found).astype(np.float64)
    shift = lost.mean(axis=tuple(range(lost.ndim - 1)))
    value = start.values[bias]
    return dataclasses.replace(value, data=(start.constant(bias) + shift).astype(np.float32))
