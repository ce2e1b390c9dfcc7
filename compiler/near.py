"""A quantized model near its base: the release-time half of small deltas.

Codes and scales of the base are the starting point, and a change must be worth its bits
(`near_weights`). The price of a bit is raised as far as the accuracy on the validation split stays
within the budget, first for all layers alike, then for those with the most bits one by one. What
comes out is a model like any other: compiled, certified and tested as it is, so that nothing is
lossy on a device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graph import DType, Graph, Value
from .near_base import Base
from .near_layers import NearLayers, Prices
from .quantize import Quantized
from .recipe import Recipe

PRICES = tuple(float(2.0 ** (-halves / 2)) for halves in range(14, 47))
"""Of a bit, in mean squares of a layer's output; the highest first."""
RAISES = (64.0, 8.0, 2.0)  # of one layer's price, the largest that keeps the accuracy
WORTH_RAISING = 0.05  # of all bits, that a layer must have

Floats = npt.NDArray[np.float32]
Score = Callable[[Graph], float]


@dataclass(frozen=True)
class Near:
    """A model near its base, and how it was found: the price of a bit in each layer, the accuracies
    on the validation split of the model quantized by itself and of this one."""

    quantized: Quantized
    prices: Prices
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
    layers = NearLayers(done, base, calibration, recipe)
    alone = score(done.int8_graph)
    for price in PRICES:
        prices = (price,) * len(layers)
        found = layers.at(prices)
        accuracy = score(found.int8_graph)
        if accuracy >= alone - budget:
            return _raised(Near(found, prices, alone, accuracy), layers, score, budget)
    return None


def _raised(near: Near, layers: NearLayers, score: Score, budget: float) -> Near:
    """The same with higher prices in single layers, those with the most bits first."""
    bits = layers.bits(near.prices)
    for index in sorted(range(len(layers)), key=lambda index: -bits[index]):
        if bits[index] < WORTH_RAISING * sum(bits):
            break
        for factor in RAISES:
            prices = list(near.prices)
            prices[index] *= factor
            found = layers.at(tuple(prices))
            accuracy = score(found.int8_graph)
            if accuracy >= near.accuracy_alone - budget:
                near = Near(found, tuple(prices), near.accuracy_alone, accuracy)
                break
    return near


def changed_share(graph: Graph, base: Base) -> float:
    """Of the int8 weights, those whose codes are not the base's."""
    changed = total = 0
    for value in graph.values.values():
        if _is_weight(value, base):
            there = base.codes(value.name).reshape(value.shape)
            changed += int(np.count_nonzero(value.data != there))
            total += value.elements
    return changed / max(total, 1)


def _is_weight(value: Value, base: Base) -> bool:
    there = base.tensors.get(value.name)
    known = there is not None and there.data is not None and there.elements == value.elements
    return value.data is not None and value.dtype is DType.INT8 and known
