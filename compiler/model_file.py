"""`read_for_check`: the graph of any model file as a compile would write it, without its data.

Sizes and work of a model hardly depend on its samples: a float model is quantized with random ones
where none are given, and a note says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.runtime.bundle import open_bundle

from .assemble import model_samples
from .data import Dataset
from .errors import ImportModelError
from .graph import Graph
from .importers import import_with_notes
from .importers.tflite import import_tflite
from .load_model import load_file
from .numerics import is_quantized
from .passes import end_in_logits, optimize, untraced
from .quantize import quantize_by
from .recipe import DEFAULT_RECIPE, Recipe, suited_recipe

RANDOM_RANGES = (
    "the model is float: its quantized form has ranges from random samples, which changes few "
    "bytes; give --data for its own"
)
_SAMPLES, _SEED = 8, 0


@dataclass(frozen=True)
class ReadModel:
    """The graph that artifacts are made of, and sentences about how it came to be."""

    graph: Graph
    notes: tuple[str, ...] = ()


def read_for_check(
    path: Path, dataset: Dataset | None = None, recipe: Recipe = DEFAULT_RECIPE
) -> ReadModel:
    """A model file, or the .tflite of a bundle, quantized by `recipe` where it is float.

    Raises:
        ImportModelError: the file cannot be read, or its shapes are not those of the data.
        UnsupportedOpError: an operator that the graph has no word for.
        BundleError: a bundle that is damaged.
    """
    if path.suffix.lower() == ".ekb":
        return ReadModel(_of_bundle(path))
    notes: tuple[str, ...] = ()
    if dataset is not None:
        loaded = load_file(path, dataset, untraced)
        graph, notes = loaded.graph, loaded.notes
    else:
        imported = import_with_notes(path)
        graph, notes = end_in_logits(imported.graph), imported.notes
        graph = graph if is_quantized(graph) else optimize(graph)
    if is_quantized(graph):
        return ReadModel(graph, notes)
    if dataset is None:
        notes = (*notes, RANDOM_RANGES)
        shape = (_SAMPLES, *graph.input.shape[1:])
        samples = np.random.default_rng(_SEED).normal(0, 1, shape).astype(np.float32)
    else:
        samples = model_samples(graph, dataset, dataset.x[dataset.train])
    return ReadModel(quantize_by(graph, samples, suited_recipe(recipe, graph)).int8_graph, notes)


def _of_bundle(path: Path) -> Graph:
    bundle = open_bundle(path)
    for artifact in bundle.manifest.artifacts:
        if artifact.format == "tflite":
            return import_tflite(bundle.read(artifact.path), bundle.manifest.name)
    raise ImportModelError(
        f"{path}: no .tflite inside, which is what is read; compile with --format tflite"
    )
