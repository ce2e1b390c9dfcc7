"""`Recipe`: how a model is quantized, as a TOML file for `edgekiln compile --recipe`.

    observer = "min_max"            # or percentile, entropy, mse
    percentile = 99.99
    steps = ["equalize", "bias_correct"]
    keep = ["conv2d_0"]             # layers that no step may touch

    [[overrides]]                   # the last one that matches counts
    values = "conv2d_*"
    observer = "percentile"
    percentile = 99.9

Patterns are those of a shell (`*`, `?`, `[ab]`) over names of values and nodes. `int8.v1` has no
float islands: a kept layer is quantized as every other, with the weights and bias it came with.
"""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from .errors import RecipeError
from .graph import Graph
from .observers import OBSERVERS, Observer, ObserverName

Percentile = Annotated[float, Meta(ge=50, le=100)]


class Step(enum.StrEnum):
    """Named corrections; each runs at its own stage, whatever their order in the list."""

    EQUALIZE = "equalize"
    BIAS_CORRECT = "bias_correct"


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another observer for the activations whose name fits the pattern `values`."""

    values: str
    observer: ObserverName = ObserverName.MIN_MAX
    percentile: Percentile = 99.99


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every choice of post-training quantization; the default is plain min-max."""

    observer: ObserverName = ObserverName.MIN_MAX
    percentile: Percentile = 99.99
    overrides: tuple[Override, ...] = ()
    steps: tuple[Step, ...] = ()
    keep: tuple[str, ...] = ()

    def make_observer(self, value: str) -> Observer:
        """A fresh observer for the activation of this name."""
        for override in reversed(self.overrides):
            if fnmatchcase(value, override.values):
                return OBSERVERS[override.observer](override.percentile)
        return OBSERVERS[self.observer](self.percentile)

    def keeps(self, node: str) -> bool:
        """Whether steps must leave the node of this name as it is."""
        return any(fnmatchcase(node, pattern) for pattern in self.keep)


DEFAULT_RECIPE = Recipe()


def check_recipe(recipe: Recipe, graph: Graph) -> None:
    """Raise RecipeError where a pattern fits no name of the optimized `graph`: a misspelling."""
    activations = (*graph.inputs, *(node.output for node in graph.nodes))
    nodes = tuple(node.name for node in graph.nodes)
    for override in recipe.overrides:
        _check_pattern("overrides.values", override.values, activations)
    for pattern in recipe.keep:
        _check_pattern("keep", pattern, nodes)


def _check_pattern(key: str, pattern: str, names: Iterable[str]) -> None:
    names = tuple(names)
    if not any(fnmatchcase(name, pattern) for name in names):
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise RecipeError(f"recipe: {key} '{pattern}' fits no name of the model; it has: {shown}")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        RecipeError: it is missing, no TOML, or has an unknown key or a value out of range.
        OSError: it cannot be read.
    """
    try:
        recipe = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type=Recipe)
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise RecipeError(f"{path}: {error}; {_allowed()}") from error
    if len(set(recipe.steps)) != len(recipe.steps):
        raise RecipeError(f"{path}: a step is named twice in steps")
    return recipe


def _allowed() -> str:
    return (
        f"keys: {', '.join(Recipe.__struct_fields__)}; observers: {', '.join(ObserverName)}; "
        f"steps: {', '.join(Step)}; percentile: 50 to 100"
    )
