"""Handlers of LSTM and GRU: layers and directions, each unrolled over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...compose import concatenate, flip
from ...compose_recurrent import RecurrentWeights, Unrolled, gru, lstm
from ...graph import Array
from ..layout import Frame, NoWordError, Operand, Tensor, concat, slice_axis
from .call import Call, Handler, operand

_OF_LSTM = 4  # weights of input and state, and their biases
_STEPS = 1  # the axis of a value (1, steps, features)


@dataclass(frozen=True, slots=True)
class _Stack:
    """All layers of one operator: weights and first states by layer, then direction."""

    frame: Frame
    weights: Sequence[RecurrentWeights]
    states: Sequence[Operand]  # (layers · directions, n, hidden) each: hidden, and cell of an LSTM

    def run(self, value: str, index: int, *, backwards: bool) -> Unrolled:
        """One direction of one layer over (1, steps, features)."""
        build, source = self.frame.build, self.frame.source
        x = flip(build, value, _STEPS, source) if backwards else value
        first = [self._state(place, index) for place in range(len(self.states))]
        weights = self.weights[index]
        if len(first) == 2:
            result = lstm(build, x, weights, first[0], first[1], source)
        else:
            result = gru(build, x, weights, first[0], source)
        if not backwards:
            return result
        return Unrolled(flip(build, result.steps, _STEPS, source), result.hidden, result.cell)

    def _state(self, place: int, index: int) -> str | None:
        """A first state as (1, hidden); None where it is zero."""
        state = self.states[place]
        if isinstance(state, Tensor):
            own = slice_axis(self.frame, state, 0, index, 1)
            assert isinstance(own, Tensor)
            return self.frame.arrange(own, [(2,)])
        rows = state[index]
        if not rows.any():
            return None
        if (rows != rows[0]).any():
            raise NoWordError("first states that differ from sample to sample")
        name = f"{self.frame.source}.state{place}.{index}"
        return self.frame.build.constant(name, rows[:1])


def _lstm(call: Call) -> list[Operand | None]:
    hidden, cell = call["hx"]
    return _layers(call, [operand(hidden), operand(cell)])


def _gru(call: Call) -> list[Operand | None]:
    return _layers(call, [operand(call["hx"])])


def _layers(call: Call, states: Sequence[Operand]) -> list[Operand | None]:
    """[states of all steps, last hidden states, last cells]; (layers · directions, n, hidden)."""
    x = call.tensor("input")
    steps, samples = (1, 0) if call["batch_first"] else (0, 1)
    if x.rank != 3 or (x.shape[samples] != 1 and x.axes[samples] != (0,)):
        raise NoWordError(
            f"a recurrent layer over {x.shape}; samples come first (batch_first=True), or are one"
        )
    stack = _Stack(call.frame, _weights(call), states)
    value = call.frame.arrange(x, [(steps,), (2,)])
    directions = 2 if call["bidirectional"] else 1
    last: list[Unrolled] = []
    for layer in range(int(call["num_layers"])):
        ends = [
            stack.run(value, layer * directions + way, backwards=way == 1)
            for way in range(directions)
        ]
        last += ends
        value = concatenate(call.frame.build, [end.steps for end in ends], 2, call.frame.source)
    counted = (0,) if x.axes[samples] == (0,) else ()
    axes = ((1,), counted) if steps == 0 else (counted, (1,))
    sequence = Tensor(value, call.shape, (*axes, (2,)))
    kept: list[Callable[[Unrolled], str | None]] = [lambda end: end.hidden, lambda end: end.cell]
    return [
        sequence,
        *(_last(call, x, [pick(end) for end in last]) for pick in kept[: len(states)]),
    ]


def _last(call: Call, x: Tensor, values: Sequence[str | None]) -> Operand | None:
    """Last states of all layers; None where several samples would stand behind the layers."""
    if call.shapes[1][1] != 1:
        return None
    hidden = call.shapes[1][2]
    parts = [Tensor(value, (1, 1, hidden), ((), (), (1,))) for value in values if value]
    return concat(call.frame, parts, 0)


def _weights(call: Call) -> list[RecurrentWeights]:
    arrays = call["params"]
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise NoWordError(f"'{call.target}' with computed weights")
    each = _OF_LSTM if call["has_biases"] else 2
    count = int(call["num_layers"]) * (2 if call["bidirectional"] else 1)
    if len(arrays) != each * count:
        raise NoWordError("a recurrent layer with projections")
    return [_of_layer(arrays[start : start + each]) for start in range(0, len(arrays), each)]


def _of_layer(arrays: Sequence[Array]) -> RecurrentWeights:
    zeros = np.zeros(len(arrays[0]), np.float32)
    biases = arrays[2:] if len(arrays) == _OF_LSTM else (zeros, zeros)
    return RecurrentWeights(arrays[0], arrays[1], *biases)


RECURRENT: dict[str, Handler] = {
    "aten.lstm.input": _lstm,
    "aten.gru.input": _gru,
}
