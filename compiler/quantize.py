"""Post-training quantization to the numeric contract `int8.v1`.

Weights are symmetric int8, one scale for each output channel; activations are asymmetric int8
from the smallest and largest element seen in calibration, zero always included; biases are
int32. Scales are float32 numbers, as the file formats store them.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt

from .errors import CalibrationError
from .grammar import CHANNEL_AXIS, KEEPS_QUANT, WEIGHTED, check
from .graph import Array, DType, Graph, Node, Op, QuantParams, Value
from .interpret import run_float_all
from .softmax import OUTPUT_QUANT

_BATCH = 128  # calibration samples held at once
_DEAD_RANGE = 1e-6  # an activation that never moves further than this carries nothing
_SMALLEST_WEIGHT_SCALE = 1e-8
_FINEST_ADD = 256.0  # steps of a sum's output to one step of its coarser operand

Ranges = dict[str, tuple[float, float]]


def quantize(graph: Graph, calibration: npt.NDArray[np.float32]) -> Graph:
    """An int8 graph of the same names from an optimized float32 `graph`.

    `calibration` (n, …) holds preprocessed samples, n ≥ 1. Raises CalibrationError where they are
    missing, not finite or of another shape.
    """
    ranges = observe(graph, calibration)
    values = dict(graph.values)
    for name in ranges:
        values[name] = dataclasses.replace(
            values[name], dtype=DType.INT8, quant=_activation_params(*ranges[name])
        )
    for node in graph.nodes:
        if node.op in KEEPS_QUANT:
            quant = values[node.inputs[0]].quant
            values[node.output] = dataclasses.replace(values[node.output], quant=quant)
            continue
        if node.op is Op.SOFTMAX:
            values[node.output] = dataclasses.replace(values[node.output], quant=OUTPUT_QUANT)
            continue
        if node.op in WEIGHTED:
            for constant in _weights_and_bias(values, node):
                values[constant.name] = constant
        finest = _finest_scale(values, node)
        output = values[node.output]
        if output.quant is not None and output.quant.scale[0] < finest:
            quant = _activation_params(*ranges[node.output], finest)
            values[node.output] = dataclasses.replace(output, quant=quant)
    quantized = graph.replace(values=values.values())
    check(quantized)
    return quantized


def observe(graph: Graph, calibration: npt.NDArray[np.float32]) -> Ranges:
    """Smallest and largest element of every activation, zero included, in bounded memory."""
    if calibration.ndim == 0 or len(calibration) == 0:
        raise CalibrationError(f"{graph.name}: there are no calibration samples")
    if calibration.shape[1:] != graph.input.shape[1:]:
        raise CalibrationError(
            f"{graph.name}: calibration samples have shape {calibration.shape[1:]}, "
            f"the model takes {graph.input.shape[1:]}"
        )
    if not np.isfinite(calibration).all():
        raise CalibrationError(f"{graph.name}: a calibration sample is not finite; remove it")
    ranges: Ranges = {}
    for start in range(0, len(calibration), _BATCH):
        for name, data in run_float_all(graph, calibration[start : start + _BATCH]).items():
            if not np.isfinite(data).all():
                raise CalibrationError(f"{graph.name}: '{name}' is not finite in calibration")
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(data.min())), max(high, float(data.max()))
    return ranges


def _activation_params(low: float, high: float, finest: float = 0.0) -> QuantParams:
    """Scale, at least `finest`, and zero point of a range that includes zero."""
    spread = (high - low) / 255.0 if high - low > _DEAD_RANGE else 1.0
    scale = np.float32(max(spread, finest))
    zero_point = int(np.clip(np.rint(-128.0 - low / float(scale)), -128, 127))
    return QuantParams((float(scale),), (zero_point,))


def _finest_scale(values: dict[str, Value], node: Node) -> float:
    """The output scale below which a step holds nothing: kernels would shift left and overflow.

    It binds only where large terms cancel to almost nothing: one step of the accumulator is
    already wider than one step of the output.
    """
    scales = [values[name].quant for name in node.inputs]
    steps = [max(quant.scale) for quant in scales if quant is not None]
    if node.op in WEIGHTED:
        return float(np.nextafter(np.float32(steps[0] * steps[1]), np.float32(np.inf)))
    if node.op is Op.ADD:
        return max(steps) / _FINEST_ADD
    return 0.0


def _weights_and_bias(values: dict[str, Value], node: Node) -> tuple[Value, Value]:
    x, weights, bias = (values[name] for name in node.inputs)
    assert x.quant is not None
    assert weights.data is not None
    assert bias.data is not None
    axis = CHANNEL_AXIS[node.op]
    scales = _weight_scales(weights.data, bias.data, axis, x.quant.scale[0])
    along = [1] * weights.data.ndim
    along[axis] = -1
    rounded = np.rint(weights.data.astype(np.float64) / scales.astype(np.float64).reshape(along))
    bias_scales = (np.float32(x.quant.scale[0]) * scales).astype(np.float32)
    limit = 2**31 - 1
    bias_rounded = np.rint(bias.data.astype(np.float64) / bias_scales.astype(np.float64))
    zeros = tuple(itertools.repeat(0, len(scales)))
    return (
        dataclasses.replace(
            weights,
            dtype=DType.INT8,
            quant=QuantParams(tuple(map(float, scales)), zeros, axis),
            data=np.clip(rounded, -127, 127).astype(np.int8),
        ),
        dataclasses.replace(
            bias,
            dtype=DType.INT32,
            quant=QuantParams(tuple(map(float, bias_scales)), zeros, 0),
            data=np.clip(bias_rounded, -limit, limit).astype(np.int32),
        ),
    )


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
