"""`decide`: from ranges to the encoding of every value. The rules of `int8.v1` live here.

Weights are symmetric int8, one scale for each output channel; activations are asymmetric int8
over a range that includes zero; biases are int32. Scales are float32 numbers, as the file formats
store them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .encoding import Encoding, QuantizationPlan
from .grammar import CHANNEL_AXIS, KEEPS_QUANT, WEIGHTED
from .graph import Array, DType, Graph, Node, QuantParams
from .observers import Range
from .ops import Op
from .softmax import OUTPUT_QUANT

_DEAD_RANGE = 1e-6  # an activation that never moves further than this carries nothing
_SMALLEST_WEIGHT_SCALE = 1e-8
_FINEST_ADD = 256.0  # steps of a sum's output to one step of its coarser operand

Ranges = Mapping[str, Range]


def decide(graph: Graph, ranges: Ranges) -> QuantizationPlan:
    """A plan for an optimized float32 `graph` from the range of each of its activations."""
    plan = {name: Encoding(DType.INT8, _activation_params(*ends)) for name, ends in ranges.items()}
    for node in graph.nodes:
        if node.op in KEEPS_QUANT:
            plan[node.output] = plan[node.inputs[0]]
            continue
        if node.op is Op.SOFTMAX:
            plan[node.output] = Encoding(DType.INT8, OUTPUT_QUANT)
            continue
        if node.op in WEIGHTED:
            plan |= _weights_and_bias(graph, node, plan[node.inputs[0]].quant.scale[0])
        finest = _finest_scale(plan, node)
        if plan[node.output].quant.scale[0] < finest:
            quant = _activation_params(*ranges[node.output], finest)
            plan[node.output] = Encoding(DType.INT8, quant)
    return QuantizationPlan(plan)


def _activation_params(low: float, high: float, finest: float = 0.0) -> QuantParams:
    """Scale, at least `finest`, and zero point of a range that includes zero."""
    spread = (high - low) / 255.0 if high - low > _DEAD_RANGE else 1.0
    scale = np.float32(max(spread, finest))
    zero_point = int(np.clip(np.rint(-128.0 - low / float(scale)), -128, 127))
    return QuantParams((float(scale),), (zero_point,))


def _finest_scale(plan: Mapping[str, Encoding], node: Node) -> float:
    """The output scale below which a step holds nothing: kernels would shift left and overflow.

    It binds only where large terms cancel to almost nothing: one step of the accumulator is
    already wider than one step of the output.
    """
    steps = [max(plan[name].quant.scale) for name in node.inputs]
    if node.op in WEIGHTED:
        return float(np.nextafter(np.float32(steps[0] * steps[1]), np.float32(np.inf)))
    if node.op is Op.ADD:
        return max(steps) / _FINEST_ADD
    return 0.0


def _weights_and_bias(graph: Graph, node: Node, input_scale: float) -> dict[str, Encoding]:
    weights, bias = node.inputs[1:]
    axis = CHANNEL_AXIS[node.op]
    scales = _weight_scales(graph.constant(weights), graph.constant(bias), axis, input_scale)
    bias_scales = (np.float32(input_scale) * scales).astype(np.float32)
    zeros = tuple(itertools.repeat(0, len(scales)))
    return {
        weights: Encoding(DType.INT8, QuantParams(tuple(map(float, scales)), zeros, axis)),
        bias: Encoding(DType.INT32, QuantParams(tuple(map(float, bias_scales)), zeros, 0)),
    }


def _weight_scales(
    weights: Array, bias: Array, axis: int, input_scale: float
) -> npt.NDArray[np.float32]:
    """max|w| / 127 for each channel, widened where the bias would not fit in 30 bits.

    That matters for channels whose weights are nearly zero: batch norm folding makes them.
    """
    others = tuple(index for index in range(weights.ndim) if index != axis)
    widest = np.abs(weights.astype(np.float64)).max(axis=others) / 127.0
    for_bias = np.abs(bias.astype(np.float64)) / (input_scale * 2.0**30)
    scales: npt.NDArray[np.float32] = np.maximum(
        np.maximum(widest, for_bias), _SMALLEST_WEIGHT_SCALE
    ).astype(np.float32)
    return scales
