"""Recipes: read from TOML, refused in one line, and decisive for the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.apply import apply
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.decide import decide
from edgekiln.compiler.errors import RecipeError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.observers import ObserverName
from edgekiln.compiler.quantize import observe, quantize, quantize_by
from edgekiln.compiler.recipe import Override, Recipe, Step, read_recipe


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
        '[[overrides]]\nvalues = "x"\nobserver = "percentile"\npercentile = 99.5\n'
    )
    assert read_recipe(path) == Recipe(
        ObserverName.MSE,
        99.0,
        (Override("x", ObserverName.PERCENTILE, 99.5),),
        (Step.EQUALIZE,),
        ("a*",),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("observer = 'best'", "min_max, percentile, entropy, mse"),
        ("percentile = 12", "50 to 100"),
        ("steps = ['smooth']", "equalize, adaround, bias_correct"),
        ("steps = ['equalize', 'equalize']", "twice"),
        ("colour = 1", "keys: observer"),
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
    "recipe", [Recipe(overrides=(Override("nothing*"),)), Recipe(keep=("nothing*",))]
)
def test_recipe_error_lists_names_when_a_pattern_fits_nothing(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"'nothing\*' fits no name .*fully_connected"):
        quantize_by(two_layers(), spiked(), recipe)
