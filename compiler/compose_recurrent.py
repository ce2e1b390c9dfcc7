"""LSTM and GRU, unrolled over time: each step is a product, sums, sigmoids and tanhs.

The input's product is taken for all steps at once; weights are constants that every step shares.
Sequences are (1, steps, features), states (1, hidden). Gates lie as torch stacks them: input,
forget, cell, output for the LSTM; reset, update, new for the GRU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .builder import GraphBuilder
from .compose import concatenate, drop_axis, insert_axis, of_two, slice_axis, split
from .graph import Array
from .ops import DenseAttrs, Op


@dataclass(frozen=True, slots=True)
class RecurrentWeights:
    """One layer in one direction; gates are stacked along the first axis.

    `input` (gates · hidden, features), `recurrent` (gates · hidden, hidden), both biases
    (gates · hidden,).
    """

    input: Array
    recurrent: Array
    input_bias: Array
    recurrent_bias: Array

    @property
    def hidden(self) -> int:
        """Size of the state."""
        return int(self.recurrent.shape[1])


@dataclass(frozen=True, slots=True)
class Unrolled:
    """States of every step (1, steps, hidden) and the last ones (1, hidden); GRUs have no cell."""

    steps: str
    hidden: str
    cell: str | None = None


Step = Callable[[str, str | None, str | None], tuple[str, str | None]]
"""(the step's share of the input's product, hidden, cell) to the next hidden and cell."""


def lstm(
    builder: GraphBuilder,
    x: str,
    weights: RecurrentWeights,
    hidden: str | None = None,
    cell: str | None = None,
    source: str = "",
) -> Unrolled:
    """c = f · c + i · g, h = o · tanh(c). A state of None is zero."""
    bias = weights.input_bias + weights.recurrent_bias
    recurrent = _Product(builder, "recurrent", weights.recurrent, np.zeros_like(bias), source)

    def step(share: str, hidden: str | None, cell: str | None) -> tuple[str, str | None]:
        if hidden is not None:
            share = of_two(builder, Op.ADD, share, recurrent(hidden), source)
        i, f, g, o = split(builder, share, 1, [weights.hidden] * 4, source)
        kept = _unary(builder, Op.LOGISTIC, i, source), _unary(builder, Op.TANH, g, source)
        new = of_two(builder, Op.MUL, *kept, source)
        if cell is not None:
            old = of_two(builder, Op.MUL, _unary(builder, Op.LOGISTIC, f, source), cell, source)
            new = of_two(builder, Op.ADD, old, new, source)
        shown = _unary(builder, Op.LOGISTIC, o, source), _unary(builder, Op.TANH, new, source)
        return of_two(builder, Op.MUL, *shown, source), new

    return _unroll(builder, _shares(builder, x, weights.input, bias, source), step, hidden, cell)


def gru(
    builder: GraphBuilder,
    x: str,
    weights: RecurrentWeights,
    hidden: str | None = None,
    source: str = "",
) -> Unrolled:
    """n = tanh(x + r · (W · h + b)), h = (1 - z) · n + z · h. A state of None is zero."""
    size = weights.hidden
    new_bias = weights.recurrent_bias.copy()
    new_bias[: 2 * size] = 0.0
    recurrent = _Product(builder, "recurrent", weights.recurrent, new_bias, source)
    without_state = builder.constant(_fresh(builder, "new_bias"), new_bias[2 * size :])

    def step(share: str, hidden: str | None, cell: str | None) -> tuple[str, str | None]:
        gates, new = split(builder, share, 1, (2 * size, size), source)
        from_state = without_state
        if hidden is not None:
            own, from_state = split(builder, recurrent(hidden), 1, (2 * size, size), source)
            gates = of_two(builder, Op.ADD, gates, own, source)
        reset, update = _gates(builder, gates, size, source)
        from_state = of_two(builder, Op.MUL, reset, from_state, source)
        new = of_two(builder, Op.ADD, new, from_state, source)
        return _blend(builder, update, new, hidden, source), None

    bias = weights.input_bias + weights.recurrent_bias - new_bias
    return _unroll(builder, _shares(builder, x, weights.input, bias, source), step, hidden, None)


class _Product:
    """A fully connected layer whose weights are added once, however often it is called."""

    def __init__(
        self, builder: GraphBuilder, what: str, weights: Array, bias: Array, source: str
    ) -> None:
        self._builder = builder
        self._source = source
        self._operands = (
            builder.constant(_fresh(builder, f"{what}.weights"), weights),
            builder.constant(_fresh(builder, f"{what}.bias"), bias),
        )

    def __call__(self, x: str) -> str:
        operands = (x, *self._operands)
        return self._builder.node(Op.FULLY_CONNECTED, operands, DenseAttrs(), self._source)


def _fresh(builder: GraphBuilder, what: str) -> str:
    """A name for a constant that several later nodes read."""
    return builder.unique(Op.FULLY_CONNECTED, f"shared.{what}")


def _shares(builder: GraphBuilder, x: str, weights: Array, bias: Array, source: str) -> list[str]:
    """What each step adds to its gates: (1, gates · hidden), for all steps in one product."""
    product = builder.fully_connected(x, weights, bias, source=source)
    steps = builder.shape(x)[1]
    return [
        drop_axis(builder, slice_axis(builder, product, 1, step, 1, source=source), 1, source)
        for step in range(steps)
    ]


def _unroll(
    builder: GraphBuilder, shares: list[str], step: Step, hidden: str | None, cell: str | None
) -> Unrolled:
    states = []
    for share in shares:
        hidden, cell = step(share, hidden, cell)
        states.append(insert_axis(builder, hidden, 1))
    assert hidden is not None
    return Unrolled(concatenate(builder, states, 1), hidden, cell)


def _gates(builder: GraphBuilder, sums: str, size: int, source: str) -> tuple[str, ...]:
    """Sigmoids of the reset and update gates, taken together."""
    return split(builder, _unary(builder, Op.LOGISTIC, sums, source), 1, (size, size), source)


def _blend(builder: GraphBuilder, update: str, new: str, hidden: str | None, source: str) -> str:
    """(1 - z) · tanh(new) + z · h, as n + z · (h - n)."""
    new = _unary(builder, Op.TANH, new, source)
    if hidden is None:
        return of_two(builder, Op.SUB, new, of_two(builder, Op.MUL, update, new, source), source)
    apart = of_two(builder, Op.SUB, hidden, new, source)
    return of_two(builder, Op.ADD, new, of_two(builder, Op.MUL, update, apart, source), source)


def _unary(builder: GraphBuilder, op: Op, x: str, source: str) -> str:
    return builder.node(op, (x,), source=source)
