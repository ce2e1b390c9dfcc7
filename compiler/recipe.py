"""`Recipe`: how a model is quantized, as a TOML file for `edgekiln compile --recipe`.

    activations = "int8"            # or int16; float32 leaves the arithmetic as it is
    weights = "int8"                # or int4; float16 and float32 beside float32 activations
    dense_scales = "auto"           # fully connected weights: channel, tensor, or what is cheap
    observer = "min_max"            # or percentile, entropy, mse
    percentile = 99.99
    steps = ["equalize", "adaround", "bias_correct"]
    keep = ["conv2d_0"]             # layers that no step may touch
    float = ["softmax_*"]           # layers that run in float32 between conversions
    islands = true                  # may layers without an integer form run in float32?

    [[overrides]]                   # the last one that matches counts
    values = "conv2d_*"
    observer = "percentile"
    percentile = 99.9

    [[layers]]                      # likewise
    nodes = "conv2d_0"
    weights = "int8"

    [adaround]
    iterations = 300
    samples = 256

Patterns are those of a shell (`*`, `?`, `[ab]`) over names of values and nodes.
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
from .graph import DType, Graph
from .observers import OBSERVERS, Observer, ObserverName
from .ops import Op

Percentile = Annotated[float, Meta(ge=50, le=100)]
Iterations = Annotated[int, Meta(ge=1, le=100_000)]
Samples = Annotated[int, Meta(ge=1, le=100_000)]


class Step(enum.StrEnum):
    """Named corrections; each runs at its own stage, whatever their order in the list."""

    EQUALIZE = "equalize"
    ADAROUND = "adaround"
    BIAS_CORRECT = "bias_correct"


class ActivationFormat(enum.StrEnum):
    """Number formats of activations."""

    INT8 = "int8"
    INT16 = "int16"
    FLOAT32 = "float32"


class WeightFormat(enum.StrEnum):
    """Number formats of weights."""

    INT8 = "int8"
    INT4 = "int4"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class DenseScales(enum.StrEnum):
    """How many scales the weights of a fully connected layer have."""

    AUTO = "auto"
    CHANNEL = "channel"
    TENSOR = "tensor"


FITTING = {
    ActivationFormat.INT8: (WeightFormat.INT8, WeightFormat.INT4),
    ActivationFormat.INT16: (WeightFormat.INT8,),
    ActivationFormat.FLOAT32: (WeightFormat.FLOAT16, WeightFormat.FLOAT32),
}
"""The weights that kernels take beside each kind of activations."""

_EXACT_OBSERVERS = (ObserverName.MIN_MAX, ObserverName.PERCENTILE)


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another observer for the activations whose name fits the pattern `values`."""

    values: str
    observer: ObserverName = ObserverName.MIN_MAX
    percentile: Percentile = 99.99


class LayerOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another number format for the weights of the nodes whose name fits the pattern `nodes`."""

    nodes: str
    weights: WeightFormat


class AdaRoundSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long adaptive rounding may take: steps of descent a layer, calibration samples used."""

    iterations: Iterations = 300
    samples: Samples = 256
    seed: int = 0


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every choice of post-training quantization; the default is int8 by plain min-max."""

    observer: ObserverName = ObserverName.MIN_MAX
    percentile: Percentile = 99.99
    overrides: tuple[Override, ...] = ()
    steps: tuple[Step, ...] = ()
    keep: tuple[str, ...] = ()
    activations: ActivationFormat = ActivationFormat.INT8
    weights: WeightFormat = WeightFormat.INT8
    dense_scales: DenseScales = DenseScales.AUTO
    layers: tuple[LayerOverride, ...] = ()
    float_layers: tuple[str, ...] = msgspec.field(default=(), name="float")
    islands: bool = True
    adaround: AdaRoundSettings = AdaRoundSettings()

    @property
    def activation_dtype(self) -> DType:
        """The number format of activations in the graph's words."""
        return DType(self.activations.value)

    def weight_dtype(self, node: str) -> DType:
        """The number format of the weights of the node of this name."""
        for override in reversed(self.layers):
            if fnmatchcase(node, override.nodes):
                return DType(override.weights.value)
        return DType(self.weights.value)

    def make_observer(self, value: str) -> Observer:
        """A fresh observer for the activation of this name."""
        for override in reversed(self.overrides):
            if fnmatchcase(value, override.values):
                return OBSERVERS[override.observer](override.percentile)
        return OBSERVERS[self.observer](self.percentile)

    def keeps(self, node: str) -> bool:
        """Whether steps must leave the node of this name as it is."""
        return _fits(node, self.keep)

    def wants_float(self, node: str) -> bool:
        """Whether the node of this name must run in float32."""
        return _fits(node, self.float_layers)


