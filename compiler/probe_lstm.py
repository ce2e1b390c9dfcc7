"""Probes for the int8 LSTM, which no float graph becomes: all numbers are drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .grammar_recurrent import GATES
from .graph import DType, Graph, Node, QuantParams, Value
from .ops import LstmAttrs, Op

Rng = np.random.Generator
_X = QuantParams((0.03125,), (-5,))
_OUTPUT = QuantParams((2.0**-7,), (-1,))
_WEIGHT_SCALE, _CELL_SCALE = 2.0**-8, 2.0**-12


def lstm_probes(rng: Rng, count: int) -> Iterator[Graph]:
    """`count` of them, of random sizes."""
    for _ in range(count):
        steps, features = int(rng.integers(4, 33)), int(rng.integers(4, 33))
        yield lstm_graph(rng, steps, features, int(2 ** rng.uniform(2, 6)))


def lstm_graph(rng: Rng, steps: int, features: int, units: int) -> Graph:
    """One LSTM of sequences (1, steps, features)."""
    kinds = (
        ("weights", (units, features), DType.INT8, _WEIGHT_SCALE),
        ("of_state", (units, units), DType.INT8, _WEIGHT_SCALE),
        ("bias", (units,), DType.INT32, _X.scale[0] * _WEIGHT_SCALE),
    )
    constants = [
        _constant(rng, f"{name}{gate}", shape, dtype, scale)
        for name, shape, dtype, scale in kinds
        for gate in range(GATES)
    ]
    x = Value("x", (1, steps, features), DType.INT8, _X)
    y = Value("y", (1, steps, units), DType.INT8, _OUTPUT)
    operands = tuple(value.name for value in (x, *constants))
    attrs = LstmAttrs(_CELL_SCALE, _OUTPUT.scale[0], _OUTPUT.zero_point[0])
    node = Node(Op.UNIDIRECTIONAL_SEQUENCE_LSTM, "y", operands, ("y",), attrs)
    return Graph.build(f"probe_lstm_{steps}", [x, *constants, y], [node], ("x",), ("y",))


def _constant(rng: Rng, name: str, shape: tuple[int, ...], dtype: DType, scale: float) -> Value:
    most = 127 if dtype is DType.INT8 else 1 << 15
    data = rng.integers(-most, most + 1, shape).astype(dtype.numpy)
    return Value(name, shape, dtype, QuantParams((scale,), (0,)), data)
