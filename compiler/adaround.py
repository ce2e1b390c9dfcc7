"""Adaptive rounding: each weight goes down or up so that its layer's output stays, not the weight.

M. Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization (arXiv 2004.10568):
layer by layer, a rectified sigmoid says how far each weight goes up from its floor, gradient
descent makes the layer's output on calibration samples come near that of the exact weights, and an
annealed regulariser drives every weight to one of its two codes.

Three choices differ from the paper. Before its activation a layer is linear, so the error is a
quadratic form of the rounding errors with the second moments of what the layer reads: descent needs
these alone, not the samples. What descent leaves is improved code by code until no single change
helps. And no output channel ends worse than by rounding to the nearest: channels are independent.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .encoding import QuantizationPlan, along
from .graph import Graph, Node
from .lockstep import Lockstep
from .moments import SUPPORTED, covariance, from_rows, second_moments, to_rows
from .recipe import Recipe, Step
from .streams import some_of
from .weight_scales import LIMITS

_LOW, _HIGH = -0.1, 1.1  # where the rectified sigmoid is cut off: γ and ζ
_WARM_UP = 0.2  # of the iterations run without the regulariser
_FIRST_BETA, _LAST_BETA = 20.0, 2.0
_RATE = 0.02
_WEIGHT = 2.0  # of the regulariser, where a weight's share of the error of nearest rounding is 1
_PARTNERS = 16
_MOST_CHANGES = 4  # for each weight of an output
_DECAY, _SQUARE_DECAY = 0.9, 0.999  # Adam's

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rounding:
    """One layer's problem: `steps` (groups, outputs, k), weights in steps of their scales, and
    `gram` (groups, k, k), second moments of what they multiply; codes from -limit to limit."""

    steps: Float64
    gram: Float64
    limit: int

    def bounds(self) -> tuple[Float64, Float64]:
        """The two codes of each weight: below and above."""
        below = np.clip(np.floor(self.steps), -self.limit, self.limit)
        return below, np.clip(np.ceil(self.steps), -self.limit, self.limit)

    def nearest(self) -> Float64:
        """Codes by rounding half to even."""
        return np.clip(np.rint(self.steps), -self.limit, self.limit)

    def slopes(self, codes: Float64) -> Float64:
        """Half the gradient of the error."""
        slopes: Float64 = (codes - self.steps) @ self.gram
        return slopes

    def errors(self, codes: Float64) -> Float64:
        """The mean squared error (groups, outputs), in squared steps of the output's scale."""
        errors: Float64 = ((codes - self.steps) * self.slopes(codes)).sum(axis=2)
        return errors


def round_adaptively(
    graph: Graph, plan: QuantizationPlan, calibration: Floats, recipe: Recipe
) -> Graph:
    """The float `graph` with weights that the plan's encodings say exactly.

    `calibration` (n, …) holds preprocessed samples, of which the recipe says how many are used,
    spread evenly. Layers that the recipe keeps, transposed convolutions and layers in float32 stay
    as they are; weights of several layers suit the first of them. The same samples and seed give
    the same weights.
    """
    settings = recipe.adaround
    moments = covariance if Step.BIAS_CORRECT in recipe.steps else second_moments
    steps = Lockstep(graph, plan, graph, some_of(graph, calibration, settings.samples))
    values = dict(graph.values)
    rounded: set[str] = set()
    for node in steps.layers():
        name = node.inputs[1]
        if recipe.keeps(node.name) or node.op not in SUPPORTED or name in rounded:
            continue
        gram = moments(graph, node, steps.rounded_input(node), settings.seed)
        data = _round_layer(graph, node, plan, gram, settings.iterations)
        values[name] = dataclasses.replace(values[name], data=data)
        steps.put(values[name])
        rounded.add(name)
    return graph.replace(values=values.values())


def choose_codes(problem: Rounding, iterations: int) -> Float64:
    """Codes (groups, outputs, k) with an error no greater than that of the nearest, by output."""
    nearest = problem.nearest()
    best, least = nearest, problem.errors(nearest)
    for start in (nearest, _descend(problem, iterations)):
        codes = _improve(problem, start)
        errors = problem.errors(codes)
        best = np.where((errors < least)[:, :, None], codes, best)
        least = np.minimum(errors, least)
    return best


def _round_layer(
    graph: Graph, node: Node, plan: QuantizationPlan, gram: Float64, iterations: int
) -> Floats:
    data = graph.constant(node.inputs[1]).astype(np.float64)
    encoding = plan.encodings[node.inputs[1]]
    scales = along(encoding.quant, data)[0]
    problem = Rounding(to_rows(graph, node, data / scales), gram, LIMITS[encoding.dtype])
    codes = from_rows(graph, node, choose_codes(problem, iterations))
    return (codes * scales).astype(np.float32)


