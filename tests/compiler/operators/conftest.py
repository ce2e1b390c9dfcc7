"""Graphs of a few drawn operators, and the check that all readers of one agree about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Attrs, NoAttrs, Op
from edgekiln.compiler.quant_rules import FIXED_OUTPUTS, RULES, QuantRule
from edgekiln.compiler.shapes import Shape, output_shape

Check = Callable[..., dict[str, Array]]


class Draft:
    """A graph with one input; names, constants and encodings are drawn from a seed."""

    def __init__(self, dtype: DType, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        self._values: dict[str, Value] = {}
        self._nodes: list[Node] = []

    def input(self, shape: Shape, quant: QuantParams | None = None) -> str:
        """The input; its range is 0.03 to 30."""
        return self._add("x", shape, quant or self.encoding(10 ** self.rng.uniform(-1.5, 1.5)))

    def constant(self, shape: Shape, quant: QuantParams | None = None) -> str:
        """Any codes, or normal floats."""
        name = f"c{len(self._values)}"
        return self._add(
            name, shape, quant or self.encoding(10 ** self.rng.uniform(-1, 1)), self.codes(shape)
        )

    def node(
        self,
        op: Op,
        operands: tuple[str, ...],
        attrs: Attrs | None = None,
        *,
        largest: float = 1.0,
        dtype: DType | None = None,
    ) -> str:
        """One operator. Where the output's encoding is free its range is about `largest`."""
        attrs = NoAttrs() if attrs is None else attrs
        values = [self._values[name] for name in operands]
        shape = output_shape(op, attrs, tuple(value.shape for value in values))
        name = f"y{len(self._values)}"
        kind = dtype or self.dtype
        self._values[name] = Value(name, shape, kind, self._output_quant(op, values, kind, largest))
        self._nodes.append(Node(op, name, operands, (name,), attrs))
        return name

    def graph(self) -> Graph:
        """All nodes; the last one's value is the output."""
        outputs = (self._nodes[-1].output,)
        graph = Graph.build("drawn", self._values.values(), self._nodes, ("x",), outputs)
        check(graph)
        return graph

    def encoding(self, largest: float) -> QuantParams | None:
        """An encoding in which codes reach about `largest`; None for floats."""
        if self.dtype is DType.FLOAT32:
            return None
        steps = 127 if self.dtype is DType.INT8 else 32767
        zero_point = int(self.rng.integers(-128, 128)) if self.dtype is DType.INT8 else 0
        return QuantParams((float(np.float32(largest / steps)),), (zero_point,))

    def codes(self, shape: Shape) -> Array:
        """Every code of the dtype, its ends among them, or normal floats."""
        if self.dtype is DType.FLOAT32:
            return self.rng.normal(0.2, 2.0, shape).astype(np.float32)
        limits = np.iinfo(self.dtype.numpy)
        drawn = self.rng.integers(limits.min, limits.max + 1, shape).astype(self.dtype.numpy)
        drawn.reshape(-1)[: 2 * (drawn.size > 2)] = [limits.min, limits.max][: 2 * (drawn.size > 2)]
        return drawn

    def reach(self, name: str) -> float:
        """The range of a value's codes on one side of zero."""
        quant = self._values[name].quant
        steps = 127 if self.dtype is DType.INT8 else 32767
        return 1.0 if quant is None else quant.scale[0] * steps

    def quant(self, name: str) -> QuantParams | None:
        """The encoding of a value."""
        return self._values[name].quant

    def _add(
        self, name: str, shape: Shape, quant: QuantParams | None, data: Array | None = None
    ) -> str:
        self._values[name] = Value(name, shape, self.dtype, quant, data)
        return name

    def _output_quant(
        self, op: Op, operands: list[Value], dtype: DType, largest: float
    ) -> QuantParams | None:
        if dtype not in (DType.INT8, DType.INT16):
            return None
        rule = RULES[op]
        if rule is QuantRule.FIXED:
            return FIXED_OUTPUTS[op, dtype]
        if rule in (QuantRule.KEEPS, QuantRule.SHARED):
            return operands[0].quant
        return self.encoding(largest * 2 ** self.rng.uniform(-1.5, 1.0))


@pytest.fixture
def draft() -> Callable[[DType, int], Draft]:
    """(dtype, seed) -> an empty draft of a graph."""
    return Draft


@pytest.fixture(scope="session")
def run_reference() -> Callable[[bytes, Array], dict[str, Array]]:
    """(file, batch) -> every tensor by name, by LiteRT's reference kernels."""
    return _run_reference


@pytest.fixture
def agree() -> Check:
    """(graph, x, tolerance) -> our values, once LiteRT and the re-imported file have the same.

    Integers must be equal; floats may differ by `tolerance` of the largest number.
    """

    def checked(graph: Graph, x: Array, tolerance: float = 1e-6) -> dict[str, Array]:
        ours = run_all(graph, {"x": x})
        model = emit_tflite(graph)
        _compare(ours, _run_reference(model, x), tolerance)
        again = import_tflite(model, graph.name)
        _compare(ours, run_all(again, {again.inputs[0]: x}), 0.0)
        return ours

    return checked


def _compare(ours: Mapping[str, Array], theirs: Mapping[str, Array], tolerance: float) -> None:
    for name, data in ours.items():
        other = theirs[name]
        assert (data.dtype, data.shape) == (other.dtype, other.shape), name
        if data.dtype.kind == "f":
            limit = tolerance * max(1.0, float(np.abs(other).max()))
            assert np.abs(data - other).max() <= limit, name
        else:
            np.testing.assert_array_equal(data, other, err_msg=name)


def _run_reference(model: bytes, x: Array) -> dict[str, Array]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    position = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(position, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(position, x)
    interpreter.invoke()
    details = [detail for detail in interpreter.get_tensor_details() if detail["name"]]
    return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in details}
