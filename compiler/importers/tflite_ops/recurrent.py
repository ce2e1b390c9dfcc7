"""LSTM over a sequence: in float32 unrolled, a few nodes for each step, weights shared.

Hochreiter and Schmidhuber, 1997, with what LiteRT's kernel knows beside: a coupled input gate,
peepholes, clipping and a projection. Every sample begins with a state of zeros; LiteRT's own state
lives on from one invocation to the next until it is reset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import ImportModelError
from ...graph import Array, DType, Value
from ...ops import Attrs, AxisAttrs, BinaryAttrs, DenseAttrs, NoAttrs, Op, SliceAttrs
from ..tflite import TfliteReader, as_floats
from ..tflite_file import OperatorRecord
from .common import Handler, intermediate, options
from .integer_lstm import integer_lstm

_MOST_STEPS = 1024  # a few nodes each; longer sequences make unreasonable graphs
_ACTIVATIONS = {1: Op.RELU, 3: Op.RELU6, 4: Op.TANH}
_PROJECTION, _PROJECTION_BIAS = 16, 17
_NORMS = range(20, 24)
_PLAIN = NoAttrs()


@dataclass(frozen=True, slots=True)
class Gate:
    """Where a gate's constants are among the operator's operands."""

    input: int
    recurrent: int
    bias: int
    peephole: int | None


_INPUT, _FORGET, _CELL, _OUTPUT = (
    Gate(1, 5, 12, 9),
    Gate(2, 6, 13, 10),
    Gate(3, 7, 14, None),
    Gate(4, 8, 15, 11),
)


class _Unrolling:
    """One operator's constants, and its nodes step by step."""

    def __init__(self, reader: TfliteReader, operator: OperatorRecord) -> None:
        self._reader, self._operator = reader, operator
        self._options = options(reader, operator, "CellClip")
        self._coupled = not reader.has_operand(operator, _INPUT.input)
        gates = (_FORGET, _CELL, _OUTPUT) if self._coupled else (_INPUT, _FORGET, _CELL, _OUTPUT)
        self._gates = gates
        self._cells = len(self._floats(_OUTPUT.input))
        self._weights = self._stacked([gate.input for gate in gates], "weights")
        self._bias = self._stacked([gate.bias for gate in gates], "bias")
        self._recurrent = self._stacked([gate.recurrent for gate in gates], "recurrent")
        self._none = self._constant("none", np.zeros(len(gates) * self._cells, np.float32))
        self._peepholes = {
            gate: self._constant("peephole", self._floats(gate.peephole))
            for gate in gates
            if gate.peephole is not None and reader.has_operand(operator, gate.peephole)
        }
        self._ones = self._constant("one", np.ones(self._cells, np.float32))
        self._cell_bounds = self._bounds(self._options.CellClip())
        self._project = self._projection()

    def run(self, x: str, steps: int) -> list[str]:
        """The state (1, 1, outputs) after every step of x (1, steps, features)."""
        shares = self._node(Op.FULLY_CONNECTED, (x, self._weights, self._bias), DenseAttrs())
        hidden: str | None = None
        cell: str | None = None
        states = []
        for step in range(steps):
            hidden, cell = self._step(self._step_of(shares, step), hidden, cell)
            size = self._reader.known(hidden).shape[1]
            states.append(self._reader.reshaped(self._operator, hidden, (1, 1, size)))
        return states

    def _step(self, share: str, hidden: str | None, cell: str | None) -> tuple[str, str]:
        if hidden is not None:
            operands = (hidden, self._recurrent, self._none)
            share = self._two(Op.ADD, share, self._node(Op.FULLY_CONNECTED, operands, DenseAttrs()))
        parts = {gate: self._slice(share, place) for place, gate in enumerate(self._gates)}
        forget = self._open(_FORGET, parts, cell)
        if self._coupled:
            kept = self._two(Op.SUB, self._ones, forget)
        else:
            kept = self._open(_INPUT, parts, cell)
        new = self._two(Op.MUL, kept, self._activated(parts[_CELL]))
        if cell is not None:
            new = self._two(Op.ADD, self._two(Op.MUL, forget, cell), new)
        new = self._clipped(new, self._cell_bounds)
        shown = self._open(_OUTPUT, parts, new)
        return self._project(self._two(Op.MUL, shown, self._activated(new))), new

    def _open(self, gate: Gate, parts: dict[Gate, str], cell: str | None) -> str:
        """How far a gate is open, with a look at the cell through its peephole."""
        x = parts[gate]
        if cell is not None and gate in self._peepholes:
            x = self._two(Op.ADD, x, self._two(Op.MUL, cell, self._peepholes[gate]))
        return self._node(Op.LOGISTIC, (x,))

    def _activated(self, x: str) -> str:
        code = self._options.FusedActivationFunction()
        if code == 0:
            return x
        if code not in _ACTIVATIONS:
            raise self._reader.unsupported(self._operator, f"the activation of code {code}")
        return self._node(_ACTIVATIONS[code], (x,))

    def _bounds(self, limit: float) -> tuple[str, str] | None:
        if limit <= 0.0:
            return None
        low, high = (np.array([bound], np.float32) for bound in (-limit, limit))
        return self._constant("low", low), self._constant("high", high)

    def _clipped(self, x: str, bounds: tuple[str, str] | None) -> str:
        if bounds is None:
            return x
        return self._node(Op.MAXIMUM, (self._node(Op.MINIMUM, (x, bounds[1])), bounds[0]))

    def _projection(self) -> Callable[[str], str]:
        """From what the cell shows to the state: the same, or a product of it."""
        if not self._reader.has_operand(self._operator, _PROJECTION):
            return lambda x: x
        weights = self._floats(_PROJECTION)
        bias = np.zeros(len(weights), np.float32)
        if self._reader.has_operand(self._operator, _PROJECTION_BIAS):
            bias = self._floats(_PROJECTION_BIAS)
        names = self._constant("projection", weights), self._constant("projection.bias", bias)
        bounds = self._bounds(self._options.ProjClip())

        def project(x: str) -> str:
            product = self._node(Op.FULLY_CONNECTED, (x, *names), DenseAttrs())
            return self._clipped(product, bounds)

        return project

    def _step_of(self, shares: str, step: int) -> str:
        _, _, size = self._reader.known(shares).shape
        attrs = SliceAttrs((0, step, 0), (1, 1, size), (1, 1, 1))
        return self._reader.reshaped(
            self._operator, self._node(Op.SLICE, (shares,), attrs), (1, size)
        )

    def _slice(self, x: str, place: int) -> str:
        attrs = SliceAttrs((0, place * self._cells), (1, self._cells), (1, 1))
        return self._node(Op.SLICE, (x,), attrs)

    def _two(self, op: Op, a: str, b: str) -> str:
        return self._node(op, (a, b), BinaryAttrs())

    def _node(self, op: Op, inputs: tuple[str, ...], attrs: Attrs = _PLAIN) -> str:
        return intermediate(self._reader, self._operator, op, inputs, attrs)

    def _stacked(self, positions: list[int], what: str) -> str:
        return self._constant(what, np.concatenate([self._floats(place) for place in positions]))

    def _floats(self, position: int) -> Array:
        stored = self._reader.constant(self._operator, position)
        floats = stored.dtype == np.float32
        data = stored if floats else as_floats(self._reader.operand(self._operator, position))
        if data is None or not np.isfinite(data).all():
            raise ImportModelError(
                f"{self._reader.place(self._operator)} has weights that are no finite numbers"
            )
        return data

    def _constant(self, what: str, data: Array) -> str:
        name = f"{self._reader.output(self._operator).name}.{what}"
        return self._reader.add_value(Value(name, data.shape, DType.FLOAT32, data=data))


def _lstm(reader: TfliteReader, operator: OperatorRecord) -> None:
    chosen = options(reader, operator, "TimeMajor")
    x = reader.value(reader.operand(operator, 0))
    value = reader.known(x)
    if chosen.TimeMajor() or len(value.shape) != 3:
        raise reader.unsupported(operator, "its input is not (1, steps, features)")
    if any(reader.has_operand(operator, position) for position in _NORMS):
        raise reader.unsupported(operator, "it normalizes its gates")
    if value.shape[1] == 1:
        reader.notes.append(
            f"import: {reader.place(operator)} takes one step at a time; here every sample begins "
            "with nothing, while LiteRT keeps what it knows until it is reset"
        )
    if value.dtype is not DType.FLOAT32:
        integer_lstm(reader, operator, x)
        return
    if value.shape[1] > _MOST_STEPS:
        raise reader.unsupported(operator, f"{value.shape[1]} steps, at most {_MOST_STEPS} are")
    states = _Unrolling(reader, operator).run(x, value.shape[1])
    output = reader.value(reader.output(operator))
    reader.append(Op.CONCATENATION, operator, tuple(states), output, AxisAttrs(1))


RECURRENT: dict[str, Handler] = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
