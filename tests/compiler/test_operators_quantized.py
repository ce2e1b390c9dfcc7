"""Every operator through the quantizer: LiteRT's reference kernels give the bytes that we do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_all, run_float
from edgekiln.compiler.ops import (
    Activation,
    Attrs,
    AxisAttrs,
    BinaryAttrs,
    GeluAttrs,
    LeakyAttrs,
    MatmulAttrs,
    NoAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    ReduceAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import (
    ActivationFormat,
    AdaRoundSettings,
    Recipe,
    Step,
    WeightFormat,
)

Layer = Callable[["Net", str], str]
RunLiteRt = Callable[..., dict[str, Array]]

ALL_STEPS = (Step.EQUALIZE, Step.ADAROUND, Step.BIAS_CORRECT)
FORMATS = {
    "int8": Recipe(steps=ALL_STEPS, adaround=AdaRoundSettings(iterations=10)),
    "int16x8": Recipe(activations=ActivationFormat.INT16, steps=(Step.BIAS_CORRECT,)),
    "int4": Recipe(weights=WeightFormat.INT4),
}
LARGEST_ERROR = {"int8": 0.16, "int16x8": 0.03, "int4": 0.35}  # of the largest output


class Net:
    """A builder with random weights."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.build = GraphBuilder("net", shape)
        self.rng = np.random.default_rng(seed)

    def conv(self, x: str, channels: int = 4) -> str:
        weights = self.rng.normal(0, 0.5, (channels, 3, 3, self.build.shape(x)[3]))
        bias = self.rng.normal(0, 0.3, channels)
        return self.build.conv2d(x, weights, bias, padding=((1, 1), (1, 1)))

    def node(self, op: Op, *inputs: str, attrs: Attrs | None = None) -> str:
        return self.build.node(op, inputs, attrs or NoAttrs())

    def constant(self, *values: float) -> str:
        name = self.build.unique(Op.ADD, f"constant{len(values)}")
        return self.build.constant(name, np.array(values, np.float32))

    def flat(self, x: str) -> str:
        return self.build.reshape(x, (1, int(np.prod(self.build.shape(x)))))


def one(op: Op, attrs: Attrs | None = None) -> Layer:
    return lambda net, x: net.node(op, x, attrs=attrs)


def two(op: Op, attrs: Attrs | None = None) -> Layer:
    return lambda net, x: net.node(op, x, net.conv(net.build.input), attrs=attrs)


def with_constant(op: Op, values: tuple[float, ...], attrs: Attrs | None = None) -> Layer:
    return lambda net, x: net.node(op, x, net.constant(*values), attrs=attrs)


def reverse_root(net: Net, x: str) -> str:
    positive = net.node(Op.ADD, net.node(Op.ABS, x), net.constant(0.5), attrs=BinaryAttrs())
    return net.node(Op.RSQRT, positive)


def attention(net: Net, x: str) -> str:
    tokens = net.build.reshape(x, (1, 36, 4))
    keys = net.build.fully_connected(tokens, net.rng.normal(size=(4, 4)))
    scores = net.node(Op.BATCH_MATMUL, tokens, keys, attrs=MatmulAttrs(transpose_b=True))
    scaled = net.node(Op.MUL, scores, net.constant(0.1), attrs=BinaryAttrs())
    mixed = net.node(Op.BATCH_MATMUL, net.node(Op.SOFTMAX, scaled), keys, attrs=MatmulAttrs())
    return net.build.reshape(mixed, (1, 6, 6, 4))


def moves(net: Net, x: str) -> str:
    x = net.node(Op.SLICE, x, attrs=SliceAttrs((0, 1, 5, 0), (1, 4, 3, 4), (1, 1, -2, 1)))
    x = net.node(Op.TRANSPOSE, x, attrs=TransposeAttrs((0, 2, 1, 3)))
    x = net.node(Op.PAD, x, attrs=PadAttrs(((0, 0), (1, 0), (0, 1), (0, 0)), -5.0))
    indices = net.build.constant("indices", np.array([2, 0, 1, 1]))
    return net.node(Op.GATHER, x, indices, attrs=AxisAttrs(3))


