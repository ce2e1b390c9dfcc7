"""Unrolled networks have thousands of nodes: work grows with their number, not its square."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.graph import Graph, Node
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize

_LOOKS = 60  # at a node's output, for each node


def chain(nodes: int) -> Graph:
    """Reshapes there and back, additions of nothing, and sigmoids, in turn."""
    build = GraphBuilder("chain", (1, 4))
    x, zero = build.input, build.constant("zero", np.zeros(4))
    for _ in range(nodes // 4):
        x = build.reshape(build.reshape(x, (1, 2, 2)), (1, 4))
        x = build.node(Op.LOGISTIC, (build.add(x, zero),))
    return build.finish(x)


def test_readers_are_those_that_name_the_value_when_nodes_were_replaced() -> None:
    graph = chain(8)
    assert [node.name for node in graph.consumers(graph.nodes[0].output)] == [graph.nodes[1].name]
    assert graph.consumers("nobody") == ()
    fewer = graph.replace(nodes=graph.nodes[:1])
    assert fewer.consumers(graph.nodes[0].output) == ()


def test_looks_at_nodes_grow_with_their_number_when_a_chain_is_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    def output(self: Node) -> str:
        nonlocal looks
        looks += 1
        return self.outputs[0]

    graph = chain(1200)
    monkeypatch.setattr(Node, "output", property(output))
    assert len(optimize(graph).nodes) == 300
    assert looks <= _LOOKS * len(graph.nodes)
    looks = 0
    quantize(graph, np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32))
    assert looks <= _LOOKS * len(graph.nodes)
