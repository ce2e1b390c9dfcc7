"""Passes keep the function of a graph and leave only operators that emitters know."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.grammar import UNFUSED, check
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import (
    NO_PADDING,
    Activation,
    BinaryAttrs,
    ConvAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
)
from edgekiln.compiler.passes import lower_padding, optimize
from edgekiln.compiler.shapes import same_padding

SAME = ((1, 1), (1, 1))
RNG = np.random.default_rng(0)
Make = Callable[[GraphBuilder], str]


def weights(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(0, 1, shape)


def conv(build: GraphBuilder, x: str, out: int = 4) -> str:
    return build.conv2d(x, weights(out, 3, 3, build.shape(x)[3]), weights(out), padding=SAME)


def norm(build: GraphBuilder, x: str) -> str:
    channels = build.shape(x)[-1]
    return build.batch_norm(x, weights(channels), weights(channels))


def _read_twice(build: GraphBuilder) -> str:
    x = conv(build, build.input)
    return build.add(build.relu(x), norm(build, x))


def _norm_chain(build: GraphBuilder) -> str:
    return norm(build, norm(build, conv(build, build.input)))


def _norm_on_features(build: GraphBuilder) -> str:
    return build.relu6(norm(build, build.mean(build.input)))


def _relu_after_pool(build: GraphBuilder) -> str:
    x = build.max_pool2d(build.pad(conv(build, build.input), SAME), (2, 2), (2, 2))
    return build.relu6(build.reshape(x, (1, build.shape(x)[1] * build.shape(x)[2] * 4)))


def _relus(build: GraphBuilder) -> str:
    return build.relu(build.relu6(build.relu(conv(build, build.input))))


def _pads(build: GraphBuilder) -> str:
    x = build.pad(build.pad(build.input, ((1, 0), (0, 0))), ((0, 0), (2, 1)))
    return build.conv2d(x, weights(2, 3, 3, 3), padding=SAME)


def _identities(build: GraphBuilder) -> str:
    x = build.pad(build.input, ((0, 0), (0, 0)))
    x = build.max_pool2d(x, (1, 1), (1, 1))
    x = build.reshape(build.reshape(x, (1, 105)), (1, 7, 5, 3))
    conv(build, x)  # nobody reads it
    return build.reshape(build.reshape(x, (1, 5, 21)), (1, 105))


CASES: dict[str, tuple[Make, list[Op]]] = {
    "read_twice": (
        _read_twice,
        [Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.DEPTHWISE_CONV_2D, Op.ADD],
    ),
    "norm_chain": (_norm_chain, [Op.CONV_2D]),
    "norm_on_features": (_norm_on_features, [Op.MEAN, Op.FULLY_CONNECTED]),
    "relu_after_pool": (_relu_after_pool, [Op.CONV_2D, Op.PAD, Op.MAX_POOL_2D, Op.RESHAPE]),
    "relus": (_relus, [Op.CONV_2D]),
    "pads": (_pads, [Op.CONV_2D]),
    "identities": (_identities, [Op.RESHAPE]),
}


def make(name: str) -> Graph:
    build = GraphBuilder(name, (1, 7, 5, 3))
    return build.finish(CASES[name][0](build))


@pytest.mark.parametrize("name", CASES)
def test_optimize_keeps_the_function_when_nodes_are_fused(
    name: str, draw_samples: Callable[..., Array]
) -> None:
    graph = make(name)
    optimized = optimize(graph)
    x = draw_samples(graph, 5)
    expected = run_float(graph, x)
    assert [node.op for node in optimized.nodes] == CASES[name][1]
    assert np.abs(run_float(optimized, x) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_optimize_changes_nothing_when_run_again(name: str) -> None:
    once = optimize(make(name))
    assert optimize(once).nodes == once.nodes


@pytest.mark.parametrize("seed", range(40))
def test_optimized_graphs_hold_no_unfused_operator_when_random(
    seed: int, random_graph: Callable[[int], Graph]
) -> None:
    assert not {node.op for node in random_graph(seed).nodes} & UNFUSED


def test_optimize_leaves_no_constant_unread_when_norms_are_folded() -> None:
    graph = optimize(make("norm_chain"))
    read = {name for node in graph.nodes for name in node.inputs}
    assert {name for name, value in graph.values.items() if value.data is not None} <= read


@pytest.mark.parametrize(
    ("size", "stride", "padding", "pads"),
    [
        (8, 1, SAME, 0),  # SAME
        (7, 2, SAME, 0),  # TensorFlow pads an odd size on both sides too
        (8, 2, SAME, 1),  # it pads an even size only after
        (8, 2, ((0, 1), (0, 1)), 0),
        (8, 1, ((2, 2), (2, 2)), 1),
        (8, 1, ((0, 0), (0, 0)), 0),
    ],
)
def test_lower_padding_adds_a_pad_only_when_same_would_pad_otherwise(
    size: int,
    stride: int,
    padding: tuple[tuple[int, int], tuple[int, int]],
    pads: int,
    draw_samples: Callable[..., Array],
) -> None:
    build = GraphBuilder("pad", (1, size, size, 2))
    x = build.conv2d(build.input, weights(3, 3, 3, 2), stride=(stride, stride), padding=padding)
    graph = build.finish(x)
    lowered = lower_padding(graph)
    check(lowered)
    assert sum(node.op is Op.PAD for node in lowered.nodes) == pads
    batch = draw_samples(graph, 2)
    np.testing.assert_array_equal(run_float(lowered, batch), run_float(graph, batch))


def test_lower_padding_pads_a_max_pool_first_when_same_would_pad_otherwise(
    draw_samples: Callable[..., Array],
) -> None:
    build = GraphBuilder("stem", (1, 8, 8, 3))
    x = build.conv2d(build.input, weights(4, 3, 3, 3), activation=Activation.RELU, padding=SAME)
    graph = build.finish(build.max_pool2d(x, (3, 3), (2, 2), SAME))
    lowered = lower_padding(graph)
    assert [node.op for node in lowered.nodes] == [Op.CONV_2D, Op.PAD, Op.MAX_POOL_2D]
    batch = draw_samples(graph, 2)
    np.testing.assert_array_equal(run_float(lowered, batch), run_float(graph, batch))


@pytest.mark.parametrize("seed", range(6))
def test_lower_padding_keeps_every_number_when_a_pool_is_padded_otherwise(
    seed: int, draw_samples: Callable[..., Array]
) -> None:
    rng = np.random.default_rng(seed)
    kernel = tuple(int(n) for n in rng.integers(2, 5, 2))
    stride = tuple(int(n) for n in rng.integers(1, 4, 2))
    padding = tuple(tuple(int(n) for n in rng.integers(0, side, 2)) for side in kernel)
    for op in (Op.AVERAGE_POOL_2D, Op.MAX_POOL_2D):
        build = GraphBuilder("pool", (1, 8, 7, 3))
        attrs = PoolAttrs(kernel, stride, padding)  # type: ignore[arg-type]
        graph = build.finish(build.node(op, (build.input,), attrs))
        lowered = lower_padding(graph)
        check(lowered)
        same = same_padding((8, 7), attrs.kernel, stride)  # type: ignore[arg-type]
        pools = [node.attrs for node in lowered.nodes if isinstance(node.attrs, PoolAttrs)]
        assert all(pool.padding in (NO_PADDING, same) for pool in pools)
        batch = draw_samples(graph, 2, seed) - 2
        np.testing.assert_allclose(run_float(lowered, batch), run_float(graph, batch), rtol=1e-6)


LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(
    ("fill", "amount", "fused"),
    [(LOWEST, 1, True), (0.0, 1, False), (LOWEST, 3, False)],  # 3: windows of padding alone
)
def test_fuse_padding_takes_a_pad_into_a_max_pool_when_it_holds_the_lowest_number(
    fill: float, amount: int, fused: bool, draw_samples: Callable[..., Array]
) -> None:
    build = GraphBuilder("stem", (1, 8, 8, 3))
    attrs = PadAttrs(((0, 0), (amount, 1), (1, amount), (0, 0)), fill)
    padded = build.node(Op.PAD, (build.input,), attrs)
    graph = build.finish(build.max_pool2d(padded, (3, 3), (2, 2)))
    again = optimize(graph)
    expected = [Op.MAX_POOL_2D] if fused else [Op.PAD, Op.MAX_POOL_2D]
    assert [node.op for node in again.nodes] == expected
    batch = draw_samples(graph, 2)
    np.testing.assert_array_equal(run_float(again, batch), run_float(graph, batch))


def test_fuse_padding_keeps_the_pad_when_something_else_reads_it() -> None:
    build = GraphBuilder("shared", (1, 6, 6, 2))
    padded = build.pad(build.input, SAME)
    x = build.conv2d(padded, weights(2, 1, 1, 2))
    graph = optimize(build.finish(build.add(padded, x)))
    assert graph.nodes[0].op is Op.PAD
    attrs = graph.nodes[1].attrs
    assert isinstance(attrs, ConvAttrs)
    assert attrs.padding == ((0, 0), (0, 0))


@pytest.mark.parametrize("op", [Op.ADD, Op.SUB, Op.MUL, Op.DIV])
def test_optimize_drops_arithmetic_when_it_changes_nothing(op: Op) -> None:
    build = GraphBuilder("nothing", (1, 5, 4))
    neutral = np.full(4, op in (Op.MUL, Op.DIV), np.float32)
    x = build.relu(build.input)
    x = build.node(op, (x, build.constant("right", neutral)), BinaryAttrs())
    if op in (Op.ADD, Op.MUL):
        x = build.node(op, (build.constant("left", neutral[:1]), x), BinaryAttrs())
    graph = optimize(build.finish(x))
    assert [node.op for node in graph.nodes] == [Op.RELU]
    assert set(graph.values) == {"input", graph.outputs[0]}


@pytest.mark.parametrize(
    ("op", "numbers", "shape"),
    [
        (Op.ADD, [0.0, 1e-30], (2,)),
        (Op.MUL, [1.0, 1.0, 1.0], (3, 1)),  # broadcasts
        (Op.DIV, [0.0, 0.0], (2,)),
    ],
)
def test_optimize_keeps_arithmetic_when_it_changes_something(
    op: Op, numbers: list[float], shape: tuple[int, ...]
) -> None:
    build = GraphBuilder("something", (1, 1, 2))
    constant = build.constant("c", np.array(numbers, np.float32).reshape(shape))
    graph = build.finish(build.node(op, (build.input, constant), BinaryAttrs()))
    assert [node.op for node in optimize(graph).nodes] == [op]


def test_optimize_keeps_a_subtraction_when_the_constant_stands_first() -> None:
    build = GraphBuilder("turned", (1, 2))
    zero = build.constant("c", np.zeros(2, np.float32))
    graph = build.finish(build.node(Op.SUB, (zero, build.input), BinaryAttrs()))
    assert [node.op for node in optimize(graph).nodes] == [Op.SUB]