def _descend(problem: Rounding, iterations: int) -> Float64:
    """Codes after gradient descent (Adam) on how far each weight goes up; float32 is enough."""
    below, above = problem.bounds()
    reach = (above - below).astype(np.float32)
    scale = max(problem.errors(problem.nearest()).sum() / problem.steps.size, 1e-30)
    gram = (2.0 / scale * problem.gram).astype(np.float32)
    offset = (below - problem.steps).astype(np.float32)
    start = np.clip(-offset, 0.01, 0.99)
    v = -np.log((_HIGH - _LOW) / (start - _LOW) - 1.0)
    mean, square = np.zeros_like(v), np.zeros_like(v)
    for step in range(1, iterations + 1):
        up, slope = _rectified(v)
        gradient = (offset + up * reach) @ gram * reach
        gradient += _WEIGHT * _regularizer_slope(up, step / iterations)
        gradient *= slope
        mean += (1.0 - _DECAY) * (gradient - mean)
        square += (1.0 - _SQUARE_DECAY) * (gradient * gradient - square)
        rate = _RATE * np.sqrt(1.0 - _SQUARE_DECAY**step) / (1.0 - _DECAY**step)
        v -= np.float32(rate) * mean / (np.sqrt(square) + 1e-8)
    return np.where(_rectified(v)[0] >= 0.5, above, below)


def _rectified(v: Floats) -> tuple[Floats, Floats]:
    """The stretched and clipped sigmoid, and its slope."""
    sigmoid: Floats = np.reciprocal(1.0 + np.exp(-v))
    stretched = sigmoid * (_HIGH - _LOW) + _LOW
    inside = (stretched > 0.0) & (stretched < 1.0)
    slope: Floats = np.where(inside, sigmoid * (1.0 - sigmoid) * (_HIGH - _LOW), 0.0)
    clipped: Floats = np.clip(stretched, 0.0, 1.0)
    return clipped, slope


def _regularizer_slope(up: Floats, progress: float) -> Floats:
    """The slope of 1 - |2·up - 1|^β; β falls after the warm-up."""
    if progress < _WARM_UP:
        return np.zeros_like(up)
    left = 1.0 - (progress - _WARM_UP) / (1.0 - _WARM_UP)
    beta = _LAST_BETA + (_FIRST_BETA - _LAST_BETA) * 0.5 * (1.0 - math.cos(left * math.pi))
    centred = 2.0 * up - 1.0
    # Zero has no logarithm; the slope there is zero.
    distance = np.maximum(np.abs(centred), np.float32(1e-6))
    slope: Floats = -2.0 * beta * np.sign(centred) * np.exp((beta - 1.0) * np.log(distance))
    return slope


def _improve(problem: Rounding, codes: Float64) -> Float64:
    """Codes where no change of one or two weights of an output makes its error smaller.

    Of pairs, only those of the _PARTNERS weights that cost least to change are looked at.
    """
    search = _Search(problem, codes)
    for _ in range(_MOST_CHANGES * codes.shape[2]):
        if not (search.change_one() or search.change_two()):
            break
    return search.codes


class _Search:
    """Codes of all outputs, improved at once: each step changes every output where it helps."""

    def __init__(self, problem: Rounding, codes: Float64) -> None:
        self.codes = codes.copy()
        self._gram = problem.gram
        self._below, self._above = problem.bounds()
        self._slopes = problem.slopes(codes)
        self._own = np.diagonal(problem.gram, axis1=1, axis2=2)[:, None, :]
        self._at = np.indices(codes.shape[:2])

    def change_one(self) -> bool:
        """The best single change of every output that has one; whether any had."""
        change, cost = self._costs()
        best = cost.argmin(axis=2)
        helps = cost[*self._at, best] < 0.0
        self._change(best, np.where(helps, change[*self._at, best], 0.0))
        return bool(helps.any())

    def change_two(self) -> bool:
        """The best change of two weights, likewise."""
        change, cost = self._costs()
        first = np.argsort(cost, axis=2, kind="stable")[:, :, :_PARTNERS]
        changes = np.take_along_axis(change, first, axis=2)
        coupling = self._gram[self._at[0][:, :, None], first] * change[:, :, None, :]
        both = np.take_along_axis(cost, first, axis=2)[..., None] + cost[:, :, None, :]
        both += 2.0 * changes[..., None] * coupling
        np.put_along_axis(both, first[..., None], np.inf, axis=3)  # a weight and itself
        best = both.reshape(*both.shape[:2], -1).argmin(axis=2)
        partner, second = np.divmod(best, both.shape[3])
        helps = both[*self._at, partner, second] < 0.0
        self._change(first[*self._at, partner], np.where(helps, changes[*self._at, partner], 0.0))
        self._change(second, np.where(helps, change[*self._at, second], 0.0))
        return bool(helps.any())

    def _costs(self) -> tuple[Float64, Float64]:
        """The other code of each weight less its code, and what the change adds to the error."""
        change = np.where(self.codes == self._below, self._above, self._below) - self.codes
        return change, change * (2.0 * self._slopes + change * self._own)

    def _change(self, weight: Ints, amount: Float64) -> None:
        """One weight of every output by an amount."""
        self.codes[*self._at, weight] += amount
        self._slopes += amount[:, :, None] * self._gram[self._at[0], weight]
