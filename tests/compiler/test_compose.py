"""Composed nodes compute what torch does, and recurrent layers share their constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekiln.compiler import compose
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.compose_recurrent import RecurrentWeights, gru, lstm
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array
from edgekiln.compiler.interpret import run_float, run_float_all
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import optimize

Composer = Callable[[GraphBuilder, str], str]


def random(*shape: int, seed: int = 3) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def compute(composer: Composer, x: Array) -> Array:
    """What the composed operator gives, before and after `optimize`."""
    builder = GraphBuilder("composed", (1, *x.shape[1:]))
    graph = builder.finish(composer(builder, builder.input))
    check(graph)
    result = run_float(graph, x)
    assert np.abs(run_float(optimize(graph), x) - result).max() <= 1e-6
    return result


COMPOSED: dict[str, tuple[Composer, Callable[[torch.Tensor], torch.Tensor]]] = {
    "constant": (lambda b, x: compose.with_constant(b, Op.SUB, x, 0.5), lambda x: x - 0.5),
    "reduced": (
        lambda b, x: compose.reduce_axes(b, Op.SUM, x, (2, 1), keep_dims=True),
        lambda x: x.sum((1, 2), keepdim=True),
    ),
    "scaled": (
        lambda b, x: compose.scale_shift(b, x, np.arange(7.0), np.ones(7)),
        lambda x: x * torch.arange(7.0) + 1,
    ),
    "split": (
        lambda b, x: compose.concatenate(b, compose.split(b, x, 1, (1, 2, 3))[::-1], 1),
        lambda x: torch.cat(x.split((1, 2, 3), 1)[::-1], 1),
    ),
    "flip": (lambda b, x: compose.flip(b, x, 2), lambda x: x.flip(2)),
    "take": (
        lambda b, x: compose.take(b, x, 2, np.array([[3, 3], [0, 6]])),
        lambda x: x[:, :, torch.tensor([[3, 3], [0, 6]])],
    ),
    "insert_drop": (
        lambda b, x: compose.drop_axis(b, compose.insert_axis(b, x, 2), 2),
        lambda x: x[:, :, None].squeeze(2),
    ),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_nodes_equal_torch_when_they_are_run(name: str) -> None:
    composer, expected = COMPOSED[name]
    x = 4 * random(5, 6, 7)
    assert np.abs(compute(composer, x) - expected(torch.from_numpy(x)).numpy()).max() <= 1e-4


def weights_of(module: nn.RNNBase) -> RecurrentWeights:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return RecurrentWeights(*(getattr(module, name).detach().numpy() for name in names))


RECURRENT: dict[str, tuple[Any, Any]] = {"lstm": (nn.LSTM, lstm), "gru": (nn.GRU, gru)}


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("with_state", [False, True])
def test_recurrent_layer_equals_torch_when_states_are_zero_or_given(
    kind: str, with_state: bool
) -> None:
    torch.manual_seed(1)
    module_class, composer = RECURRENT[kind]
    module = module_class(3, 4, batch_first=True)
    x, states = random(5, 6, 3), [random(1, 1, 4, seed=9), random(1, 1, 4, seed=10)]
    count = (2 if kind == "lstm" else 1) if with_state else 0
    builder = GraphBuilder(kind, (1, 6, 3))
    given = [builder.constant(f"state{index}", states[index][0]) for index in range(count)]
    result = composer(builder, builder.input, weights_of(module), *given)
    outputs = (result.steps, result.hidden, *([result.cell] if kind == "lstm" else []))
    graph = builder.finish(*outputs)
    check(graph)
    initial = [torch.from_numpy(state).expand(1, 5, 4).contiguous() for state in states[:count]]
    with torch.no_grad():
        steps, last = (
            module(torch.from_numpy(x), tuple(initial) if kind == "lstm" else initial[0])
            if with_state
            else module(torch.from_numpy(x))
        )
    expected = [steps, *(last if kind == "lstm" else (last,))]
    actual = run_float_all(optimize(graph), x)
    for name, tensor in zip(outputs, expected, strict=True):
        wanted = tensor.numpy() if tensor is steps else tensor.numpy()[0]
        assert np.abs(actual[name] - wanted).max() <= 1e-5


def test_recurrent_layer_adds_its_weights_once_when_steps_are_many() -> None:
    for module, composer in ((nn.LSTM(3, 4), lstm), (nn.GRU(3, 4), gru)):
        counts = []
        for steps in (2, 9):
            builder = GraphBuilder("long", (1, steps, 3))
            weights = weights_of(module)  # type: ignore[arg-type]
            graph = optimize(builder.finish(composer(builder, builder.input, weights).steps))
            counts.append(sum(value.data is not None for value in graph.values.values()))
        assert counts[0] == counts[1]
