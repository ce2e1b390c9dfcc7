"""A quantized model near its base: the release-time half of small deltas.

Codes and scales of the base are the starting point, and a change must be worth its bits
(`near_weights`). The price of a bit is raised as far as the accuracy on the validation split stays
within the budget. What comes out is a model like any other: compiled, certified and tested as it
is, so that nothing is lossy on a device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .apply import apply
from .bias_correct import correct_biases
from .encoding import Encoding, QuantizationPlan, along
from .graph import DType, Graph, Node, QuantParams, Value
from .lockstep import Lockstep
from .moments import SUPPORTED, covariance, from_rows, to_rows
from .near_base import Base, freeze
from .near_weights import Change, choose_update, scale_ratios
from .quantize import Quantized
from .recipe import Recipe
from .streams import some_of
from .weight_scales import LIMITS

PRICES = tuple(float(2.0 ** (-halves / 2)) for halves in range(14, 47))
"""Of a bit, in mean squares of a layer's output; the highest first."""

Floats = npt.NDArray[np.float32]
Score = Callable[[Graph], float]


@dataclass(frozen=True)
class Near:
    """A model near its base, and how it was found: the price of a bit, the accuracies on the
    validation split of the model quantized by itself and of this one."""

    quantized: Quantized
    price: float
    accuracy_alone: float
    accuracy: float


def stay_near(
    done: Quantized, base: Base, calibration: Floats, recipe: Recipe, score: Score, budget: float
) -> Near | None:
    """The cheapest update that keeps the accuracy of `done` but for `budget` (a share).

    `calibration` (n, …) holds preprocessed samples; `score` gives a graph's accuracy on the
    validation split. None where no price in PRICES keeps it.

    Raises:
        CompileError: the base is of another architecture, or has other number formats.
    """
    plan = freeze(done.float_graph, done.plan, base)
    layers = _layers(done.float_graph, plan, base, calibration, recipe)
    alone = score(done.int8_graph)
    for price in PRICES:
        found = _at_price(done.float_graph, plan, layers, price, calibration, recipe)
        accuracy = score(found.int8_graph)
        if accuracy >= alone - budget:
            return Near(found, price, alone, accuracy)
    return None


@dataclass(frozen=True)
class _Layer:
    """A weighted node, its problem, the base's scales (groups, outputs), the largest ratios that
    its output's scale allows, and its output's mean square."""

    node: Node
    change: Change
    scales: npt.NDArray[np.float64]
    widest: npt.NDArray[np.float64]
    power: float


def _layers(
    graph: Graph, plan: QuantizationPlan, base: Base, calibration: Floats, recipe: Recipe
) -> tuple[_Layer, ...]:
    steps = Lockstep(graph, plan, graph, some_of(graph, calibration, recipe.adaround.samples))
    found: dict[str, _Layer] = {}
    for node in steps.layers():
        encoding = plan.encodings[node.inputs[1]]
        suited = node.op in SUPPORTED and encoding.dtype is DType.INT8
        if suited and node.inputs[1] not in found and not recipe.keeps(node.name):
            gram = covariance(graph, node, steps.rounded_input(node), recipe.adaround.seed)
            found[node.inputs[1]] = _layer(graph, node, plan, base, gram)
    return tuple(found.values())


def _layer(
    graph: Graph,
    node: Node,
    plan: QuantizationPlan,
    base: Base,
    gram: npt.NDArray[np.float64],
) -> _Layer:
    weights = node.inputs[1]
    encoding = plan.encodings[weights]
    data = graph.constant(weights).astype(np.float64)
    scales = np.broadcast_to(along(encoding.quant, data)[0], data.shape)
    codes = base.codes(weights).reshape(data.shape).astype(np.float64)
    change = Change(
        to_rows(graph, node, data / scales),
        to_rows(graph, node, codes),
        gram,
        LIMITS[encoding.dtype],
    )
    by_channel = to_rows(graph, node, scales)[:, :, 0]
    x, y = (plan.encodings[name].quant.scale[0] for name in (node.inputs[0], node.output))
    return _Layer(node, change, by_channel, y / (x * by_channel), change.power(by_channel))


def _at_price(
    graph: Graph,
    plan: QuantizationPlan,
    layers: tuple[_Layer, ...],
    price: float,
    calibration: Floats,
    recipe: Recipe,
) -> Quantized:
    encodings = dict(plan.encodings)
    values = dict(graph.values)
    for layer in layers:
        encoding, data = _updated(graph, layer, plan, price)
        weights, bias = layer.node.inputs[1:]
        encodings[weights] = encoding
        encodings[bias] = _bias_encoding(plan, layer.node, encoding, encodings[bias])
        values[weights] = dataclasses.replace(values[weights], data=data)
    moved = dataclasses.replace(plan, encodings=encodings)
    start = graph.replace(values=values.values())
    final = correct_biases(graph, moved, calibration, recipe, start)
    return Quantized(graph, moved, apply(final, moved))


def _updated(
    graph: Graph, layer: _Layer, plan: QuantizationPlan, price: float
) -> tuple[Encoding, Floats]:
    """The weights' encoding and their real numbers, exact in it."""
    prices = price * layer.power / layer.scales**2
    encoding = plan.encodings[layer.node.inputs[1]]
    ratios = np.ones_like(layer.scales)
    if encoding.quant.axis is not None:
        ratios = scale_ratios(layer.change, layer.scales, prices, layer.widest)
    change = dataclasses.replace(layer.change, wanted=layer.change.wanted / ratios[:, :, None])
    codes = from_rows(graph, layer.node, choose_update(change, prices / ratios**2))
    scales = (layer.scales * ratios).reshape(-1).astype(np.float32)
    if encoding.quant.axis is None:
        scales = scales[:1]
    quant = QuantParams(tuple(map(float, scales)), (0,) * len(scales), encoding.quant.axis)
    real: Floats = (codes * along(quant, codes)[0]).astype(np.float32)
    return Encoding(encoding.dtype, quant), real


def _bias_encoding(
    plan: QuantizationPlan, node: Node, weights: Encoding, bias: Encoding
) -> Encoding:
    x = np.float32(plan.encodings[node.inputs[0]].quant.scale[0])
    scales = (x * np.asarray(weights.quant.scale, np.float32)).astype(np.float32)
    quant = QuantParams(tuple(map(float, scales)), (0,) * len(scales), bias.quant.axis)
    return Encoding(bias.dtype, quant)


def changed_share(graph: Graph, base: Base) -> float:
    """Of the int8 weights, those whose codes are not the base's."""
    changed = total = 0
    for value in graph.values.values():
        if _is_weight(value, base):
            there = base.codes(value.name).reshape(value.shape)
            changed += int((value.data != there).sum())
            total += value.elements
    return changed / max(total, 1)


def _is_weight(value: Value, base: Base) -> bool:
    there = base.tensors.get(value.name)
    known = there is not None and there.data is not None and there.elements == value.elements
    return value.data is not None and value.dtype is DType.INT8 and known
