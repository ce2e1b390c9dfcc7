"""The weighted layers of a model near its base, each at a price of its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .apply import apply
from .bias_correct import correct_biases
from .encoding import Encoding, QuantizationPlan, along
from .graph import DType, Graph, Node, QuantParams
from .lockstep import Lockstep
from .moments import SUPPORTED, covariance, from_rows, to_rows
from .near_base import Base, freeze
from .near_weights import Change, choose_update, scale_ratios, update_bits
from .quantize import Quantized
from .recipe import Recipe
from .streams import some_of
from .weight_scales import LIMITS

Floats = npt.NDArray[np.float32]
Prices = tuple[float, ...]


@dataclass(frozen=True)
class _Update:
    """What a layer becomes: its weights' encoding, their real numbers, exact in it, and bits."""

    encoding: Encoding
    data: Floats
    bits: float


class NearLayers:
    """A float graph's layers that may stay near a base; prices are in their order.

    Raises CompileError where the base is of another architecture or number format.
    """

    def __init__(self, done: Quantized, base: Base, calibration: Floats, recipe: Recipe) -> None:
        self._graph = done.float_graph
        self._plan = freeze(self._graph, done.plan, base)
        self._calibration = calibration
        self._recipe = recipe
        self._layers = _layers(self._graph, self._plan, base, calibration, recipe)
        self._known: dict[tuple[int, float], _Update] = {}

    def __len__(self) -> int:
        return len(self._layers)

    def bits(self, prices: Prices) -> list[float]:
        """About what each layer's changed codes take."""
        return [self._update(index, price).bits for index, price in enumerate(prices)]

    def at(self, prices: Prices) -> Quantized:
        """The model with every layer at its price, biases corrected."""
        encodings = dict(self._plan.encodings)
        values = dict(self._graph.values)
        for index, (layer, price) in enumerate(zip(self._layers, prices, strict=True)):
            update = self._update(index, price)
            weights, bias = layer.node.inputs[1:]
            encodings[weights] = update.encoding
            encodings[bias] = _bias_encoding(
                self._plan, layer.node, update.encoding, encodings[bias]
            )
            values[weights] = dataclasses.replace(values[weights], data=update.data)
        plan = dataclasses.replace(self._plan, encodings=encodings)
        start = self._graph.replace(values=values.values())
        final = correct_biases(self._graph, plan, self._calibration, self._recipe, start)
        return Quantized(self._graph, plan, apply(final, plan))

    def _update(self, index: int, price: float) -> _Update:
        key = (index, price)
        if key not in self._known:
            self._known[key] = _updated(self._graph, self._layers[index], self._plan, price)
        return self._known[key]


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


def _updated(graph: Graph, layer: _Layer, plan: QuantizationPlan, price: float) -> _Update:
    prices = price * layer.power / layer.scales**2
    encoding = plan.encodings[layer.node.inputs[1]]
    ratios = np.ones_like(layer.scales)
    if encoding.quant.axis is not None:
        ratios = scale_ratios(layer.change, layer.scales, prices, layer.widest)
    change = dataclasses.replace(layer.change, wanted=layer.change.wanted / ratios[:, :, None])
    rows = choose_update(change, prices / ratios**2)
    codes = from_rows(graph, layer.node, rows)
    scales = (layer.scales * ratios).reshape(-1).astype(np.float32)
    if encoding.quant.axis is None:
        scales = scales[:1]
    quant = QuantParams(tuple(map(float, scales)), (0,) * len(scales), encoding.quant.axis)
    real: Floats = (codes * along(quant, codes)[0]).astype(np.float32)
    bits = float(update_bits(rows - change.base).sum())
    return _Update(Encoding(encoding.dtype, quant), real, bits)


def _bias_encoding(
    plan: QuantizationPlan, node: Node, weights: Encoding, bias: Encoding
) -> Encoding:
    x = np.float32(plan.encodings[node.inputs[0]].quant.scale[0])
    scales = (x * np.asarray(weights.quant.scale, np.float32)).astype(np.float32)
    quant = QuantParams(tuple(map(float, scales)), (0,) * len(scales), bias.quant.axis)
    return Encoding(bias.dtype, quant)