def transposed(net: Net, x: str) -> str:
    weights = net.build.constant("weights", net.rng.normal(size=(3, 2, 2, 4)))
    bias = net.build.constant("bias", net.rng.normal(size=3))
    attrs = TransposeConvAttrs((2, 2), activation=Activation.RELU)
    return net.node(Op.TRANSPOSE_CONV, x, weights, bias, attrs=attrs)


def grouped(net: Net, x: str) -> str:
    x = net.build.conv2d(x, net.rng.normal(size=(6, 3, 3, 2)), net.rng.normal(size=6))
    return net.build.depthwise_conv2d(x, net.rng.normal(size=(1, 3, 3, 12)))


def joined(net: Net, x: str) -> str:
    """Operands of every kind: free, read elsewhere, the graph's input, given, constant."""
    free, given = net.conv(x), net.node(Op.LOGISTIC, net.conv(x))
    ones = net.build.constant("ones", np.ones((1, 6, 6, 1)))
    operands = (free, x, net.build.input, given, ones)
    return net.node(Op.CONCATENATION, *operands, attrs=AxisAttrs(3))


def joined_twice(net: Net, x: str) -> str:
    for _ in range(2):
        pooled = net.node(Op.MAX_POOL_2D, net.conv(x), attrs=PoolAttrs((1, 1), (1, 1)))
        x = net.node(Op.CONCATENATION, x, pooled, attrs=AxisAttrs(3))
    return x


LAYERS: dict[str, Layer] = {
    "relu": one(Op.RELU),
    "hard_swish": one(Op.HARD_SWISH),
    "sigmoid": one(Op.LOGISTIC),
    "tanh": one(Op.TANH),
    "gelu": one(Op.GELU, GeluAttrs()),
    "leaky_relu": one(Op.LEAKY_RELU, LeakyAttrs(0.1)),
    "prelu": lambda net, x: net.node(
        Op.PRELU, x, net.build.constant("slopes", np.array([[[0.1, 0.2, 0.3, -0.1]]]))
    ),
    "rsqrt": reverse_root,
    "add": two(Op.ADD, BinaryAttrs()),
    "add_constant": with_constant(Op.ADD, (-1.0, 0.0, 1.0, 2.0), BinaryAttrs()),
    "sub": two(Op.SUB, BinaryAttrs()),
    "mul": two(Op.MUL, BinaryAttrs()),
    "mul_constant": with_constant(Op.MUL, (0.5,), BinaryAttrs()),
    "minimum": two(Op.MINIMUM),
    "maximum_constant": with_constant(Op.MAXIMUM, (0.3,)),
    "mean": one(Op.MEAN, ReduceAttrs((3,), keep_dims=True)),
    "sum": one(Op.SUM, ReduceAttrs((1, 3), keep_dims=True)),
    "reduce_max": one(Op.REDUCE_MAX, ReduceAttrs((3,), keep_dims=True)),
    "log_softmax": one(Op.LOG_SOFTMAX),
    "attention": attention,
    "moves": moves,
    "transpose_conv": transposed,
    "grouped": grouped,
    "resize": one(Op.RESIZE_BILINEAR, ResizeAttrs((12, 9), half_pixel_centers=True)),
    "resize_nearest": one(Op.RESIZE_NEAREST_NEIGHBOR, ResizeAttrs((5, 8))),
    "joined": joined,
    "joined_twice": joined_twice,
    "div_constant": with_constant(Op.DIV, (2.0,), BinaryAttrs()),
    "float_twice": lambda net, x: net.node(Op.SQRT, net.node(Op.SQRT, net.node(Op.ABS, x))),
}


def network(layer: Layer, *, ends: bool = False) -> Graph:
    """A convolution, the layer, and a convolution of what it gives unless it `ends` the graph."""
    net = Net((1, 6, 6, 4))
    y = layer(net, net.conv(net.build.input))
    return optimize(net.build.finish(net.flat(y if ends else net.conv(y))))


