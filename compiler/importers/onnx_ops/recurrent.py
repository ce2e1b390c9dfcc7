"""LSTM, GRU and RNN of a fixed length: unrolled, step by step, one direction after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...graph import Array
from ...ops import Op
from .. import layout
from ..layout import Frame, Operand
from .common import Call, Handler, Result

_MOST_STEPS = 512
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass(frozen=True, slots=True)
class _Cell:
    """One direction: weights of the input and of the state, both biases, LSTM's peepholes."""

    size: int
    of_input: Array  # (gates · size, features)
    of_state: Array  # (gates · size, size)
    input_bias: Array
    state_bias: Array
    peepholes: tuple[Array, Array, Array] | None = None  # of the gates i, o and f

    def gate(self, index: int) -> slice:
        """Rows of one gate."""
        return slice(index * self.size, (index + 1) * self.size)


State = tuple[Operand, ...]  # the hidden state (n, size); LSTM's memory after it
Step = Callable[[Frame, _Cell, Operand, State], State]


def _lstm_step(frame: Frame, cell: _Cell, x: Operand, state: State) -> State:
    hidden, memory = state
    sums = _sum(frame, cell, x, hidden, slice(None))
    i, o, f, c = layout.split(frame, sums, 1, (cell.size,) * 4)
    i = layout.unary(frame, Op.LOGISTIC, _peek(frame, cell, 0, i, memory))
    f = layout.unary(frame, Op.LOGISTIC, _peek(frame, cell, 2, f, memory))
    new = layout.binary(frame, Op.MUL, i, layout.unary(frame, Op.TANH, c))
    if not _is_zero(memory):
        new = layout.binary(frame, Op.ADD, layout.binary(frame, Op.MUL, f, memory), new)
    o = layout.unary(frame, Op.LOGISTIC, _peek(frame, cell, 1, o, new))
    return layout.binary(frame, Op.MUL, o, layout.unary(frame, Op.TANH, new)), new


def _gru_step(frame: Frame, cell: _Cell, x: Operand, state: State) -> State:
    """The reset gate is applied to the state before its product."""
    (hidden,) = state
    z, r = _gru_gates(frame, cell, x, hidden)
    kept = layout.binary(frame, Op.MUL, r, hidden)
    return _gru_state(frame, z, hidden, _sum(frame, cell, x, kept, cell.gate(2)))


def _gru_step_reset_after(frame: Frame, cell: _Cell, x: Operand, state: State) -> State:
    """The reset gate is applied to the state's product, as cuDNN and torch have it."""
    (hidden,) = state
    z, r = _gru_gates(frame, cell, x, hidden)
    rows = cell.gate(2)
    read = layout.linear(frame, x, cell.of_input[rows], cell.input_bias[rows])
    old = layout.linear(frame, hidden, cell.of_state[rows], cell.state_bias[rows])
    sums = layout.binary(frame, Op.ADD, read, layout.binary(frame, Op.MUL, r, old))
    return _gru_state(frame, z, hidden, sums)


def _gru_gates(frame: Frame, cell: _Cell, x: Operand, hidden: Operand) -> list[Operand]:
    """Update and reset."""
    sums = _sum(frame, cell, x, hidden, slice(0, 2 * cell.size))
    return layout.split(frame, layout.unary(frame, Op.LOGISTIC, sums), 1, (cell.size,) * 2)


def _gru_state(frame: Frame, z: Operand, hidden: Operand, sums: Operand) -> State:
    """(1 - z) · new + z · hidden, as new + z · (hidden - new)."""
    new = layout.unary(frame, Op.TANH, sums)
    change = layout.binary(frame, Op.SUB, hidden, new)
    return (layout.binary(frame, Op.ADD, new, layout.binary(frame, Op.MUL, z, change)),)


def _rnn_step(frame: Frame, cell: _Cell, x: Operand, state: State) -> State:
    (hidden,) = state
    return (layout.unary(frame, Op.TANH, _sum(frame, cell, x, hidden, slice(None))),)


def _sum(frame: Frame, cell: _Cell, x: Operand, hidden: Operand, rows: slice) -> Operand:
    """What goes into gates before their activation."""
    bias = cell.input_bias[rows] + cell.state_bias[rows]
    read = layout.linear(frame, x, cell.of_input[rows], bias)
    if _is_zero(hidden):
        return read
    return layout.binary(frame, Op.ADD, read, layout.linear(frame, hidden, cell.of_state[rows]))


def _peek(frame: Frame, cell: _Cell, gate: int, sums: Operand, memory: Operand) -> Operand:
    if cell.peepholes is None or _is_zero(memory):
        return sums
    seen = layout.binary(frame, Op.MUL, memory, cell.peepholes[gate])
    return layout.binary(frame, Op.ADD, sums, seen)


