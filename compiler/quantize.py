"""Post-training quantization to the numeric contracts `int8.v1`, `int16x8.v1` and `int4w.v1`.

equalize → observe → decide → round adaptively → correct biases → apply: the corrections only where
the recipe names them, ranges from calibration data, an encoding for every value, and the mechanical
rounding. `quantize` is the short way with the default recipe, plain min-max.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .adaround import round_adaptively
from .apply import apply
from .bias_correct import correct_biases
from .copies import own_constants
from .decide import Ranges, decide
from .encoding import QuantizationPlan
from .equalize import equalize
from .errors import CalibrationError
from .graph import DType, Graph
from .interpret import run_float_all
from .islands import float_islands
from .observers import Observer
from .passes.integer_words import say_in_integer_words
from .recipe import DEFAULT_RECIPE, Recipe, Step, check_recipe
from .streams import pieces

_BATCH = 128  # calibration samples held at once

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Quantized:
    """A quantized graph and what it came from.

    `float_graph` is the one that was observed: equalized, its weights and biases not yet corrected.
    `int8_graph` has the number formats of the recipe. What runs in float32 and which weights kept
    another format than the recipe's is said in `plan.notes`.
    """

    float_graph: Graph
    plan: QuantizationPlan
    int8_graph: Graph


def quantize(graph: Graph, calibration: Floats) -> Graph:
    """An int8 graph of the same names from an optimized float32 `graph`, by the default recipe.

    `calibration` (n, …) holds preprocessed samples, n ≥ 1. Raises CalibrationError where they are
    missing, not finite or of another shape.
    """
    return quantize_by(graph, calibration, DEFAULT_RECIPE).int8_graph


def quantize_by(graph: Graph, calibration: Floats, recipe: Recipe) -> Quantized:
    """Quantize an optimized float32 `graph` by `recipe`; `calibration` as in `quantize`.

    Raises:
        CalibrationError: the samples are missing, not finite or of another shape.
        RecipeError: formats do not go together, or a pattern fits nothing in the graph.
        QuantizationError: a node has no integer form, and the recipe forbids islands.
    """
    check_recipe(recipe, graph)
    if recipe.activation_dtype is not DType.FLOAT32:
        graph = say_in_integer_words(graph, recipe.activation_dtype, recipe.wants_float)
    graph = own_constants(graph, recipe, float_islands(graph, recipe))
    if Step.EQUALIZE in recipe.steps:
        graph = equalize(graph, recipe)
    plan = decide(graph, observe(graph, calibration, recipe), recipe)
    final = graph
    if Step.ADAROUND in recipe.steps:
        final = round_adaptively(graph, plan, calibration, recipe)
    if Step.BIAS_CORRECT in recipe.steps:
        final = correct_biases(graph, plan, calibration, recipe, final)
    return Quantized(graph, plan, apply(final, plan))


def observe(graph: Graph, calibration: Floats, recipe: Recipe = DEFAULT_RECIPE) -> Ranges:
    """The range of every real activation, zero included, in bounded memory.

    Raises:
        CalibrationError: see `quantize`.
    """
    _check_samples(graph, calibration)
    observers: dict[str, Observer] = {}
    for piece in pieces(graph, len(calibration), _BATCH):
        for name, data in run_float_all(graph, calibration[piece]).items():
            if not np.isfinite(data).all():
                raise CalibrationError(f"{graph.name}: '{name}' is not finite in calibration")
            if graph.values[name].dtype is not DType.FLOAT32:
                continue
            if name not in observers:
                observers[name] = recipe.make_observer(name)
            observers[name].update(data)
    return {name: observer.range() for name, observer in observers.items()}


def _check_samples(graph: Graph, calibration: Floats) -> None:
    """Raise CalibrationError unless there are samples, finite and of the graph's shape."""
    if calibration.ndim == 0 or len(calibration) == 0:
        raise CalibrationError(f"{graph.name}: there are no calibration samples")
    if calibration.shape[1:] != graph.input.shape[1:]:
        raise CalibrationError(
            f"{graph.name}: calibration samples have shape {calibration.shape[1:]}, "
            f"the model takes {graph.input.shape[1:]}"
        )
    if not np.isfinite(calibration).all():
        raise CalibrationError(f"{graph.name}: a calibration sample is not finite; remove it")
