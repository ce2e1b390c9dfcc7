"""LSTM, GRU and RNN of a fixed length: unrolled, step by step, one direction after the other."""

from __future__ import annotations

import dataclasses
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
    """One direction: weights and biases of the input and of the state, LSTM's peepholes."""

    size: int
    of_input: Array  # (gates · size, features)
    of_state: Array  # (gates · size, size)
    input_bias: Array
    state_bias: Array
    peepholes: tuple[Array, ...] = ()  # of the gates i, o and f

    def gate(self, index: int) -> slice:
        """Rows of one gate."""
        return slice(index * self.size, (index + 1) * self.size)

    def merged(self, rows: slice) -> _Cell:
        """Both biases of these rows in the input's."""
        input_bias, state_bias = self.input_bias.copy(), self.state_bias.copy()
        input_bias[rows] += state_bias[rows]
        state_bias[rows] = 0.0
        return dataclasses.replace(self, input_bias=input_bias, state_bias=state_bias)


State = tuple[Operand, ...]  # the hidden state (n, size); LSTM's memory after it
Step = Callable[[Frame, _Cell, Operand, State], State]
"""The next state from what the gates take of the input, (n, gates · size), and the state."""


def _lstm_step(frame: Frame, cell: _Cell, read: Operand, state: State) -> State:
    hidden, memory = state
    sums = _sum(frame, cell, read, hidden, slice(None))
    i, o, f, c = layout.split(frame, sums, 1, (cell.size,) * 4)
    i = layout.unary(frame, Op.LOGISTIC, _peek(frame, cell, 0, i, memory))
    f = layout.unary(frame, Op.LOGISTIC, _peek(frame, cell, 2, f, memory))
    new = layout.binary(frame, Op.MUL, i, layout.unary(frame, Op.TANH, c))
    if not _is_zero(memory):
        new = layout.binary(frame, Op.ADD, layout.binary(frame, Op.MUL, f, memory), new)
    o = layout.unary(frame, Op.LOGISTIC, _peek(frame, cell, 1, o, new))
    return layout.binary(frame, Op.MUL, o, layout.unary(frame, Op.TANH, new)), new


def _gru_step(frame: Frame, cell: _Cell, read: Operand, state: State) -> State:
    """The reset gate is applied to the state before its product."""
    (hidden,) = state
    gates, last = layout.split(frame, read, 1, (2 * cell.size, cell.size))
    z, r = _gru_gates(frame, cell, gates, hidden)
    kept = layout.binary(frame, Op.MUL, r, hidden)
    return _gru_state(frame, z, hidden, _sum(frame, cell, last, kept, cell.gate(2)))


def _gru_step_reset_after(frame: Frame, cell: _Cell, read: Operand, state: State) -> State:
    """The reset gate is applied to the state's product, as cuDNN and torch have it."""
    (hidden,) = state
    gates, last = layout.split(frame, read, 1, (2 * cell.size, cell.size))
    z, r = _gru_gates(frame, cell, gates, hidden)
    rows = cell.gate(2)
    old = layout.linear(frame, hidden, cell.of_state[rows], cell.state_bias[rows])
    sums = layout.binary(frame, Op.ADD, layout.binary(frame, Op.MUL, r, old), last)
    return _gru_state(frame, z, hidden, sums)


def _gru_gates(frame: Frame, cell: _Cell, read: Operand, hidden: Operand) -> list[Operand]:
    """Update and reset."""
    sums = _sum(frame, cell, read, hidden, slice(0, 2 * cell.size))
    return layout.split(frame, layout.unary(frame, Op.LOGISTIC, sums), 1, (cell.size,) * 2)


def _gru_state(frame: Frame, z: Operand, hidden: Operand, sums: Operand) -> State:
    """(1 - z) · new + z · hidden, as new + z · (hidden - new)."""
    new = layout.unary(frame, Op.TANH, sums)
    change = layout.binary(frame, Op.SUB, hidden, new)
    return (layout.binary(frame, Op.ADD, new, layout.binary(frame, Op.MUL, z, change)),)


def _rnn_step(frame: Frame, cell: _Cell, read: Operand, state: State) -> State:
    (hidden,) = state
    return (layout.unary(frame, Op.TANH, _sum(frame, cell, read, hidden, slice(None))),)


def _sum(frame: Frame, cell: _Cell, read: Operand, hidden: Operand, rows: slice) -> Operand:
    """What goes into gates before their activation."""
    if _is_zero(hidden):
        return read
    recalled = layout.linear(frame, hidden, cell.of_state[rows], cell.state_bias[rows])
    return layout.binary(frame, Op.ADD, recalled, read)


def _peek(frame: Frame, cell: _Cell, gate: int, sums: Operand, memory: Operand) -> Operand:
    if not cell.peepholes or _is_zero(memory):
        return sums
    seen = layout.binary(frame, Op.MUL, memory, cell.peepholes[gate])
    return layout.binary(frame, Op.ADD, sums, seen)


def _is_zero(x: Operand) -> bool:
    return isinstance(x, np.ndarray) and not x.any()


