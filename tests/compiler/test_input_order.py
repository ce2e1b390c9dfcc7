"""The axes of data against those of a model: the same answers as in its framework, or a refusal."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.data import Dataset, load_dataset
from edgekiln.compiler.errors import ImportModelError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.input_order import fit_input
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.load_model import load_file
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import untraced


class ChannelsLast(nn.Module):
    """Takes images as (n, height, width, channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x.permute(0, 3, 1, 2))
        return y.amax((2, 3))


MODELS = {
    "image": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten()), (3, 5, 7)),
    "series": (nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveMaxPool1d(1), nn.Flatten()), (3, 9)),
    "channels last": (ChannelsLast(), (5, 7, 3)),
}


def exported(folder: Path, name: str) -> tuple[Path, nn.Module, Array]:
    """The file of a model, the model, and 20 samples as it takes them."""
    module, shape = MODELS[name]
    x = np.random.default_rng(3).normal(size=(20, *shape)).astype(np.float32)
    path = folder / "model.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), (torch.from_numpy(x[:1]),))
        torch.export.save(program, path)
    return path, module, x


def stored(folder: Path, x: Array) -> Dataset:
    path = folder / "data.npz"
    np.savez(path, x=x, y=np.arange(len(x)) % 4)
    return load_dataset(str(path))


def answers(graph: Graph, x: Array) -> Array:
    return run_float(graph, x.reshape(-1, *graph.input.shape[1:]))


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_the_models_when_data_lies_as_in_its_framework(
    tmp_path: Path, name: str
) -> None:
    path, module, x = exported(tmp_path, name)
    graph = load_file(path, stored(tmp_path, x), untraced).graph
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(answers(graph, x), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["image", "series"])
def test_graph_has_no_transpose_when_data_has_its_channels_last(tmp_path: Path, name: str) -> None:
    path, module, x = exported(tmp_path, name)
    last = np.moveaxis(x, 1, -1)
    graph = load_file(path, stored(tmp_path, last), untraced).graph
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(answers(graph, last), expected, atol=1e-5)
    assert Op.TRANSPOSE not in {node.op for node in graph.nodes}


def test_transposes_cancel_when_the_model_turns_channels_last_around(tmp_path: Path) -> None:
    path, _, x = exported(tmp_path, "channels last")
    graph = load_file(path, stored(tmp_path, x), untraced).graph
    assert Op.TRANSPOSE not in {node.op for node in graph.nodes}


@pytest.mark.parametrize("shape", [(7, 5, 3), (105,), (4, 5, 7), (5, 21)])
def test_data_is_refused_when_its_axes_are_not_the_models(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path, _, _ = exported(tmp_path, "image")
    x = np.random.default_rng(0).normal(size=(20, *shape)).astype(np.float32)
    with pytest.raises(ImportModelError, match=r"takes samples of shape \(5, 7, 3\), or as") as no:
        load_file(path, stored(tmp_path, x), untraced)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize("shape", [(12,), (12, 1, 1), (3, 4), (2, 6, 1)])
def test_order_does_not_matter_when_the_model_takes_flat_samples(shape: tuple[int, ...]) -> None:
    build = GraphBuilder("flat", (1, 12))
    graph = build.finish(build.relu(build.input))
    assert fit_input(graph, None, shape, "data") is graph
    with pytest.raises(ImportModelError, match=r"shape \(12,\), data 'data' has"):
        fit_input(dataclasses.replace(graph), None, (13,), "data")
