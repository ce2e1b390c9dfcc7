"""Layouts of the written ONNX model: the arithmetic of axes, and how few transposes are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.onnx_layouts import (
    CHANNELS_FIRST,
    Layout,
    arrange,
    cost,
    natural,
    permutation,
    reshaped,
    same_elements,
    transposed,
    without,
)
from edgekiln.compiler.ops import (
    Activation,
    AxisAttrs,
    BinaryAttrs,
    GeluAttrs,
    MatmulAttrs,
    Op,
    ReduceAttrs,
    ResizeAttrs,
    TransposeAttrs,
)

SAME = ((1, 1), (1, 1))
IMAGE = (1, 8, 6, 3)


@st.composite
def placed(draw: st.DrawFn) -> tuple[tuple[int, ...], Layout]:
    """A shape with axes of length 1 among others, and a layout of it."""
    sizes = draw(st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=4))
    order = draw(st.permutations(range(1, len(sizes) + 1)))
    return (2, *sizes), (0, *order)


def held(shape: tuple[int, ...], layout: Layout) -> Array:
    """The elements, numbered in the graph's order, as a tensor of this layout holds them."""
    return np.arange(np.prod(shape)).reshape(shape).transpose(layout)


@given(placed(), st.data())
def test_permutation_turns_one_layout_into_another_when_given_to_transpose(
    one: tuple[tuple[int, ...], Layout], data: st.DataObject
) -> None:
    shape, before = one
    after = (0, *data.draw(st.permutations(range(1, len(shape)))))
    tensor = held(shape, before)
    assert tensor.shape == arrange(shape, before)
    np.testing.assert_array_equal(tensor.transpose(permutation(before, after)), held(shape, after))
    same = np.array_equal(tensor.ravel(), held(shape, after).ravel())
    assert same_elements(shape, before, after) == same
    assert (cost(shape, [before], after) == 0) == same


@given(placed(), st.data())
def test_transposed_names_the_same_tensor_when_axes_change_their_names(
    one: tuple[tuple[int, ...], Layout], data: st.DataObject
) -> None:
    shape, layout = one
    perm = (0, *data.draw(st.permutations(range(1, len(shape)))))
    turned = np.arange(np.prod(shape)).reshape(shape).transpose(perm)
    np.testing.assert_array_equal(turned.transpose(transposed(layout, perm)), held(shape, layout))


@given(placed(), st.data())
def test_reshaped_keeps_the_elements_in_place_when_only_short_axes_change(
    one: tuple[tuple[int, ...], Layout], data: st.DataObject
) -> None:
    before, layout = one
    after = [before[0], *(size for size in before[1:] if size > 1)]
    for _ in range(data.draw(st.integers(0, 2))):
        after.insert(data.draw(st.integers(1, len(after))), 1)
    found = reshaped(before, tuple(after), layout)
    assert found is not None
    assert sorted(found) == list(range(len(after)))
    np.testing.assert_array_equal(held(tuple(after), found).ravel(), held(before, layout).ravel())


def test_reshaped_gives_nothing_when_long_axes_change() -> None:
    assert reshaped((1, 4, 6), (1, 6, 4), natural(3)) is None
    assert reshaped((1, 4, 6), (1, 24), natural(3)) is None
    assert reshaped((1, 1, 1, 8), (1, 8), CHANNELS_FIRST) == (0, 1)
    assert reshaped((1, 8), (1, 1, 1, 8), (0, 1)) == CHANNELS_FIRST


def test_without_keeps_the_order_of_the_axes_when_some_are_dropped() -> None:
    assert without(CHANNELS_FIRST, (1, 2)) == (0, 1)
    assert without(CHANNELS_FIRST, (2,)) == (0, 2, 1)


class Net:
    """A builder whose weights come from a seed."""

    def __init__(self, shape: tuple[int, ...] = IMAGE) -> None:
        self.rng = np.random.default_rng(8)
        self.build = GraphBuilder("net", shape)

    def conv(
        self, x: str, out: int, kernel: tuple[int, int] = (3, 3), padding: object = SAME
    ) -> str:
        weights = self.rng.normal(0, 0.5, (out, *kernel, self.build.shape(x)[3]))
        return self.build.conv2d(
            x,
            weights,
            padding=padding,
            activation=Activation.RELU,  # type: ignore[arg-type]
        )

    def dense(self, x: str, out: int) -> str:
        weights = self.rng.normal(0, 0.5, (out, self.build.shape(x)[-1]))
        return self.build.fully_connected(x, weights, self.rng.normal(0, 1, out))


def concatenating() -> Graph:
    net = Net()
    build = net.build
    a = net.conv(build.input, 4)
    both = build.node(Op.CONCATENATION, (a, net.conv(a, 2)), AxisAttrs(3))
    return build.finish(net.dense(build.mean(net.conv(both, 5)), 3))


def squeezing(vector: bool, first: bool) -> Graph:
    """Squeeze and excite, over images of one pixel or over vectors."""
    net = Net()
    build = net.build
    x = net.conv(build.input, 8)
    s = build.mean(x) if vector else build.node(Op.MEAN, (x,), ReduceAttrs((1, 2), True))
    s = build.node(Op.LOGISTIC, (net.dense(net.dense(s, 4), 8),))
    if vector:
        s = build.reshape(s, (1, 1, 1, 8))
    scaled = build.node(Op.MUL, (s, x) if first else (x, s), BinaryAttrs())
    return build.finish(net.dense(build.mean(net.conv(scaled, 4)), 3))


