"""Encodings of weights and of the biases beside them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .encoding import Encoding
from .grammar import CHANNEL_AXIS
from .graph import DType, Graph, Node, QuantParams
from .ops import Op
from .quant_rules import INT4_WEIGHTS, WEIGHTED
from .recipe import DenseScales, Recipe, WeightFormat

LIMITS: Mapping[DType, int] = {DType.INT8: 127, DType.INT4: 7}
"""The largest code of symmetric weights; the most negative one is not used."""

_BIASES = {DType.INT8: DType.INT32, DType.INT16: DType.INT64}
_BIAS_LIMIT = {DType.INT8: 2.0**30, DType.INT16: 2.0**39}
_SMALLEST_SCALE = 1e-8
_BYTES_PER_CHANNEL = 24  # a file holds a float32 scale and an int64 zero point, twice
_DENSE_SHARE = 1 / 32  # of the weights' bytes, that scales of their own may add
_FEWEST_HALVES = 256  # elements: a DEQUANTIZE node costs about as many bytes as these save
_LARGEST_HALF = 65504.0

Floats = npt.NDArray[np.float32]


def weights_and_bias(
    graph: Graph, node: Node, recipe: Recipe, input_scales: Mapping[str, float]
) -> tuple[dict[str, Encoding], str]:
    """Encodings of the node's weights and bias, and a note ("" where there is nothing to say).

    `input_scales`: the scale of x by name of each node that reads the same weights.
    """
    weights, bias = node.inputs[1:]
    dtype, note = _weight_dtype(node, recipe)
    scales = _scales(graph, node, recipe, dtype, input_scales)
    bias_scales = (np.float32(input_scales[node.name]) * scales).astype(np.float32)
    axis = CHANNEL_AXIS[node.op] if len(scales) > 1 or graph.values[bias].elements == 1 else None
    return {
        weights: Encoding(dtype, _symmetric(scales, axis)),
        bias: Encoding(
            _BIASES[recipe.activation_dtype],
            _symmetric(bias_scales, None if axis is None else 0),
        ),
    }, note


def half_weights(graph: Graph, recipe: Recipe) -> frozenset[str]:
    """Constants that a float32 graph keeps in float16: large ones that it can hold."""
    found = set()
    for node in graph.nodes:
        if node.op not in WEIGHTED or recipe.weight_dtype(node.name) is not DType.FLOAT16:
            continue
        for name in node.inputs[1:]:
            data = graph.constant(name)
            if data.size >= _FEWEST_HALVES and np.abs(data).max() <= _LARGEST_HALF:
                found.add(name)
    return frozenset(found)


def _weight_dtype(node: Node, recipe: Recipe) -> tuple[DType, str]:
    dtype = recipe.weight_dtype(node.name)
    if dtype is DType.INT4 and node.op not in INT4_WEIGHTS:
        return DType.INT8, (
            f"quantize: '{node.name}' ({node.op}) keeps {WeightFormat.INT8} weights: "
            f"there is no {WeightFormat.INT4} form"
        )
    return dtype, ""


def _scales(
    graph: Graph, node: Node, recipe: Recipe, dtype: DType, input_scales: Mapping[str, float]
) -> Floats:
    """max|w| / limit for each channel, widened where a bias would not fit.

    That matters for channels whose weights are nearly zero: batch norm folding makes them.
    """
    data = graph.constant(node.inputs[1]).astype(np.float64)
    axis = CHANNEL_AXIS[node.op]
    others = tuple(index for index in range(data.ndim) if index != axis)
    needs = [np.abs(data).max(axis=others) / LIMITS[dtype]]
    for reader in graph.consumers(node.inputs[1]):
        if reader.name in input_scales:
            bias = np.abs(graph.constant(reader.inputs[2]).astype(np.float64))
            limit = _BIAS_LIMIT[recipe.activation_dtype]
            needs.append(bias / (input_scales[reader.name] * limit))
    widest = np.maximum(np.maximum.reduce(needs), _SMALLEST_SCALE)
    if not _per_channel(node, recipe, data.size, len(widest)):
        widest = widest.max(keepdims=True)
    scales: Floats = widest.astype(np.float32)
    return scales


def _per_channel(node: Node, recipe: Recipe, elements: int, channels: int) -> bool:
    """Whether each output has a scale.

    Convolutions need it: their channels differ by orders of magnitude. The 8-bit specification
    gives fully connected layers one scale; more are taken where they are cheap.
    """
    if node.op is not Op.FULLY_CONNECTED or recipe.dense_scales is DenseScales.CHANNEL:
        return True
    cheap = channels * _BYTES_PER_CHANNEL <= _DENSE_SHARE * elements
    return recipe.dense_scales is DenseScales.AUTO and cheap


def _symmetric(scales: Floats, axis: int | None) -> QuantParams:
    return QuantParams(tuple(map(float, scales)), (0,) * len(scales), axis)