def samples(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.normal(0.2, 1.0, (count, 6, 6, 4)).astype(np.float32)


def encoded(graph: Graph, x: Array) -> Array:
    quant, limits = graph.input.quant, np.iinfo(graph.input.dtype.numpy)
    assert quant is not None
    codes = np.rint(x / np.float32(quant.scale[0])) + quant.zero_point[0]
    return np.clip(codes, limits.min, limits.max).astype(graph.input.dtype.numpy)


def decoded(graph: Graph, codes: Array) -> Array:
    quant = graph.output.quant
    assert quant is not None
    return (codes.astype(np.float64) - quant.zero_point[0]) * quant.scale[0]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", LAYERS)
def test_bytes_are_litert_s_when_operator_is_quantized(
    name: str, form: str, run_litert: RunLiteRt
) -> None:
    graph = network(LAYERS[name])
    done = quantize_by(graph, samples(200, 1), FORMATS[form])
    quantized, x = done.int8_graph, samples(6, 2)
    codes = encoded(quantized, x)
    found = run_all(quantized, {quantized.inputs[0]: codes})[quantized.outputs[0]]
    model = emit_tflite(quantized)
    for row, sample in enumerate(codes):
        theirs = run_litert(model, sample[None])[quantized.outputs[0]]
        np.testing.assert_array_equal(found[row : row + 1], theirs)
    wanted = run_float(graph, x)
    error = np.abs(decoded(quantized, found) - wanted).max() / np.abs(wanted).max()
    assert error < LARGEST_ERROR[form]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["attention", "joined", "float_twice", "grouped"])
def test_numbers_are_kept_when_the_file_is_imported_again(name: str, form: str) -> None:
    quantized = quantize_by(network(LAYERS[name]), samples(200, 1), FORMATS[form]).int8_graph
    again = import_tflite(emit_tflite(quantized), "again")
    codes = encoded(quantized, samples(6, 2))
    np.testing.assert_array_equal(
        run_all(again, {again.inputs[0]: codes})[again.outputs[0]],
        run_all(quantized, {quantized.inputs[0]: codes})[quantized.outputs[0]],
    )


def test_weights_are_halved_in_litert_when_recipe_says_float16(run_litert: RunLiteRt) -> None:
    rng = np.random.default_rng(0)
    build = GraphBuilder("half", (1, 6, 6, 4))
    x = build.conv2d(build.input, rng.normal(size=(12, 3, 3, 4)), rng.normal(size=12))
    graph = build.finish(build.mean(x))
    recipe = Recipe(activations=ActivationFormat.FLOAT32, weights=WeightFormat.FLOAT16)
    half = quantize_by(graph, samples(4, 0), recipe).int8_graph
    dtypes = [value.dtype for value in half.values.values() if value.data is not None]
    assert sorted(dtypes) == [DType.FLOAT16, DType.FLOAT32]  # the bias is too small to matter
    batch = samples(3, 1)
    found = run_all(half, {half.inputs[0]: batch})[half.outputs[0]]
    theirs = run_litert(emit_tflite(half), batch)[half.outputs[0]]
    np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found, run_float(graph, batch), rtol=0, atol=0.02)
    assert len(emit_tflite(half)) < len(emit_tflite(graph)) - 300


def test_indices_stay_integers_when_graph_ends_in_arg_max(run_litert: RunLiteRt) -> None:
    build = GraphBuilder("best", (1, 8))
    x = build.fully_connected(build.input, np.random.default_rng(0).normal(size=(5, 8)))
    graph = build.finish(build.node(Op.ARG_MAX, (x,), AxisAttrs(1)))
    x = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    quantized = quantize_by(graph, x, Recipe()).int8_graph
    codes = encoded(quantized, x)
    found = run_all(quantized, {quantized.inputs[0]: codes})[quantized.outputs[0]]
    assert quantized.output.dtype is DType.INT32
    model = emit_tflite(quantized)
    theirs = [run_litert(model, row[None])[quantized.outputs[0]] for row in codes]
    np.testing.assert_array_equal(found, np.concatenate(theirs))
    assert (found == run_float(graph, x)).mean() > 0.9