def u_net() -> Graph:
    net = Net()
    build = net.build
    x = net.conv(build.input, 4)
    y = net.conv(build.max_pool2d(x, (2, 2), (2, 2)), 8)
    y = build.node(Op.RESIZE_BILINEAR, (y,), ResizeAttrs((8, 6), half_pixel_centers=True))
    joined = build.node(Op.CONCATENATION, (x, y), AxisAttrs(3))
    return build.finish(build.mean(net.conv(joined, 3)))


def one_dimensional() -> Graph:
    """Convolutions over time, each between a reshape to an image and one back."""
    net = Net((1, 20, 4))
    build = net.build
    x = build.input
    for _ in range(3):
        x = net.conv(build.reshape(x, (1, 1, *build.shape(x)[1:])), 5, (1, 3), ((0, 0), (1, 1)))
        x = build.reshape(x, (1, *build.shape(x)[2:]))
    return build.finish(net.dense(build.node(Op.MEAN, (x,), ReduceAttrs((1,))), 3))


def channel_mixing() -> Graph:
    """Normalized and mixed along the channels between depthwise convolutions."""
    net = Net()
    build = net.build
    x = net.conv(build.input, 8)
    for _ in range(2):
        y = build.depthwise_conv2d(x, net.rng.normal(0, 1, (1, 3, 3, 8)), padding=SAME)
        mean = build.node(Op.MEAN, (y,), ReduceAttrs((3,), True))
        y = build.node(Op.SUB, (y, mean), BinaryAttrs())
        y = build.node(Op.GELU, (net.dense(y, 16),), GeluAttrs())
        x = build.add(x, net.dense(y, 8))
    return build.finish(build.mean(x))


def residual_of_the_input() -> Graph:
    net = Net()
    build = net.build
    x = build.add(build.input, net.conv(build.input, 3))
    return build.finish(build.mean(net.conv(x, 4)))


def flattened_with_pads() -> Graph:
    net = Net()
    build = net.build
    x = build.max_pool2d(build.pad(net.conv(build.input, 4), SAME), (2, 2), (2, 2))
    x = build.node(Op.LOGISTIC, (x,))
    return build.finish(net.dense(build.reshape(x, (1, 5 * 4 * 4)), 3))


def attention() -> Graph:
    """Two heads over the places of an image, with a residual connection."""
    net = Net()
    build = net.build
    x = build.reshape(net.conv(build.input, 8), (1, 48, 8))

    def head() -> str:
        split = build.reshape(net.dense(x, 8), (1, 48, 2, 4))
        return build.node(Op.TRANSPOSE, (split,), TransposeAttrs((0, 2, 1, 3)))

    scores = build.node(Op.BATCH_MATMUL, (head(), head()), MatmulAttrs(transpose_b=True))
    found = build.node(Op.BATCH_MATMUL, (build.node(Op.SOFTMAX, (scores,)), head()), MatmulAttrs())
    joined = build.node(Op.TRANSPOSE, (found,), TransposeAttrs((0, 2, 1, 3)))
    joined = net.dense(build.reshape(joined, (1, 48, 8)), 8)
    return build.finish(build.node(Op.MEAN, (build.add(x, joined),), ReduceAttrs((1,))))


def turned_product() -> Graph:
    """conv → transpose → matmul: the transpose is what the convolution already made."""
    net = Net()
    build = net.build
    x = net.conv(build.input, 4)
    turned = build.node(Op.TRANSPOSE, (x,), TransposeAttrs((0, 3, 1, 2)))
    matrix = build.constant("matrix", net.rng.normal(0, 1, (6, 5)))
    y = build.node(Op.BATCH_MATMUL, (turned, matrix), MatmulAttrs())
    return build.finish(build.node(Op.REDUCE_MAX, (y,), ReduceAttrs((1, 2))))


# Transposes: one at the entry of three channels, none where there is one row; attention needs one
# to leave the convolution's layout, one for each of its three heads and one to join them.
NETS: dict[str, tuple[Callable[[], Graph], int]] = {
    "concatenation": (concatenating, 1),
    "squeeze and excite by images": (lambda: squeezing(False, True), 1),
    "squeeze and excite by vectors": (lambda: squeezing(True, True), 1),
    "squeeze and excite, image first": (lambda: squeezing(True, False), 1),
    "u-net": (u_net, 1),
    "one-dimensional": (one_dimensional, 1),
    "channel mixing": (channel_mixing, 1),
    "residual of the input": (residual_of_the_input, 1),
    "flattened with pads": (flattened_with_pads, 1),
    "turned product": (turned_product, 1),
    "attention": (attention, 6),
}


@pytest.mark.parametrize("name", NETS)
def test_network_has_no_transpose_too_many_when_written(
    name: str, draw_samples: Callable[..., Array], run_onnx: Callable[[bytes, Array], Array]
) -> None:
    make, transposes = NETS[name]
    graph = make()
    model = emit_onnx(graph)
    kinds = Counter(node.op_type for node in onnx.load_from_string(model).graph.node)
    assert kinds["Transpose"] <= transposes
    x = draw_samples(graph, 3)
    wanted = run_float(graph, x)
    np.testing.assert_allclose(
        run_onnx(model, x), wanted, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(wanted).max())
    )


@pytest.mark.parametrize("seed", range(12))
def test_convolutional_classifier_has_only_its_entry_transpose_when_graph_is_random(
    seed: int, random_graph: Callable[[int], Graph], quantized: Callable[[Graph, int], Graph]
) -> None:
    graph = random_graph(seed)
    several = len(graph.input.shape) == 4 and graph.input.shape[3] > 1
    for written in (graph, quantized(graph, seed)):
        model = onnx.load_from_string(emit_onnx(written))
        transposes = sum(node.op_type == "Transpose" for node in model.graph.node)
        assert transposes <= int(several)
