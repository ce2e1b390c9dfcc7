"""The arena: buffers that live together never share a byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.graph import DType, Graph, Node, Value
from edgekiln.compiler.ops import BinaryAttrs, NoAttrs, Op
from edgekiln.compiler.plan import ALIGNMENT, lifetimes, plan_arena, storage_roots


def _value(name: str, elements: int, dtype: DType = DType.INT8) -> Value:
    return Value(name, (1, elements), dtype)


def _unary(name: str, source: str, output: str, op: Op = Op.MEAN) -> Node:
    return Node(op, name, (source,), (output,), NoAttrs())


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any order of reads over any sizes: the planner looks at nothing else."""
    sizes = draw(st.lists(st.integers(1, 300), min_size=1, max_size=12))
    values = [_value(f"v{i}", size) for i, size in enumerate(sizes)]
    nodes = []
    for i in range(1, len(values)):
        reads = draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=2))
        op = draw(st.sampled_from((Op.ADD, Op.RESHAPE))) if len(reads) == 1 else Op.ADD
        if op is Op.RESHAPE:
            values[i] = _value(f"v{i}", values[reads[0]].elements)
        nodes.append(Node(op, f"n{i}", tuple(f"v{r}" for r in reads), (f"v{i}",), BinaryAttrs()))
    output = draw(st.integers(0, len(values) - 1))
    return Graph.build("any", values, nodes, ("v0",), (f"v{output}",))


@given(graphs())
def test_live_buffers_share_no_byte_when_graph_is_any(graph: Graph) -> None:
    plan = plan_arena(graph)
    buffers = lifetimes(graph, storage_roots(graph))
    for i, a in enumerate(buffers):
        assert plan.offsets[a.name] % ALIGNMENT == 0
        assert plan.offsets[a.name] + a.nbytes <= plan.arena_bytes
        for b in buffers[i + 1 :]:
            apart = (
                plan.offsets[a.name] + a.nbytes <= plan.offsets[b.name]
                or plan.offsets[b.name] + b.nbytes <= plan.offsets[a.name]
            )
            assert apart or not a.meets(b)


@given(graphs())
def test_arena_lies_between_bound_and_sum_when_graph_is_any(graph: Graph) -> None:
    plan = plan_arena(graph)
    total = sum(buffer.nbytes for buffer in lifetimes(graph, storage_roots(graph)))
    assert plan.lower_bound_bytes <= plan.arena_bytes <= total


@given(graphs())
def test_values_survive_when_graph_is_executed_in_arena(graph: Graph) -> None:
    """An oracle without lifetimes: run symbolically, and see that nobody reads another's bytes."""
    plan = plan_arena(graph)
    roots = storage_roots(graph)
    owner: dict[int, str] = {}

    def write(name: str) -> None:
        start = plan.offsets[name]
        for byte in range(start, start + graph.values[name].nbytes):
            owner[byte] = roots[name]

    def holds(name: str) -> bool:
        start = plan.offsets[name]
        span = range(start, start + graph.values[name].nbytes)
        return all(owner[byte] == roots[name] for byte in span)

    write("v0")
    for node in graph.nodes:
        if node.op is not Op.RESHAPE:
            write(node.output)
        assert all(holds(name) for name in node.inputs)
    assert holds(graph.outputs[0])


def test_arena_is_two_largest_neighbours_when_graph_is_chain() -> None:
    values = [_value("a", 64), _value("b", 128), _value("c", 32), _value("d", 16)]
    nodes = [_unary("1", "a", "b"), _unary("2", "b", "c"), _unary("3", "c", "d")]
    plan = plan_arena(Graph.build("chain", values, nodes, ("a",), ("d",)))
    assert plan.arena_bytes == plan.lower_bound_bytes == 192


def test_reshape_shares_its_source_when_planned() -> None:
    values = [_value("a", 64), _value("b", 64), _value("c", 16)]
    nodes = [_unary("1", "a", "b", Op.RESHAPE), _unary("2", "b", "c")]
    plan = plan_arena(Graph.build("flat", values, nodes, ("a",), ("c",)))
    assert plan.offsets["a"] == plan.offsets["b"]
    assert plan.arena_bytes == 80


def test_float_graph_plans_as_int8_when_element_bytes_is_one() -> None:
    def graph(dtype: DType) -> Graph:
        values = [_value("a", 64, dtype), _value("b", 48, dtype)]
        return Graph.build("g", values, [_unary("1", "a", "b")], ("a",), ("b",))

    as_int8 = plan_arena(graph(DType.FLOAT32), element_bytes=1)
    assert as_int8 == plan_arena(graph(DType.INT8))
    assert plan_arena(graph(DType.FLOAT32)).arena_bytes == 4 * as_int8.arena_bytes