def _is_zero(x: Operand) -> bool:
    return isinstance(x, np.ndarray) and not x.any()


def _lstm(call: Call) -> Result:
    if call.integer("input_forget", 0):
        raise call.unsupported("coupled gates (input_forget)")
    return _unrolled(call, _lstm_step, 4, ("Sigmoid", "Tanh", "Tanh"))


def _gru(call: Call) -> Result:
    after = call.integer("linear_before_reset", 0)
    step = _gru_step_reset_after if after else _gru_step
    return _unrolled(call, step, 3, ("Sigmoid", "Tanh"))


def _rnn(call: Call) -> Result:
    return _unrolled(call, _rnn_step, 1, ("Tanh",))


def _unrolled(call: Call, step: Step, gates: int, activations: tuple[str, ...]) -> Result:
    """All hidden states, and the last state."""
    directions = _DIRECTIONS.get(call.text("direction", "forward"))
    if directions is None or "clip" in call.node.attributes:
        raise call.unsupported("an unknown direction, or clipped gates")
    _check_activations(call, activations * len(directions))
    inputs = _inputs(call)
    frame, batch_first = call.frame, bool(call.integer("layout", 0))
    hidden: list[list[Operand]] = []
    last: list[State] = []
    for index, reverse in enumerate(directions):
        cell = _cell(call, index, gates)
        state = _initial(call, index, cell, inputs[0].shape[0], memory=gates == 4)
        states = []
        for x in reversed(inputs) if reverse else inputs:
            state = step(frame, cell, x, state)
            states.append(state[0])
        hidden.append(states[::-1] if reverse else states)
        last.append(state)
    found: list[Operand | None] = (
        [_all_states(frame, hidden, batch_first)] if call.wants(0) else [None]
    )
    for part in range(len(last[0])):
        ends = [state[part] for state in last]
        found.append(
            _stacked(frame, ends, 1 if batch_first else 0) if call.wants(part + 1) else None
        )
    return found


def _all_states(frame: Frame, hidden: list[list[Operand]], batch_first: bool) -> Operand:
    """(steps, directions, n, size), or (n, steps, directions, size)."""
    steps = [
        _stacked(frame, list(ends), 1 if batch_first else 0) for ends in zip(*hidden, strict=True)
    ]
    return _stacked(frame, steps, 1 if batch_first else 0)


def _stacked(frame: Frame, parts: list[Operand], axis: int) -> Operand:
    return layout.concat(frame, [layout.unsqueeze(frame, part, (axis,)) for part in parts], axis)


def _check_activations(call: Call, expected: tuple[str, ...]) -> None:
    named = [
        item.decode("utf-8", "replace") for item in call.node.attributes.get("activations", [])
    ]
    if named and [name.lower() for name in named] != [name.lower() for name in expected]:
        raise call.unsupported(f"activations {named}")


def _cell(call: Call, index: int, gates: int) -> _Cell:
    of_input, of_state = call.weights(1)[index], call.weights(2)[index]
    size = of_state.shape[1]
    bias, peepholes = call.floats(3, "bias"), call.floats(7, "peepholes")
    both = np.zeros(2 * gates * size, np.float32) if bias is None else bias[index]
    seen = None if peepholes is None else tuple(np.split(peepholes[index], 3))
    rows = gates * size
    return _Cell(size, of_input, of_state, both[:rows], both[rows:], seen)  # type: ignore[arg-type]


def _inputs(call: Call) -> list[Operand]:
    """Each step's input (n, features)."""
    x = call.operand()
    if call.integer("layout", 0):
        x = layout.transpose(call.frame, x, (1, 0, 2))
    length = x.shape[0]
    if length > _MOST_STEPS:
        raise call.unsupported(f"{length} steps; up to {_MOST_STEPS} are unrolled")
    lengths = call.constant(4, "sequence lengths")
    if lengths is not None and (lengths != length).any():
        raise call.unsupported("sequences of different lengths")
    steps = (layout.slice_axis(call.frame, x, 0, step, 1) for step in range(length))
    return [layout.squeeze(call.frame, step, (0,)) for step in steps]


def _initial(call: Call, index: int, cell: _Cell, samples: int, *, memory: bool) -> State:
    """The first state of a direction: zeros where it is left out."""
    axis = 1 if call.integer("layout", 0) else 0
    found: list[Operand] = []
    for position in (5, 6) if memory else (5,):
        state = call.optional(position)
        if state is None:
            found.append(np.zeros((samples, cell.size), np.float32))
        else:
            part = layout.slice_axis(call.frame, state, axis, index, 1)
            found.append(layout.squeeze(call.frame, part, (axis,)))
    return tuple(found)


RECURRENT: dict[str, Handler] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