DEFAULT_RECIPE = Recipe()


FLOAT_RECIPE = Recipe(activations=ActivationFormat.FLOAT32, weights=WeightFormat.FLOAT32)


def suited_recipe(recipe: Recipe, graph: Graph) -> Recipe:
    """`recipe`; but the default leaves decision trees in float32.

    Trees compare features with thresholds: a feature in 256 steps falls on the wrong side of many.
    """
    return FLOAT_RECIPE if recipe == DEFAULT_RECIPE and _counts_tests(graph) else recipe


def _counts_tests(graph: Graph) -> bool:
    """Whether a product reads zeros and ones of comparisons: the paths of trees."""
    compared = {node.output for node in graph.nodes if node.op is Op.LESS_EQUAL}
    return any(node.op is Op.BATCH_MATMUL and node.inputs[0] in compared for node in graph.nodes)


def check_recipe(recipe: Recipe, graph: Graph) -> None:
    """Raise RecipeError where number formats do not go together, or a pattern is misspelt.

    A pattern is misspelt where it fits no name of the optimized `graph`.
    """
    _check_formats(recipe)
    activations = (*graph.inputs, *(node.output for node in graph.nodes))
    nodes = tuple(node.name for node in graph.nodes)
    for override in recipe.overrides:
        _check_pattern("overrides.values", override.values, activations)
    for layer in recipe.layers:
        _check_pattern("layers.nodes", layer.nodes, nodes)
    for pattern in recipe.keep:
        _check_pattern("keep", pattern, nodes)
    for pattern in recipe.float_layers:
        _check_pattern("float", pattern, nodes)


def _check_formats(recipe: Recipe) -> None:
    fitting = FITTING[recipe.activations]
    for weights in (recipe.weights, *(layer.weights for layer in recipe.layers)):
        if weights not in fitting:
            raise RecipeError(
                f"recipe: {recipe.activations} activations do not go with {weights} weights; "
                f"give weights = {' or '.join(fitting)}"
            )
    if recipe.activations is ActivationFormat.FLOAT32 and recipe.steps:
        raise RecipeError(
            f"recipe: float32 activations are not quantized; leave '{recipe.steps[0]}' out of steps"
        )
    observers = (recipe.observer, *(override.observer for override in recipe.overrides))
    finer = [name for name in observers if name not in _EXACT_OBSERVERS]
    if recipe.activations is ActivationFormat.INT16 and finer:
        raise RecipeError(
            f"recipe: observer '{finer[0]}' weighs the codes of an int8; int16 activations take "
            f"{' or '.join(_EXACT_OBSERVERS)}"
        )


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


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
    keys = (field.encode_name for field in msgspec.structs.fields(Recipe))
    return (
        f"keys: {', '.join(keys)}; observers: {', '.join(ObserverName)}; "
        f"steps: {', '.join(Step)}; percentile: 50 to 100; "
        f"activations: {', '.join(ActivationFormat)}; weights: {', '.join(WeightFormat)}; "
        f"dense_scales: {', '.join(DenseScales)}"
    )
