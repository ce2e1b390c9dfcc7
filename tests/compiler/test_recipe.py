"""Recipes: read from TOML, refused in one line, and decisive for the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler import recipe as recipe_module
from edgekiln.compiler.apply import apply
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.decide import decide
from edgekiln.compiler.errors import RecipeError
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.observers import ObserverName
from edgekiln.compiler.quantize import observe, quantize, quantize_by
from edgekiln.compiler.recipe import (
    ActivationFormat,
    AdaRoundSettings,
    DenseScales,
    LayerOverride,
    Override,
    Recipe,
    Step,
    WeightFormat,
    read_recipe,
)


def two_layers() -> Graph:
    build = GraphBuilder("two", (1, 3))
    x = build.fully_connected(build.input, np.eye(3), np.zeros(3))
    return build.finish(build.fully_connected(x, np.ones((2, 3))))


def spiked() -> Array:
    x = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    x[0, 0] = 100.0
    return x


@pytest.mark.parametrize("seed", range(10))
def test_decide_then_apply_is_quantize_when_recipe_is_default(
    seed: int, random_graph: Callable[[int], Graph], draw_samples: Callable[..., Array]
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 150, seed)
    split, short = apply(graph, decide(graph, observe(graph, x))), quantize(graph, x)
    assert list(split.values) == list(short.values)
    for name, value in short.values.items():
        assert split.values[name].quant == value.quant
        if value.data is not None:
            assert split.values[name].data is not None
            np.testing.assert_array_equal(split.constant(name), value.data)


def test_ranges_are_the_exact_extremes_when_recipe_is_default() -> None:
    x = spiked()
    assert observe(two_layers(), x)["input"] == (float(x.min()), float(x.max()))


@pytest.mark.parametrize("name", [ObserverName.PERCENTILE, ObserverName.ENTROPY])
def test_outlier_costs_less_resolution_when_observer_clips(name: ObserverName) -> None:
    x = spiked()
    plain = params(quantize(two_layers(), x), "input").scale[0]
    clipped = quantize_by(two_layers(), x, Recipe(observer=name, percentile=99.9)).int8_graph
    assert params(clipped, "input").scale[0] < plain / 3


def test_last_override_counts_when_two_match() -> None:
    graph, x = two_layers(), spiked()
    recipe = Recipe(
        observer=ObserverName.PERCENTILE,
        percentile=99.0,
        overrides=(
            Override("*", ObserverName.ENTROPY),
            Override("inp*", ObserverName.MIN_MAX),
        ),
    )
    found = observe(graph, x, recipe)
    assert found["input"] == observe(graph, x)["input"]
    assert found[graph.nodes[0].output][1] < 50.0


def test_recipe_is_read_when_toml_has_every_key(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'observer = "mse"\npercentile = 99\nsteps = ["equalize"]\nkeep = ["a*"]\n'
        'activations = "int16"\nweights = "int4"\ndense_scales = "channel"\n'
        'float = ["b*"]\nislands = false\n'
        '[[overrides]]\nvalues = "x"\nobserver = "percentile"\npercentile = 99.5\n'
        '[[layers]]\nnodes = "c"\nweights = "int8"\n'
        "[adaround]\niterations = 10\nsamples = 20\nseed = 30\n"
    )
    assert read_recipe(path) == Recipe(
        observer=ObserverName.MSE,
        percentile=99.0,
        overrides=(Override("x", ObserverName.PERCENTILE, 99.5),),
        steps=(Step.EQUALIZE,),
        keep=("a*",),
        activations=ActivationFormat.INT16,
        weights=WeightFormat.INT4,
        dense_scales=DenseScales.CHANNEL,
        layers=(LayerOverride("c", WeightFormat.INT8),),
        float_layers=("b*",),
        islands=False,
        adaround=AdaRoundSettings(10, 20, 30),
    )


def test_the_recipe_in_the_documentation_is_read(tmp_path: Path) -> None:
    example = (recipe_module.__doc__ or "").splitlines()
    lines = [line.removeprefix("    ") for line in example if line.startswith("    ")]
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(lines))
    assert read_recipe(path).adaround == AdaRoundSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("observer = 'best'", "min_max, percentile, entropy, mse"),
        ("percentile = 12", "50 to 100"),
        ("steps = ['smooth']", "equalize, adaround, bias_correct"),
        ("steps = ['equalize', 'equalize']", "twice"),
        ("colour = 1", "keys: observer"),
        ("activations = 'int4'", "activations: int8, int16, float32"),
        ("weights = 'int2'", "weights: int8, int4, float16, float32"),
        ("[adaround]\niterations = 0", "iterations"),
        ("float_layers = ['a']", "keys: .*float, islands"),
        ("observer = ", "not TOML"),
        ("\0", "not TOML"),
    ],
)
def test_recipe_error_is_one_line_when_file_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)
    assert "recipe.toml" in str(caught.value)


def test_recipe_error_names_the_file_when_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: no such recipe"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(overrides=(Override("nothing*"),)),
        Recipe(keep=("nothing*",)),
        Recipe(float_layers=("nothing*",)),
        Recipe(layers=(LayerOverride("nothing*", WeightFormat.INT4),)),
    ],
)
def test_recipe_error_lists_names_when_a_pattern_fits_nothing(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"'nothing\*' fits no name .*fully_connected"):
        quantize_by(two_layers(), spiked(), recipe)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe(weights=WeightFormat.FLOAT16), "int8 activations.*give weights = int8 or int4"),
        (
            Recipe(activations=ActivationFormat.INT16, weights=WeightFormat.INT4),
            "int16 activations.*give weights = int8$",
        ),
        (Recipe(activations=ActivationFormat.FLOAT32), "give weights = float16 or float32"),
        (
            Recipe(activations=ActivationFormat.INT16, observer=ObserverName.MSE),
            "'mse'.*take min_max or percentile",
        ),
        (
            Recipe(
                activations=ActivationFormat.FLOAT32,
                weights=WeightFormat.FLOAT16,
                steps=(Step.ADAROUND,),
            ),
            "leave 'adaround' out",
        ),
    ],
)
def test_recipe_error_says_what_fits_when_formats_do_not_go_together(
    recipe: Recipe, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        quantize_by(two_layers(), spiked(), recipe)


def test_int16_activations_are_symmetric_and_biases_wide_when_recipe_says_so() -> None:
    x = spiked()
    graph = quantize_by(two_layers(), x, Recipe(activations=ActivationFormat.INT16)).int8_graph
    found = params(graph, "input")
    assert found.zero_point == (0,)
    assert found.scale[0] == np.float32(np.abs(x).max() / 32767)
    bias = graph.values[graph.nodes[0].inputs[2]]
    assert (bias.dtype, graph.constant(bias.name).dtype) == (DType.INT64, np.int64)
    assert graph.values[graph.nodes[0].inputs[1]].dtype is DType.INT8


def test_one_layer_keeps_int8_weights_when_the_rest_has_int4() -> None:
    graph = two_layers()
    first, last = graph.nodes
    layers = (LayerOverride("*", WeightFormat.INT4), LayerOverride(first.name, WeightFormat.INT8))
    int4 = quantize_by(graph, spiked(), Recipe(layers=layers)).int8_graph
    assert int4.values[first.inputs[1]].dtype is DType.INT8
    weights = int4.values[last.inputs[1]]
    assert weights.dtype is DType.INT4
    np.testing.assert_array_equal(weights.data, np.full((2, 3), 7))


def wide(inputs: int) -> Graph:
    build = GraphBuilder("wide", (1, inputs))
    return build.finish(build.fully_connected(build.input, np.eye(inputs)[:4]))


@pytest.mark.parametrize(
    ("inputs", "scales", "expected"),
    [
        (700, DenseScales.AUTO, 1),
        (800, DenseScales.AUTO, 4),
        (10, DenseScales.CHANNEL, 4),
        (800, DenseScales.TENSOR, 1),
    ],
)
def test_dense_layer_has_a_scale_for_each_output_when_that_is_cheap_or_asked_for(
    inputs: int, scales: DenseScales, expected: int
) -> None:
    x = np.random.default_rng(0).random((8, inputs), np.float32)
    graph = quantize_by(wide(inputs), x, Recipe(dense_scales=scales)).int8_graph
    node = graph.nodes[0]
    assert [len(params(graph, name).scale) for name in node.inputs[1:]] == [expected, expected]
