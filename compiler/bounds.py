"""How far an engine may be from the reference, and the measurements behind it.

LiteRT's reference kernels and generated C must give the reference's codes byte for byte. XNNPACK
and ONNX Runtime requantize in float32, round ties to even where the specification rounds them up,
and ONNX Runtime computes in float what it cannot fuse. Fed with the reference's activations each
layer of theirs is off by one step here and there: on 150 random graphs and four reference models
(700 layers, 14 million codes) by 1 LSB on 0.2 % of a convolution's codes and on up to 8 % of a
mean's, and never by 2. `layer_bound_of` leaves one step more.

From end to end those steps are carried on, so that the bound follows the depth: the number of
layers that round on the longest path. Of the same models the farthest output was 1.25 LSB for each
layer of depth, the mean 0.28, both on untrained weights; 12 layers of a trained residual network
gave 9 LSB and a mean of 1.8. A wrong layout, padding or scale is off by tens. Steps of int16 are
256 times finer, and the specification's tables for sigmoid and tanh are themselves off by 2 of
them. A label flips only where the reference's two best outputs are nearer than twice the largest
difference, so flips are told and not bounded: they say more about the samples than the engine.

Float outputs have no codes; every engine sums in an order of its own, so they are held to
`FLOAT_BOUND`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import Graph
from .numerics import numerics_of
from .ops import Op
from .oracles import RUNTIME_ENGINES, Engine


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that codes may differ from the reference's: any output, and all in the mean."""

    max_lsb: int
    mean_lsb: float

    @property
    def text(self) -> str:
        """One line for messages."""
        if self.max_lsb == 0:
            return "byte for byte"
        return f"at most {self.max_lsb} LSB, {self.mean_lsb:g} in the mean"

    def holds(self, worst: int, mean: float) -> bool:
        """Whether those distances in LSB are within it."""
        return worst <= self.max_lsb and mean <= self.mean_lsb


@dataclass(frozen=True, slots=True)
class LayerBound:
    """The most that one layer alone may differ: `max_lsb` steps, a share of codes beyond one."""

    max_lsb: int
    beyond_one_share: float

    def holds(self, worst: int, beyond: int, elements: int) -> bool:
        """Whether that many LSB and codes beyond one step are within it."""
        if self.max_lsb == 0:
            return worst == 0
        return worst <= self.max_lsb and beyond <= max(1, self.beyond_one_share * elements)


@dataclass(frozen=True, slots=True)
class FloatBound:
    """The most that float outputs may differ, as a share of the largest of them."""

    max_relative: float
    flip_share: float

    @property
    def text(self) -> str:
        """One line for messages."""
        return (
            f"at most {self.max_relative:g} of the largest output, {self.flip_share:.0%} of labels"
        )

    def holds(self, relative: float, flips: int, samples: int) -> bool:
        """Whether that relative error and that many flipped labels are within it."""
        return relative <= self.max_relative and flips <= max(1, self.flip_share * samples)


EXACT = Bound(0, 0.0)
# TensorFlow Lite Micro rounds some layers otherwise than the reference, by 1 LSB a layer at most.
# From end to end the ten dense layers of an anomaly detector gave 2 LSB as its file came, and 5 LSB
# with a mean of 0.63 when it was quantized here.
_LEAST_TFLM_LSB = 2
_EXACT_ENGINES = (
    *(Engine.REFERENCE, Engine.LITERT_REFERENCE),
    *(Engine.C_HOST, Engine.C_LIBRARY, Engine.C_EMULATED),
)
# Of 1,200 random graphs with layers in float32 between integers none differed by more than 2 steps:
# the order of a float sum decides a code now and then.
_ISLANDS = Bound(4, 0.05)
_LEAST_LSB, _MOST_LSB = 4, 24
_FINER = 16  # int16 steps for an int8 one, of the 256 that there are
_DEEP = 12  # layers; also what is assumed of a bundle that does not tell
ROUNDLESS = frozenset(
    {
        *(Op.RESHAPE, Op.PAD, Op.TRANSPOSE, Op.CONCATENATION, Op.SLICE, Op.GATHER),
        *(Op.MAX_POOL_2D, Op.REDUCE_MAX, Op.RELU, Op.RELU6, Op.RESIZE_NEAREST_NEIGHBOR),
    }
)
"""Operators that pass codes on as they are."""


def bound_of(engine: Engine, depth: int, dtype: np.dtype[Any], numerics: str) -> Bound | None:
    """The end-to-end bound of an engine on outputs of a graph; None where there is none.

    `depth` and `numerics` are the graph's (`numerics_of`), `dtype` that of its outputs' codes.
    """
    if engine is Engine.LITERT_REFERENCE and _has_float_layers(numerics):
        return _ISLANDS
    if engine in _EXACT_ENGINES:
        return EXACT
    if engine is Engine.FLOAT:
        return None
    if engine is Engine.TFLM:
        layers = min(max(depth or _DEEP, _LEAST_TFLM_LSB), _MOST_LSB)
        return Bound(layers, layers / 4)
    steps = min(max(2 * (depth or _DEEP), _LEAST_LSB), _MOST_LSB)
    if dtype == np.int16:
        steps *= _FINER
    return Bound(steps, steps / 4)


def golden_steps(fmt: str, graph: Graph) -> int:
    """How far outputs may be from golden vectors in the engine that devices run `fmt` with.

    Whole steps as `Golden.steps` counts them; one for floats, which differ by less.
    """
    engine, _ = RUNTIME_ENGINES.get(fmt, (Engine.C_HOST, ""))
    dtype = graph.output.dtype.numpy
    bound = bound_of(engine, depth_of(graph), dtype, numerics_of(graph))
    return 1 if dtype.kind == "f" or bound is None else bound.max_lsb


def _has_float_layers(numerics: str) -> bool:
    kinds = numerics.split("+")
    return len(kinds) > 1 and "float32" in kinds


def depth_of(graph: Graph) -> int:
    """The number of operators that round, on the longest path."""
    depths = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        before = max((depths.get(name, 0) for name in node.inputs), default=0)
        depths[node.output] = before + (node.op not in ROUNDLESS)
    return max(depths[name] for name in graph.outputs)


_LAYER_BOUND = LayerBound(2, 0.001)
_LAYER_BOUND_16 = LayerBound(8, 1.0)
_LAYER_BOUND_TFLM = LayerBound(1, 0.0)


def layer_bound_of(engine: Engine, dtype: np.dtype[Any]) -> LayerBound:
    """The bound of one layer alone whose output has codes of `dtype`."""
    if engine in _EXACT_ENGINES:
        return LayerBound(0, 0.0)
    if engine is Engine.TFLM:
        return _LAYER_BOUND_TFLM
    return _LAYER_BOUND_16 if dtype == np.int16 else _LAYER_BOUND


# float32 has 24 bits; sums of thousands of terms in another order lose a few of them.
FLOAT_BOUND = FloatBound(1e-4, 0.01)
