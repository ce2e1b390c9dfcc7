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
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .encoding import QuantizationPlan, along
from .graph import Graph, Node
from .lockstep import Lockstep, spread
from .moments import SUPPORTED, covariance, from_rows, second_moments, to_rows
from .recipe import Recipe, Step
from .weight_scales import LIMITS

_LOW, _HIGH = -0.1, 1.1  # where the rectified sigmoid is cut off: γ and ζ
_WARM_UP = 0.2  # of the iterations run without the regulariser
_FIRST_BETA, _LAST_BETA = 20.0, 2.0
_RATE = 0.02
_WEIGHT = 1.0  # of the regulariser, where a weight's share of the error of nearest rounding is 1
_DECAY, _SQUARE_DECAY = 0.9, 0.999  # Adam's

Floats = npt.NDArray[np.float32]
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
    as they are. The same samples and seed give the same weights.
    """
    settings = recipe.adaround
    moments = covariance if Step.BIAS_CORRECT in recipe.steps else second_moments
    steps = Lockstep(graph, plan, graph, spread(calibration, settings.samples))
    values = dict(graph.values)
    for node in steps.layers():
        if recipe.keeps(node.name) or node.op not in SUPPORTED:
            continue
        name = node.inputs[1]
        gram = moments(graph, node, steps.rounded_input(node), settings.seed)
        data = _round_layer(graph, node, plan, gram, settings.iterations)
        values[name] = dataclasses.replace(values[name], data=data)
        steps.put(values[name])
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
    """Codes after gradient descent (Adam) on how far each weight goes up."""
    below, above = problem.bounds()
    reach = above - below
    scale = max(problem.errors(problem.nearest()).sum() / problem.steps.size, 1e-30)
    start = np.clip(problem.steps - below, 0.01, 0.99)
    v = -np.log((_HIGH - _LOW) / (start - _LOW) - 1.0)
    mean, square = np.zeros_like(v), np.zeros_like(v)
    for step in range(1, iterations + 1):
        up, slope = _rectified(v)
        gradient = 2.0 * problem.slopes(below + up * reach) * reach / scale
        gradient += _WEIGHT * _regularizer_slope(up, step / iterations)
        gradient *= slope
        mean = _DECAY * mean + (1.0 - _DECAY) * gradient
        square = _SQUARE_DECAY * square + (1.0 - _SQUARE_DECAY) * gradient**2
        unbiased = np.sqrt(square / (1.0 - _SQUARE_DECAY**step)) + 1e-8
        v = v - _RATE * mean / (1.0 - _DECAY**step) / unbiased
    return np.where(_rectified(v)[0] >= 0.5, above, below)


def _rectified(v: Float64) -> tuple[Float64, Float64]:
    """The stretched and clipped sigmoid, and its slope."""
    sigmoid = 1.0 / (1.0 + np.exp(-v))
    stretched = sigmoid * (_HIGH - _LOW) + _LOW
    inside = (stretched > 0.0) & (stretched < 1.0)
    slope = np.where(inside, sigmoid * (1.0 - sigmoid) * (_HIGH - _LOW), 0.0)
    return np.clip(stretched, 0.0, 1.0), slope


def _regularizer_slope(up: Float64, progress: float) -> Float64:
    """The slope of 1 - |2·up - 1|^β; β falls after the warm-up."""
    if progress < _WARM_UP:
        return np.zeros_like(up)
    left = 1.0 - (progress - _WARM_UP) / (1.0 - _WARM_UP)
    beta = _LAST_BETA + (_FIRST_BETA - _LAST_BETA) * 0.5 * (1.0 - np.cos(left * np.pi))
    centred = 2.0 * up - 1.0
    slope: Float64 = -2.0 * beta * np.sign(centred) * np.abs(centred) ** (beta - 1.0)
    return slope


def _improve(problem: Rounding, codes: Float64) -> Float64:
    """Codes where no weight of an output can change alone and make the error smaller."""
    below, above = problem.bounds()
    codes, slopes = codes.copy(), problem.slopes(codes)
    own = np.diagonal(problem.gram, axis1=1, axis2=2)[:, None, :]
    groups, outputs = np.indices(codes.shape[:2])
    for _ in range(4 * codes.shape[2]):
        change = np.where(codes == below, above - codes, below - codes)
        gain = change * (2.0 * slopes + change * own)
        best = gain.argmin(axis=2)
        wanted = gain[groups, outputs, best] < 0.0
        if not wanted.any():
            break
        taken = np.where(wanted, change[groups, outputs, best], 0.0)
        codes[groups, outputs, best] += taken
        slopes += taken[:, :, None] * problem.gram[groups, best]
    return codes
