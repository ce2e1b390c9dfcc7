"""A float graph and its quantized form run side by side, layer by layer, on the same samples.

Corrections change constants of the quantized graph while they walk: each layer is met with what
the layers before it, already corrected, really give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .apply import apply
from .encoding import QuantizationPlan, decode, encode
from .graph import Array, DType, Graph, Node, Value
from .int_kernels.common import params
from .interpret import kernel_of
from .quant_rules import WEIGHTED
from .reference import quantize_input

Floats = npt.NDArray[np.float32]


class Lockstep:
    """Both graphs; `start` holds the constants that the quantized one begins with."""

    def __init__(self, graph: Graph, plan: QuantizationPlan, start: Graph, x: Floats) -> None:
        self.graph = graph
        self.quantized = apply(start, plan)
        self._plan = plan
        self._exact = _Run({graph.inputs[0]: x}, graph)
        entry = quantize_input(self.quantized, x)
        self._rounded = _Run({self.quantized.inputs[0]: entry}, self.quantized)

    def layers(self) -> Iterator[Node]:
        """Weighted nodes of the quantized graph that run on integers, each before it runs."""
        twins = {node.name: node for node in self.graph.nodes}
        for node in self.quantized.nodes:
            reads = self.quantized.values[node.inputs[0]].dtype
            if node.op in WEIGHTED and reads is not DType.FLOAT32:
                yield node
            self._rounded.step(self.quantized, node)
            if node.name in twins:
                self._exact.step(self.graph, twins[node.name])

    def exact_input(self, node: Node) -> Floats:
        """What the node of this name reads in the float graph."""
        twin = next(other for other in self.graph.nodes if other.name == node.name)
        return self._exact.known[twin.inputs[0]]

    def rounded_input(self, node: Node) -> Floats:
        """What it reads in the quantized graph, as real numbers."""
        return decode(self._rounded.known[node.inputs[0]], params(self.quantized, node.inputs[0]))

    def real(self, name: str) -> Floats:
        """A constant of the quantized graph as real numbers."""
        return decode(self.quantized.constant(name), params(self.quantized, name))

    def put(self, value: Value) -> None:
        """Another float32 constant of the same name, encoded as the plan says."""
        encoded = encode(value, self._plan.encodings[value.name])
        self.quantized = self.quantized.replace(
            values={**self.quantized.values, value.name: encoded}.values()
        )


class _Run:
    """Values that are still to be read."""

    def __init__(self, known: dict[str, Array], graph: Graph) -> None:
        self.known = known
        self._readers = Counter(name for node in graph.nodes for name in node.inputs)

    def step(self, graph: Graph, node: Node) -> None:
        """Run one node, and drop what nobody reads after it."""
        operands = [
            self.known[name] if name in self.known else graph.constant(name) for name in node.inputs
        ]
        self.known[node.output] = kernel_of(graph, node)(graph, node, *operands)
        for name in node.inputs:
            self._readers[name] -= 1
            if self._readers[name] == 0:
                self.known.pop(name, None)
