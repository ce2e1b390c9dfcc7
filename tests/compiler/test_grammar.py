"""The grammar accepts what importers and passes make, and names what breaks a rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.errors import GrammarError
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.ops import NoAttrs, Op, PoolAttrs
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.shapes import output_shape, same_padding, window_size


def small() -> Graph:
    build = GraphBuilder("small", (1, 4, 4, 2))
    x = build.conv2d(build.input, np.ones((3, 2, 2, 2)))
    x = build.max_pool2d(x, (1, 1), (2, 2))
    return build.finish(build.fully_connected(build.mean(x), np.ones((2, 3))))


def with_value(graph: Graph, name: str, **changes: object) -> Graph:
    changed = dataclasses.replace(graph.values[name], **changes)  # type: ignore[arg-type]
    return graph.replace(values=[*graph.values.values(), changed])


def with_node(graph: Graph, index: int, **changes: object) -> Graph:
    nodes = list(graph.nodes)
    nodes[index] = dataclasses.replace(nodes[index], **changes)  # type: ignore[arg-type]
    return graph.replace(nodes=nodes)


BROKEN: dict[str, tuple[Callable[[Graph], Graph], str]] = {
    "order": (lambda g: g.replace(nodes=reversed(g.nodes)), "before it is produced"),
    "twice": (lambda g: g.replace(nodes=[*g.nodes, g.nodes[-1]]), "a second time"),
    "no_output": (lambda g: g.replace(nodes=g.nodes[:-1]), "nothing produces the output"),
    "no_outputs": (lambda g: dataclasses.replace(g, outputs=()), "inputs and outputs"),
    "unknown_input": (lambda g: dataclasses.replace(g, inputs=("input", "x")), "'x' has no value"),
    "attrs": (lambda g: with_node(g, 0, attrs=NoAttrs()), "has NoAttrs"),
    "operands": (lambda g: with_node(g, 0, inputs=("input",)), "needs 3 operands"),
    "shape": (lambda g: with_value(g, "mean_2", shape=(1, 4)), r"gives \(1, 3\)"),
    "weights": (
        lambda g: with_value(
            g, "conv2d_0.weights", shape=(3, 2, 2, 5), data=np.ones((3, 2, 2, 5), np.float32)
        ),
        "do not fit 2 channels",
    ),
    "bias": (
        lambda g: with_value(g, "conv2d_0.bias", shape=(4,), data=np.ones(4, np.float32)),
        "does not fit the weights",
    ),
    "constant": (
        lambda g: with_value(g, "conv2d_0.bias", data=np.ones(3, np.float64)),
        "does not hold",
    ),
    "no_value": (lambda g: with_node(g, 2, outputs=("lost",)), "has no value"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_check_names_the_node_when_a_rule_is_broken(name: str) -> None:
    check(small())
    breaks, match = BROKEN[name]
    with pytest.raises(GrammarError, match=match):
        check(breaks(small()))


def _quant(scale: float, zero_point: int = 0, axis: int | None = None) -> QuantParams:
    return QuantParams((scale,), (zero_point,), axis)


BROKEN_INT8: dict[str, tuple[Callable[[Graph], Graph], str]] = {
    "unquantized": (lambda g: with_value(g, "mean_2", quant=None), "is not quantized"),
    "float_inside": (lambda g: with_value(g, "mean_2", dtype=DType.FLOAT32), "which is int8"),
    "pool": (lambda g: with_value(g, "max_pool2d_1", quant=_quant(9.0)), "must keep"),
    "asymmetric": (
        lambda g: with_value(g, "conv2d_0.weights", quant=QuantParams((1.0,) * 3, (0, 1, 0), 0)),
        "must be symmetric",
    ),
    "bias_scale": (
        lambda g: with_value(g, "conv2d_0.bias", quant=QuantParams((1.0,) * 3, (0,) * 3, 0)),
        "bias scale",
    ),
    "bias_dtype": (
        lambda g: with_value(g, "conv2d_0.bias", dtype=DType.INT8, data=np.zeros(3, np.int8)),
        "the bias int32",
    ),
}


@pytest.mark.parametrize("name", BROKEN_INT8)
def test_check_names_the_node_when_a_quantized_rule_is_broken(name: str) -> None:
    graph = quantize(small(), np.ones((2, 4, 4, 2), np.float32))
    check(graph)
    breaks, match = BROKEN_INT8[name]
    with pytest.raises(GrammarError, match=match):
        check(breaks(graph))


def test_check_raises_when_a_reshape_loses_elements() -> None:
    graph = Graph.build(
        "lossy",
        [Value("input", (1, 6), DType.FLOAT32), Value("y", (1, 5), DType.FLOAT32)],
        [Node(Op.RESHAPE, "y", ("input",), ("y",), NoAttrs())],
        ("input",),
        ("y",),
    )
    with pytest.raises(GrammarError, match=r"turns \(1, 6\) into \(1, 5\)"):
        check(graph)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        ((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((8, 8), (3, 3), (2, 2), ((0, 1), (0, 1))),
        ((7, 8), (3, 2), (2, 1), ((1, 1), (0, 1))),
        ((49, 10), (10, 4), (2, 2), ((4, 5), (1, 1))),  # the first layer of DS-CNN
        ((5, 5), (1, 1), (3, 3), ((0, 0), (0, 0))),
    ],
)
def test_same_padding_equals_tensorflow_when_strides_differ(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    expected: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    assert same_padding(size, kernel, stride) == expected


def test_shapes_raise_when_a_window_does_not_fit_or_an_image_is_missing() -> None:
    assert window_size(7, 3, 2, (0, 0)) == 3
    build = GraphBuilder("tight", (1, 2, 2, 1))
    with pytest.raises(GrammarError, match="does not fit in 2×2"):
        build.conv2d(build.input, np.ones((1, 3, 3, 1)))
    with pytest.raises(GrammarError, match="needs an input"):
        output_shape(Op.MAX_POOL_2D, PoolAttrs((2, 2), (2, 2)), ((1, 4),))
    with pytest.raises(GrammarError, match="cannot be inferred"):
        output_shape(Op.RESHAPE, NoAttrs(), ((1, 4),))
