"""`apply`: the graph that a plan describes. Constants are rounded, activations typed, conversions
put between number formats; nothing is decided.

Values keep their names. A float node that gives what a quantized one reads writes `NAME.float`,
and so does the conversion of a quantized value that float nodes read.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .encoding import QuantizationPlan, encode
from .grammar import check
from .graph import DType, Graph, Node, Value
from .ops import Attrs, NoAttrs, Op, SvdfAttrs

_FLOAT = ".float"


def apply(graph: Graph, plan: QuantizationPlan) -> Graph:
    """The quantized form of an optimized float32 `graph`.

    Raises:
        GrammarError: the plan is not one for this graph.
    """
    writer = _Writer(graph, plan)
    for node in graph.nodes:
        writer.add(node)
    quantized = graph.replace(values=writer.values.values(), nodes=writer.nodes)
    check(quantized)
    return quantized


class _Writer:
    """The values and nodes so far."""

    def __init__(self, graph: Graph, plan: QuantizationPlan) -> None:
        self._graph = graph
        self._plan = plan
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        for name, value in graph.values.items():
            encoding = plan.encodings.get(name)
            self.values[name] = value if encoding is None else encode(value, encoding)
        for name in sorted(plan.halves):
            self._keep_in_half(name)

    def add(self, node: Node) -> None:
        """One node, with the conversions of what it reads before it and of its output after it."""
        if node.name in self._plan.floating:
            self._add_float(node)
            return
        operands = tuple(
            self._requantized(node, position, name) for position, name in enumerate(node.inputs)
        )
        self.nodes.append(dataclasses.replace(node, inputs=operands, attrs=self._attrs(node)))

    def _attrs(self, node: Node) -> Attrs:
        """The node's own, with the step of what it remembers."""
        scale = self._plan.states.get(node.name)
        if scale is None or not isinstance(node.attrs, SvdfAttrs):
            return node.attrs
        return dataclasses.replace(node.attrs, state_scale=scale)

    def _add_float(self, node: Node) -> None:
        operands = tuple(self._as_float(node, name) for name in node.inputs)
        if node.output not in self._plan.encodings:
            self.nodes.append(dataclasses.replace(node, inputs=operands))
            return
        output = self._float_of(node.output)
        self.nodes.append(dataclasses.replace(node, inputs=operands, outputs=(output,)))
        self._convert(Op.QUANTIZE, node, output, node.output)

    def _as_float(self, node: Node, name: str) -> str:
        """The float32 form of an operand, made where it is read for the first time."""
        if name not in self._plan.encodings:
            return name
        converted = name + _FLOAT
        if converted not in self.values:
            self._convert(Op.DEQUANTIZE, node, name, self._float_of(name))
        return converted

    def _requantized(self, node: Node, position: int, name: str) -> str:
        encoding = self._plan.requantized.get((node.name, position))
        if encoding is None:
            return name
        converted = f"{node.name}.operand{position}"
        self.values[converted] = encode(
            dataclasses.replace(self._graph.values[name], name=converted), encoding
        )
        self._convert(Op.QUANTIZE, node, name, converted)
        return converted

    def _float_of(self, name: str) -> str:
        """Add the float32 form of a value."""
        converted = dataclasses.replace(self._graph.values[name], name=name + _FLOAT)
        self.values[converted.name] = converted
        return converted.name

    def _convert(self, op: Op, node: Node, name: str, output: str) -> None:
        """A conversion on behalf of `node`, called after what it writes."""
        self.nodes.append(Node(op, f"{output}.{op}", (name,), (output,), NoAttrs(), node.source))

    def _keep_in_half(self, name: str) -> None:
        """The constant in float16, and a conversion that gives the value of its name."""
        value = self.values[name]
        assert value.data is not None
        half = Value(f"{name}.half", value.shape, DType.FLOAT16, data=value.data.astype(np.float16))
        self.values[half.name] = half
        self.values[name] = dataclasses.replace(value, data=None)
        self.nodes.append(
            Node(Op.DEQUANTIZE, f"{name}.{Op.DEQUANTIZE}", (half.name,), (name,), NoAttrs())
        )
