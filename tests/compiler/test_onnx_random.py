"""Random networks of every kind of operator written to ONNX: layouts meet in all orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.encoding import decode
from edgekiln.compiler.graph import Array, Graph, Node, Value
from edgekiln.compiler.importers.onnx import import_onnx
from edgekiln.compiler.interpret import kernel_of, run_all
from edgekiln.compiler.ops import (
    Activation,
    AxisAttrs,
    BinaryAttrs,
    LeakyAttrs,
    MatmulAttrs,
    Op,
    PadAttrs,
    ReduceAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeAttrs,
)
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe, WeightFormat
from edgekiln.compiler.reference import quantize_input

RunSession = Callable[[bytes, dict[str, Array]], list[Array]]

NODES = 14
LARGEST = 4000  # elements of a value


class Draw:
    """Appends random operators; each may read anything that is there."""

    def __init__(self, seed: int, inputs: tuple[str, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        sizes = tuple(int(n) for n in self.rng.integers(1, 7, 3))
        self.build = GraphBuilder(f"random_{seed}", (1, *sizes))
        self.values = [self.build.input]
        self.values += [self.build.add_input(name, (1, *sizes)) for name in inputs]
        self.given = set(self.values)

    def graph(self) -> Graph:
        for _ in range(NODES):
            x = self.values[int(self.rng.integers(max(0, len(self.values) - 4), len(self.values)))]
            kinds = (*self.ANY, *(self.IMAGES if len(self.shape(x)) == 4 else ()))
            self.values += kinds[self.rng.integers(len(kinds))](self, x)
        outputs = dict.fromkeys((self.values[-1], self.values[-2], self.values[-3]))
        return self.build.finish(*(name for name in outputs if name not in self.given))

    def shape(self, x: str) -> tuple[int, ...]:
        return self.build.shape(x)

    def normal(self, what: str, *shape: int) -> str:
        return self.build.constant(
            self.build.unique(Op.CONV_2D, f"{what}{len(self.values)}"), self.rng.normal(0, 1, shape)
        )

    def axis(self, x: str) -> int:
        return int(self.rng.integers(1, len(self.shape(x))))

    def conv(self, x: str) -> Iterator[str]:
        channels = self.shape(x)[3]
        weights = self.rng.normal(0, 1, (int(self.rng.integers(1, 6)), 1, 2, channels)) / channels
        padding = ((0, 0), (1, 0))
        yield self.build.conv2d(x, weights, padding=padding, activation=Activation.RELU)

    def pool(self, x: str) -> Iterator[str]:
        if min(self.shape(x)[1:3]) > 1:
            pools = (self.build.max_pool2d, self.build.average_pool2d)
            yield pools[self.rng.integers(2)](x, (2, 2), (2, 1))

    def resize(self, x: str) -> Iterator[str]:
        size = tuple(int(n) for n in self.rng.integers(1, 9, 2))
        word = (Op.RESIZE_NEAREST_NEIGHBOR, Op.RESIZE_BILINEAR)[self.rng.integers(2)]
        yield self.build.node(word, (x,), ResizeAttrs((size[0], size[1]), half_pixel_centers=True))

    def unary(self, x: str) -> Iterator[str]:
        words = (Op.TANH, Op.ELU, Op.HARD_SWISH, Op.LOGISTIC, Op.SOFTMAX, Op.ABS, Op.RELU6)
        yield self.build.node(words[self.rng.integers(len(words))], (x,))

    def leaky(self, x: str) -> Iterator[str]:
        yield self.build.node(Op.LEAKY_RELU, (x,), LeakyAttrs(0.3))

    def scaled(self, x: str) -> Iterator[str]:
        """By a constant of a lower rank, some of its axes of length 1."""
        shape = self.shape(x)[self.axis(x) :]
        shape = tuple(int(n) if self.rng.random() < 0.6 else 1 for n in shape)
        operands = (x, self.normal("c", *shape))
        word = (Op.ADD, Op.MUL, Op.SUB)[self.rng.integers(3)]
        pair = operands if self.rng.random() < 0.7 else operands[::-1]
        yield self.build.node(word, pair, BinaryAttrs())

    def paired(self, x: str) -> Iterator[str]:
        """With another value of one shape, or one that it was reduced to."""
        same = [name for name in self.values if self.shape(name) == self.shape(x)]
        other = same[int(self.rng.integers(len(same)))]
        if self.rng.random() < 0.5:
            axes = sorted({self.axis(x), self.axis(x)})
            other = self.build.node(Op.REDUCE_MAX, (x,), ReduceAttrs(tuple(axes), keep_dims=True))
        pair = (x, other) if self.rng.random() < 0.5 else (other, x)
        yield self.build.node(Op.MAXIMUM, pair)

    def joined(self, x: str) -> Iterator[str]:
        same = [name for name in self.values if self.shape(name) == self.shape(x)]
        other = same[int(self.rng.integers(len(same)))]
        if 2 * np.prod(self.shape(x)) < LARGEST:
            axis = self.axis(x)
            constant = self.normal("k", *self.shape(x))
            operands = (other, x) if self.rng.random() < 0.7 else (constant, x)
            yield self.build.node(Op.CONCATENATION, operands, AxisAttrs(axis))

    def reduced(self, x: str) -> Iterator[str]:
        if len(self.shape(x)) > 2:
            word = (Op.MEAN, Op.SUM, Op.REDUCE_MAX)[self.rng.integers(3)]
            keep = bool(self.rng.random() < 0.5)
            yield self.build.node(word, (x,), ReduceAttrs((self.axis(x),), keep))

    def padded(self, x: str) -> Iterator[str]:
        if np.prod(self.shape(x)) * 3 < LARGEST:
            rest = [tuple(int(n) for n in self.rng.integers(0, 2, 2)) for _ in self.shape(x)[1:]]
            attrs = PadAttrs(((0, 0), *((a, b) for a, b in rest)), fill=0.5)
            yield self.build.node(Op.PAD, (x,), attrs)

    def sliced(self, x: str) -> Iterator[str]:
        shape, axis = self.shape(x), self.axis(x)
        begin, size, stride = [0] * len(shape), list(shape), [1] * len(shape)
        if self.rng.random() < 0.5:
            begin[axis], stride[axis] = shape[axis] - 1, -1
        size[axis] = int(self.rng.integers(1, shape[axis] + 1))
        yield self.build.node(Op.SLICE, (x,), SliceAttrs(tuple(begin), tuple(size), tuple(stride)))

    def gathered(self, x: str) -> Iterator[str]:
        axis = self.axis(x)
        count = () if self.rng.random() < 0.3 and len(self.shape(x)) > 2 else (3,)
        indices = self.rng.integers(0, self.shape(x)[axis], count)
        name = self.build.constant(f"indices{len(self.values)}", np.asarray(indices))
        yield self.build.node(Op.GATHER, (x, name), AxisAttrs(axis))

    def turned(self, x: str) -> Iterator[str]:
        rest = self.rng.permutation(np.arange(1, len(self.shape(x))))
        perm = (0, *(int(axis) for axis in rest))
        yield self.build.node(Op.TRANSPOSE, (x,), TransposeAttrs(perm))

    def shaped(self, x: str) -> Iterator[str]:
        """Two axes become one, or axes of length 1 come and go, or all is flat."""
        sizes = list(self.shape(x)[1:])
        kind = int(self.rng.integers(4))
        if kind == 0 and len(sizes) > 1:
            at = int(self.rng.integers(len(sizes) - 1))
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        elif kind == 1 and len(sizes) < 4:
            sizes.insert(int(self.rng.integers(len(sizes) + 1)), 1)
        elif kind == 2:
            sizes = [size for size in sizes if size > 1] or [1]
        else:
            sizes = [int(np.prod(sizes))]
        yield self.build.reshape(x, (1, *sizes))

    def dense(self, x: str) -> Iterator[str]:
        width = self.shape(x)[-1]
        weights = self.rng.normal(0, 1, (int(self.rng.integers(1, 7)), width)) / width
        yield self.build.fully_connected(x, weights, self.rng.normal(0, 1, len(weights)))

    def product(self, x: str) -> Iterator[str]:
        if len(self.shape(x)) > 2:
            rows = self.build.node(Op.SOFTMAX, (x,))
            yield self.build.node(Op.BATCH_MATMUL, (x, rows), MatmulAttrs(transpose_b=True))

    ANY = (
        unary, leaky, scaled, paired, joined, reduced, padded, sliced, gathered, turned, shaped,
        dense, product,
    )  # fmt: skip
    IMAGES = (conv, conv, conv, pool, resize, conv)


@pytest.mark.parametrize("seed", [*range(20), 574])
def test_onnxruntime_computes_the_graph_when_its_operators_are_random(
    seed: int, run_session: RunSession
) -> None:
    graph = Draw(seed, ("second",)).graph()
    rng = np.random.default_rng(seed)
    inputs = {
        name: rng.normal(0, 1, (2, *graph.values[name].shape[1:])).astype(np.float32)
        for name in graph.inputs
    }
    known = run_all(graph, inputs)
    found = run_session(emit_onnx(graph), inputs)
    for name, data in zip(graph.outputs, found, strict=True):
        assert data.shape == known[name].shape
        largest = max(1.0, float(np.abs(known[name]).max()))
        np.testing.assert_allclose(data, known[name], rtol=1e-4, atol=2e-5 * largest)


@pytest.mark.parametrize("seed", range(6))
def test_written_model_is_the_same_function_when_it_is_imported_again(seed: int) -> None:
    graph = Draw(seed, ("second",)).graph()
    again = import_onnx(emit_onnx(graph), graph.name)
    rng = np.random.default_rng(seed)
    inputs = {
        name: rng.normal(0, 1, (2, *graph.values[name].shape[1:])).astype(np.float32)
        for name in graph.inputs
    }
    known = run_all(graph, inputs)
    given = {port.value: port.to_graph(inputs[port.name]) for port in again.inputs}
    found = run_all(again.graph, given)
    assert [port.name for port in again.outputs] == list(graph.outputs)
    for port in again.outputs:
        wanted = known[port.name]
        largest = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(
            port.from_graph(found[port.value]), wanted, rtol=1e-4, atol=2e-5 * largest
        )


RECIPES = {
    "int8": Recipe(),
    "int4 weights": Recipe(weights=WeightFormat.INT4),
    "int16x8": Recipe(activations=ActivationFormat.INT16),
    "float16 weights": Recipe(activations=ActivationFormat.FLOAT32, weights=WeightFormat.FLOAT16),
}
# In int16 LiteRT, and so the reference, interpolates: tables of functions, images with weights of
# ten bits. That is further than a step from what ONNX Runtime computes.
INTERPOLATED = (Op.SOFTMAX, Op.TANH, Op.LOGISTIC, Op.EXP, Op.RESIZE_BILINEAR)


def coded(value: Value, data: Array) -> Array:
    """What ONNX Runtime gave for a value, as the graph holds it."""
    if value.quant is None:
        return data
    codes = np.rint(data / np.float32(value.quant.scale[0])) + value.quant.zero_point[0]
    return codes.astype(value.dtype.numpy)


def agree(graph: Graph, node: Node, known: Mapping[str, Array]) -> bool:
    """Whether ONNX Runtime's output of a node is the kernel's of ONNX Runtime's inputs."""
    output = graph.values[node.output]
    operands = [known[name] if name in known else graph.constant(name) for name in node.inputs]
    wanted = kernel_of(graph, node)(graph, node, *operands)
    found = known[node.output]
    if output.quant is None:
        largest = max(1.0, float(np.abs(wanted).max()))
        return np.allclose(found, wanted, rtol=1e-4, atol=2e-5 * largest)
    distance = np.abs(found.astype(np.int64) - wanted.astype(np.int64))
    return bool((distance > 1).mean() <= 0.001)


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("seed", range(3))
def test_every_node_is_within_one_step_when_the_network_is_quantized(
    seed: int, kind: str, run_session: RunSession
) -> None:
    """Each node is given what ONNX Runtime made before it, so that no step is amplified."""
    float_graph = Draw(seed, ()).graph()
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (16, *float_graph.input.shape[1:])).astype(np.float32)
    done = quantize_by(float_graph, x, RECIPES[kind]).int8_graph
    settled = {  # of constants alone
        node.output: kernel_of(done, node)(done, node, *map(done.constant, node.inputs))
        for node in done.nodes
        if all(done.values[name].data is not None for name in node.inputs)
    }
    made = tuple(node.output for node in done.nodes if node.output not in settled)
    graph = Graph.build(done.name, done.values.values(), done.nodes, done.inputs, made)
    entry = quantize_input(graph, x)
    quant = graph.input.quant
    (name,) = graph.inputs
    found = run_session(emit_onnx(graph), {name: x if quant is None else decode(entry, quant)})
    known = settled | {name: entry}
    known |= {name: coded(graph.values[name], data) for name, data in zip(made, found, strict=True)}
    for node in graph.nodes:
        if kind != "int16x8" or node.op not in INTERPOLATED:
            assert agree(graph, node, known), (node.name, node.op)
