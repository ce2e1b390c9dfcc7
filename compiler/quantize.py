"""Post-training quantization to the numeric contract `int8.v1`.

equalize → observe → decide → correct biases → apply: the two corrections only where the recipe
names them, ranges from calibration data, an encoding for every value, and the
mechanical rounding. `quantize` is the short way with the default recipe, plain min-max.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .bias_correct import correct_biases
from .decide import Ranges, decide
from .encoding import QuantizationPlan, apply
from .equalize import equalize
from .errors import CalibrationError
from .graph import Graph
from .interpret import run_float_all
from .observers import Observer
from .recipe import DEFAULT_RECIPE, Recipe, Step, check_recipe

_BATCH = 128  # calibration samples held at once

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Quantized:
    """An int8 graph and what it came from.

    `float_graph` is the one that was observed: equalized, its biases not yet corrected.
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
        RecipeError: a pattern of the recipe fits nothing in the graph.
    """
    check_recipe(recipe, graph)
    if Step.EQUALIZE in recipe.steps:
        graph = equalize(graph, recipe)
    plan = decide(graph, observe(graph, calibration, recipe))
    final = graph
    if Step.BIAS_CORRECT in recipe.steps:
        final = correct_biases(graph, plan, calibration, recipe)
    return Quantized(graph, plan, apply(final, plan))


def observe(graph: Graph, calibration: Floats, recipe: Recipe = DEFAULT_RECIPE) -> Ranges:
    """The range of every activation, zero included, in bounded memory.

    Raises:
        CalibrationError: see `quantize`.
    """
    _check_samples(graph, calibration)
    observers: dict[str, Observer] = {}
    for start in range(0, len(calibration), _BATCH):
        for name, data in run_float_all(graph, calibration[start : start + _BATCH]).items():
            if not np.isfinite(data).all():
                raise CalibrationError(f"{graph.name}: '{name}' is not finite in calibration")
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