def _lstm(call: Call) -> Result:
    if call.integer("input_forget", 0):
        raise call.unsupported("coupled gates (input_forget)")
    return _unrolled(call, _lstm_step, 4, ("Sigmoid", "Tanh", "Tanh"), merged_gates=4)


def _gru(call: Call) -> Result:
    activations = ("Sigmoid", "Tanh")
    if call.integer("linear_before_reset", 0):
        return _unrolled(call, _gru_step_reset_after, 3, activations, merged_gates=2)
    return _unrolled(call, _gru_step, 3, activations, merged_gates=3)


def _rnn(call: Call) -> Result:
    return _unrolled(call, _rnn_step, 1, ("Tanh",), merged_gates=1)


def _unrolled(
    call: Call, step: Step, gates: int, activations: tuple[str, ...], *, merged_gates: int
) -> Result:
    """All hidden states, the last one, and LSTM's last memory."""
    directions = _DIRECTIONS.get(call.text("direction", "forward"))
    if directions is None or "clip" in call.node.attributes:
        raise call.unsupported("an unknown direction, or clipped gates")
    _check_activations(call, activations * len(directions))
    x = _steps_first(call)
    hidden: list[list[Operand]] = []
    last: list[State] = []
    for index, reverse in enumerate(directions):
        cell = _cell(call, index, gates)
        cell = cell.merged(slice(0, merged_gates * cell.size))
        state = _initial(call, index, cell, x.shape[1], memory=gates == 4)
        reads = _reads(call.frame, cell, x)
        states = []
        for read in reversed(reads) if reverse else reads:
            state = step(call.frame, cell, read, state)
            states.append(state[0])
        hidden.append(states[::-1] if reverse else states)
        last.append(state)
    return _results(call, hidden, last)


def _results(call: Call, hidden: list[list[Operand]], last: list[State]) -> Result:
    found: list[Operand | None] = [_all_states(call, hidden) if call.wants(0) else None]
    for part in range(len(last[0])):
        ends = [state[part] for state in last]
        found.append(_ends(call, ends) if call.wants(part + 1) else None)
    return found


def _all_states(call: Call, hidden: list[list[Operand]]) -> Operand:
    """(steps, directions, n, size), or (n, steps, directions, size)."""
    ordered = [state for states in zip(*hidden, strict=True) for state in states]
    rows = layout.concat(call.frame, ordered, 1)  # (n, steps · directions · size)
    samples, size = ordered[0].shape
    shape = samples, len(hidden[0]), len(hidden), size
    states = layout.reshape(call.frame, rows, shape)
    first = (0, 1, 2, 3) if call.integer("layout", 0) else (1, 2, 0, 3)
    return layout.transpose(call.frame, states, first)


def _ends(call: Call, states: list[Operand]) -> Operand:
    """(directions, n, size), or (n, directions, size)."""
    rows = layout.concat(call.frame, states, 1)
    samples, size = states[0].shape
    ends = layout.reshape(call.frame, rows, (samples, len(states), size))
    return ends if call.integer("layout", 0) else layout.transpose(call.frame, ends, (1, 0, 2))


def _check_activations(call: Call, expected: tuple[str, ...]) -> None:
    listed = call.node.attributes.get("activations", [])
    named = [item.decode("utf-8", "replace") for item in listed]
    if named and [name.lower() for name in named] != [name.lower() for name in expected]:
        raise call.unsupported(f"activations {named}")


def _cell(call: Call, index: int, gates: int) -> _Cell:
    of_input, of_state = call.weights(1)[index], call.weights(2)[index]
    size = of_state.shape[1]
    bias, peepholes = call.floats(3, "bias"), call.floats(7, "peepholes")
    both = np.zeros(2 * gates * size, np.float32) if bias is None else bias[index]
    seen = () if peepholes is None else tuple(np.split(peepholes[index], 3))
    return _Cell(size, of_input, of_state, both[: gates * size], both[gates * size :], seen)


def _steps_first(call: Call) -> Operand:
    """The input (steps, n, features)."""
    x = call.operand()
    if call.integer("layout", 0):
        x = layout.transpose(call.frame, x, (1, 0, 2))
    length = x.shape[0]
    if length > _MOST_STEPS:
        raise call.unsupported(f"{length} steps; up to {_MOST_STEPS} are unrolled")
    lengths = call.constant(4, "sequence lengths")
    if lengths is not None and (lengths != length).any():
        raise call.unsupported("sequences of different lengths")
    return x


def _reads(frame: Frame, cell: _Cell, x: Operand) -> list[Operand]:
    """What the gates take of the input at each step: one product for all of them."""
    length, samples, _ = x.shape
    reads = layout.linear(frame, x, cell.of_input, cell.input_bias)
    rows = layout.transpose(frame, reads, (1, 0, 2))
    gates = len(cell.of_input)
    flat = layout.reshape(frame, rows, (samples, length * gates))
    return layout.split(frame, flat, 1, (gates,) * length)


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
