"""Candidates: identity, validity, and agreement between what is priced and what is trained."""

from __future__ import annotations

import random

import pytest

from edgekiln.compiler.graph import DType
from edgekiln.compiler.ops import Op
from edgekiln.compiler.workload import workload
from edgekiln.search.build import build_module, example_input, parameter_count
from edgekiln.search.errors import SpaceError
from edgekiln.search.lower import lower
from edgekiln.search.mlp_space import MlpSpace, space_for
from edgekiln.search.space import (
    Block,
    BlockKind,
    Candidate,
    ConvCandidate,
    ConvSpace,
    Space,
    candidate_id,
)

SPACES: tuple[Space, ...] = (
    ConvSpace((8, 8, 1), 10),
    ConvSpace((9, 14, 3), 4),
    ConvSpace((32, 32, 3), 10),
    ConvSpace((2, 2, 2), 2),
    MlpSpace((13,), 3),
)


def walk(space: Space, count: int) -> list[Candidate]:
    """Samples, and a chain of mutations from each extreme."""
    rng = random.Random(7)
    found = [space.sample(rng) for _ in range(count)]
    for start in (space.smallest(), space.largest()):
        found.append(start)
        for _ in range(count):
            found.append(space.mutate(found[-1], rng))
    return found


def test_candidate_id_is_stable() -> None:
    block = Block(BlockKind.SEPARABLE, 8, 3)
    assert candidate_id(ConvCandidate(4, 3, 1, (block,))) == "de0242883d25"


def test_candidate_id_ignores_fields_that_a_block_does_not_use() -> None:
    rng = random.Random(0)
    space = ConvSpace((8, 8, 1), 10)
    for candidate in walk(space, 60):
        assert isinstance(candidate, ConvCandidate)
        for block in candidate.blocks:
            assert block.expansion == 1 or block.kind is BlockKind.INVERTED
        assert space.mutate(candidate, rng) is not None


@pytest.mark.parametrize("count", [4, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("space", SPACES, ids=lambda s: str(s.input_shape))
def test_every_candidate_builds_and_lowers_to_one_network(space: Space, count: int) -> None:
    for candidate in walk(space, count):
        blueprint = space.blueprint(candidate)
        module = build_module(blueprint).eval()
        assert module(example_input(blueprint)).shape == (1, space.classes)
        graph = lower(blueprint, "candidate")
        assert graph.output.shape == (1, space.classes)
        weights = sum(
            v.elements
            for v in graph.values.values()
            if v.data is not None and v.dtype is DType.INT8
        )
        biases = sum(v.elements for v in graph.values.values() if v.dtype is DType.INT32)
        norms = sum(
            graph.values[node.inputs[2]].elements
            for node in graph.nodes
            if node.op in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D)
        )
        # A batch norm has two numbers a channel; folding leaves one, the bias.
        assert parameter_count(module) == weights + biases + norms
        assert workload(graph).macs > 0


def test_smallest_has_fewest_parameters() -> None:
    for space in SPACES:
        sizes = [parameter_count(build_module(space.blueprint(c))) for c in walk(space, 8)]
        assert sizes[8] == min(sizes)


def test_sampling_repeats_when_the_seed_repeats() -> None:
    space = ConvSpace((8, 8, 1), 10)
    first = [space.sample(random.Random(3)) for _ in range(5)]
    assert first == [space.sample(random.Random(3)) for _ in range(5)]


def test_space_for_names_the_shape_when_no_space_covers_it() -> None:
    with pytest.raises(SpaceError, match=r"\(4, 4, 4, 1\)"):
        space_for((4, 4, 4, 1), 2)


def test_series_is_searched_as_an_image_of_one_channel() -> None:
    assert space_for((128, 3), 4).input_shape == (128, 3, 1)
