"""What the sieve prices is what the compiler makes of the trained torch module: to the byte."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from edgekiln.compiler import emit_tflite, optimize, quantize
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers.torch_export import import_torch
from edgekiln.compiler.plan import plan_arena
from edgekiln.compiler.workload import workload
from edgekiln.search.blueprint import Blueprint, work
from edgekiln.search.build import build_module, example_input
from edgekiln.search.lower import lower
from edgekiln.search.mlp_space import MlpSpace
from edgekiln.search.space import Block, BlockKind, ConvCandidate, ConvSpace, Space

SPACES: tuple[Space, ...] = (
    ConvSpace((8, 8, 1), 10),
    ConvSpace((9, 14, 3), 4),
    ConvSpace((25, 24, 2), 3),
    MlpSpace((13,), 3),
)


def compiled(blueprint: Blueprint) -> Graph:
    """The long way: torch module, export, import, passes, calibration on random samples."""
    torch.manual_seed(0)
    module = build_module(blueprint).eval()
    program = torch.export.export(module, (example_input(blueprint),))
    samples = np.random.default_rng(1).random((8, *blueprint.input_shape), np.float32)
    return quantize(optimize(import_torch(program, "candidate")), samples)


def assert_same_cost(blueprint: Blueprint) -> None:
    real, guessed = compiled(blueprint), lower(blueprint, "candidate")
    assert workload(guessed) == workload(real)
    assert plan_arena(guessed) == plan_arena(real)
    assert len(emit_tflite(guessed)) == len(emit_tflite(real))
    assert work(blueprint).macs == workload(real).macs


@pytest.mark.parametrize("kind", BlockKind)
@pytest.mark.parametrize("stride", [1, 2])
def test_lower_costs_the_same_for_every_block(kind: BlockKind, stride: int) -> None:
    expansion = 2 if kind is BlockKind.INVERTED else 1
    blocks = (
        Block(kind, 8, 5, 1 if kind is BlockKind.RESIDUAL else stride, expansion),
        Block(BlockKind.CONV, 6, 3),
    )
    assert_same_cost(ConvCandidate(8, 3, 1, blocks).blueprint((8, 7, 1), 10))


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES, ids=lambda s: str(s.input_shape))
def test_lower_costs_the_same_for_samples_and_extremes(space: Space) -> None:
    rng = random.Random(11)
    samples = [space.sample(rng) for _ in range(4)]
    for candidate in (space.smallest(), space.largest(), *samples):
        assert_same_cost(space.blueprint(candidate))


@pytest.mark.parametrize("space", SPACES, ids=lambda s: str(s.input_shape))
def test_work_counts_the_parameters_of_the_graph(space: Space) -> None:
    rng = random.Random(3)
    for candidate in [space.sample(rng) for _ in range(6)]:
        blueprint = space.blueprint(candidate)
        values = lower(blueprint, "candidate").values.values()
        assert work(blueprint).parameters == sum(v.elements for v in values if v.data is not None)
