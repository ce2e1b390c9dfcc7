"""Small int8 graphs of operators along time, all numbers drawn: files of them come out of
`emit_tflite`, since no float model becomes one."""

from __future__ import annotations

import numpy as np

from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.ops import LstmAttrs, Op, SvdfAttrs

Rng = np.random.Generator
_X = QuantParams((0.03125,), (-5,))
_GATES = 4


def svdf_graph(rng: Rng, features: int, units: int, rank: int, memory: int) -> Graph:
    """One SVDF of int8 frames (1, features)."""
    filters, state, in_time = units * rank, 2.0**-9, 2.0**-15
    values = [
        Value("x", (1, features), DType.INT8, _X),
        _constant(rng, "weights", (filters, features), DType.INT8, 2.0**-6),
        _constant(rng, "in_time", (filters, memory), DType.INT16, in_time),
        _constant(rng, "bias", (units,), DType.INT32, state * in_time),
        Value("y", (1, units), DType.INT8, QuantParams((0.125,), (3,))),
    ]
    return _graph(Op.SVDF, values, SvdfAttrs(rank, state_scale=state))


def lstm_graph(rng: Rng, steps: int, features: int, units: int) -> Graph:
    """One LSTM of int8 sequences (1, steps, features)."""
    scale = 2.0**-8
    shapes = ("weights", (units, features)), ("of_state", (units, units))
    output = QuantParams((2.0**-7,), (-1,))
    values = [
        Value("x", (1, steps, features), DType.INT8, _X),
        *(
            _constant(rng, f"{name}{gate}", shape, DType.INT8, scale)
            for name, shape in shapes
            for gate in range(_GATES)
        ),
        *(
            _constant(rng, f"bias{gate}", (units,), DType.INT32, _X.scale[0] * scale)
            for gate in range(_GATES)
        ),
        Value("y", (1, steps, units), DType.INT8, output),
    ]
    attrs = LstmAttrs(2.0**-12, output.scale[0], output.zero_point[0])
    return _graph(Op.UNIDIRECTIONAL_SEQUENCE_LSTM, values, attrs)


def _graph(op: Op, values: list[Value], attrs: SvdfAttrs | LstmAttrs) -> Graph:
    operands = tuple(value.name for value in values[:-1])
    return Graph.build(op.value, values, [Node(op, "y", operands, ("y",), attrs)], ("x",), ("y",))


def _constant(rng: Rng, name: str, shape: tuple[int, ...], dtype: DType, scale: float) -> Value:
    most = {DType.INT8: 127, DType.INT16: 32767, DType.INT32: 1 << 15}[dtype]
    data: Array = rng.integers(-most, most + 1, shape).astype(dtype.numpy)
    return Value(name, shape, dtype, QuantParams((scale,), (0,)), data)
