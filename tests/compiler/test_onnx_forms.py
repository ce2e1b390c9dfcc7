"""Every operator written to ONNX, run by ONNX Runtime.

Float graphs are held to the float kernels; quantized ones to the same kernels between rounding
("fake quantization"), and to the integer kernels where there are some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.builder import PLAIN, GraphBuilder
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.encoding import decode
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.float_kernels import FLOAT_KERNELS
from edgekiln.compiler.graph import Array, DType, Graph, QuantParams, Value
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import (
    Activation,
    AxisAttrs,
    BinaryAttrs,
    ConvAttrs,
    GeluAttrs,
    LeakyAttrs,
    MatmulAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    ReduceAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from edgekiln.compiler.quantize import quantize_by
from edgekiln.compiler.recipe import ActivationFormat, Recipe, WeightFormat

SAME = ((1, 1), (1, 1))
IMAGE = (1, 6, 5, 4)
Rng = np.random.Generator
Layer = Callable[[GraphBuilder, str, Rng], str]
RunSession = Callable[[bytes, dict[str, Array]], list[Array]]


def assert_same_function(graph: Graph, run_session: RunSession, seed: int = 0) -> None:
    """ONNX Runtime gives each output, of three samples, as the interpreter does."""
    rng = np.random.default_rng(seed)
    inputs = {
        name: rng.normal(0.3, 1.5, (3, *graph.values[name].shape[1:])).astype(np.float32)
        for name in graph.inputs
    }
    known = run_all(graph, inputs)
    for name, found in zip(graph.outputs, run_session(emit_onnx(graph), inputs), strict=True):
        wanted = known[name]
        assert found.dtype == graph.values[name].dtype.numpy
        assert found.shape == wanted.shape
        np.testing.assert_allclose(
            found, wanted, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(wanted).max())
        )


def op(word: Op, attrs: Any = PLAIN) -> Layer:
    return lambda b, x, rng: b.node(word, (x,), attrs)


def with_constant(
    word: Op, shape: tuple[int, ...], attrs: Any = PLAIN, first: bool = False
) -> Layer:
    def layer(b: GraphBuilder, x: str, rng: Rng) -> str:
        constant = b.constant(b.unique(word, "constant"), rng.uniform(0.5, 2.0, shape))
        return b.node(word, (constant, x) if first else (x, constant), attrs)

    return layer


def positive(word: Op) -> Layer:
    return lambda b, x, rng: b.node(word, (b.node(Op.EXP, (x,)),))


def conv(shape: tuple[int, ...], word: Op = Op.CONV_2D, **options: Any) -> Layer:
    make = TransposeConvAttrs if word is Op.TRANSPOSE_CONV else ConvAttrs
    channels = shape[3] if word is Op.DEPTHWISE_CONV_2D else shape[0]

    def layer(b: GraphBuilder, x: str, rng: Rng) -> str:
        weights = b.constant(b.unique(word, "weights"), rng.normal(0, 1, shape))
        bias = b.constant(b.unique(word, "bias"), rng.normal(0, 1, channels))
        return b.node(word, (x, weights, bias), make(**options))

    return layer


def dense(out: int, activation: Activation = Activation.NONE) -> Layer:
    return lambda b, x, rng: b.fully_connected(
        x, rng.normal(0, 1, (out, b.shape(x)[-1])), rng.normal(0, 1, out), activation=activation
    )


def gather(axis: int, indices: Any) -> Layer:
    def layer(b: GraphBuilder, x: str, rng: Rng) -> str:
        constant = b.constant(b.unique(Op.GATHER, "indices"), np.asarray(indices, np.int32))
        return b.node(Op.GATHER, (x, constant), AxisAttrs(axis))

    return layer


def reshape(*shape: int) -> Layer:
    return lambda b, x, rng: b.reshape(x, (1, *shape))


def self_product(b: GraphBuilder, x: str, rng: Rng) -> str:
    return b.node(Op.BATCH_MATMUL, (x, b.node(Op.TANH, (x,))), MatmulAttrs(transpose_b=True))


def one_class(b: GraphBuilder, x: str, rng: Rng) -> str:
    return b.node(Op.SOFTMAX, (b.reshape(x, (1, int(np.prod(b.shape(x))), 1)),))


def class_token(b: GraphBuilder, x: str, rng: Rng) -> str:
    token = b.constant("token", rng.normal(0, 1, (1, *IMAGE[1:3], 2)))
    return b.node(Op.CONCATENATION, (token, x, x), AxisAttrs(3))


RELU, RELU6 = BinaryAttrs(Activation.RELU), BinaryAttrs(Activation.RELU6)
LAYERS: dict[str, Layer] = {
    "grouped conv2d": conv((6, 3, 2, 2), padding=SAME, stride=(2, 1), activation=Activation.RELU6),
    "dilated conv2d": conv((3, 2, 2, 4), dilation=(2, 3)),
    "depthwise with multiplier": conv((1, 3, 3, 12), Op.DEPTHWISE_CONV_2D, padding=SAME),
    "transpose_conv2d": conv((3, 3, 2, 4), Op.TRANSPOSE_CONV, stride=(2, 3)),
    "cut transpose_conv2d": conv(
        (3, 4, 3, 4), Op.TRANSPOSE_CONV, stride=(2, 2), padding=((1, 0), (1, 2)),
        activation=Activation.RELU,
    ),
    "max_pool2d": op(Op.MAX_POOL_2D, PoolAttrs((3, 2), (2, 2), ((1, 1), (0, 1)))),
    "average_pool2d": op(Op.AVERAGE_POOL_2D, PoolAttrs((3, 2), (2, 1), ((1, 1), (1, 0)))),
    "resize_nearest": op(Op.RESIZE_NEAREST_NEIGHBOR, ResizeAttrs((9, 10))),
    "resize_bilinear": op(Op.RESIZE_BILINEAR, ResizeAttrs((9, 7), half_pixel_centers=True)),
    "fully_connected": dense(3, Activation.RELU),
    "batch_matmul": self_product,
    "batch_matmul by a matrix": with_constant(Op.BATCH_MATMUL, (4, 3), MatmulAttrs()),
    "batch_matmul by a turned matrix": with_constant(Op.BATCH_MATMUL, (3, 4), MatmulAttrs(True)),
    "add": with_constant(Op.ADD, (4,), RELU),
    "add to a row": with_constant(Op.ADD, (5, 1), RELU6, first=True),
    "sub": with_constant(Op.SUB, (1, 6, 1, 4), BinaryAttrs(), first=True),
    "mul": with_constant(Op.MUL, (), BinaryAttrs()),
    "div": with_constant(Op.DIV, (1, 4), RELU),
    "minimum": with_constant(Op.MINIMUM, (4,)),
    "maximum": with_constant(Op.MAXIMUM, (6, 5, 4)),
    "less_equal": with_constant(Op.LESS_EQUAL, (5, 4)),
    "prelu": with_constant(Op.PRELU, (1, 1, 4)),
    "relu": op(Op.RELU),
    "relu6": op(Op.RELU6),
    "leaky_relu": op(Op.LEAKY_RELU, LeakyAttrs(0.1)),
    "elu": op(Op.ELU),
    "hard_swish": op(Op.HARD_SWISH),
    "sigmoid": op(Op.LOGISTIC),
    "tanh": op(Op.TANH),
    "gelu": op(Op.GELU, GeluAttrs()),
    "approximate gelu": op(Op.GELU, GeluAttrs(approximate=True)),
    "exp": op(Op.EXP),
    "sqrt": positive(Op.SQRT),
    "rsqrt": positive(Op.RSQRT),
    "abs": op(Op.ABS),
    "softmax": op(Op.SOFTMAX),
    "softmax of one class": one_class,
    "log_softmax": op(Op.LOG_SOFTMAX),
    "mean of an image": op(Op.MEAN, ReduceAttrs((1, 2))),
    "mean that keeps its axes": op(Op.MEAN, ReduceAttrs((1, 2), keep_dims=True)),
    "mean of channels": op(Op.MEAN, ReduceAttrs((3,), keep_dims=True)),
    "sum": op(Op.SUM, ReduceAttrs((1, 3))),
    "reduce_max": op(Op.REDUCE_MAX, ReduceAttrs((2,))),
    "arg_max": op(Op.ARG_MAX, AxisAttrs(3)),
    "arg_max of rows": op(Op.ARG_MAX, AxisAttrs(1)),
    "pad": op(Op.PAD, PadAttrs(((0, 0), (1, 2), (0, 1), (2, 0)))),
    "pad with ones": op(Op.PAD, PadAttrs(((0, 0), (1, 0), (0, 1), (0, 0)), fill=1.0)),
    "reshape": reshape(10, 12),
    "reshape to images": reshape(12, 5, 2),
    "flatten": reshape(120),
    "transpose": op(Op.TRANSPOSE, TransposeAttrs((0, 3, 1, 2))),
    "concatenation": class_token,
    "slice": op(Op.SLICE, SliceAttrs((0, 1, 0, 3), (1, 2, 5, 2), (1, 2, 1, -2))),
    "slice of everything": op(Op.SLICE, SliceAttrs((0, 0, 0, 0), IMAGE, (1, 1, 1, 1))),
    "slice from the end": op(Op.SLICE, SliceAttrs((0, 5, 0, 0), IMAGE, (1, -1, 1, 1))),
    "gather": gather(3, [2, 0, 2]),
    "gather one": gather(2, 1),
    "gather a table": gather(1, [[0, 1], [5, 3], [2, 2]]),
}  # fmt: skip
BETWEEN = conv((4, 1, 1, 4))


@pytest.mark.parametrize("order", ["graph", "channels first"])
@pytest.mark.parametrize("name", LAYERS)
def test_onnxruntime_computes_the_operator_when_it_reads_either_layout(
    name: str, order: str, run_session: RunSession
) -> None:
    """A convolution before the operator leaves its operand channels first."""
    rng = np.random.default_rng(3)
    build = GraphBuilder("layer", IMAGE)
    x = build.input if order == "graph" else BETWEEN(build, build.input, rng)
    found = LAYERS[name](build, x, rng)
    outputs = [found]
    if order != "graph" and len(build.shape(found)) == 4 and name != "arg_max":
        outputs.append(conv((3, 1, 1, build.shape(found)[3]))(build, found, rng))
    assert_same_function(build.finish(*outputs), run_session)


@pytest.mark.parametrize("rank", [2, 3, 5])
@pytest.mark.parametrize(
    "name", ["fully_connected", "add", "minimum", "softmax", "log_softmax", "gelu", "div"]
)
def test_onnxruntime_computes_the_operator_when_rank_is_not_four(
    name: str, rank: int, run_session: RunSession
) -> None:
    build = GraphBuilder("ranks", (*(1, 3, 5, 2, 4)[: rank - 1], 4))
    found = LAYERS[name](build, build.input, np.random.default_rng(0))
    assert_same_function(build.finish(found), run_session)


MODES = {
    "asymmetric": {},
    "half pixel": {"half_pixel_centers": True},
    "corners": {"align_corners": True},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("word", [Op.RESIZE_NEAREST_NEIGHBOR, Op.RESIZE_BILINEAR])
def test_resize_reads_the_rows_of_the_float_kernel_when_sizes_vary(
    word: Op, mode: str, run_session: RunSession
) -> None:
    for before, after in (((3, 4), (6, 8)), ((5, 7), (7, 5)), ((6, 6), (4, 9)), ((4, 3), (1, 3))):
        build = GraphBuilder("resize", (1, *before, 2))
        found = build.node(word, (build.input,), ResizeAttrs(after, **MODES[mode]))
        assert_same_function(build.finish(found), run_session)


def test_emit_onnx_raises_when_resize_has_corners_and_half_pixels() -> None:
    build = GraphBuilder("both", (1, 4, 4, 1))
    attrs = ResizeAttrs((8, 8), align_corners=True, half_pixel_centers=True)
    with pytest.raises(EmitError, match="choose one of them"):
        emit_onnx(build.finish(build.node(Op.RESIZE_BILINEAR, (build.input,), attrs)))


def codes_of(data: Array, dtype: DType, quant: QuantParams) -> Array:
    """Real numbers as codes: rounded half to even and saturated."""
    limits = np.iinfo(dtype.numpy)
    steps = np.rint(np.float32(data) / np.float32(quant.scale[0])) + quant.zero_point[0]
    return np.clip(steps, limits.min, limits.max).astype(dtype.numpy)


def real(value: Value, data: Array) -> Array:
    return data if value.quant is None else decode(data, value.quant)


def fake_quant(graph: Graph, inputs: dict[str, Array]) -> dict[str, Array]:
    """Codes of every value: dequantized operands, float kernel, rounded output."""
    known = dict(inputs)
    for node in graph.nodes:
        values = [graph.values[name] for name in node.inputs]
        operands = [real(v, known[v.name] if v.data is None else v.data) for v in values]
        converts = node.op in (Op.QUANTIZE, Op.DEQUANTIZE)
        found = operands[0] if converts else FLOAT_KERNELS[node.op](graph, node, *operands)
        output = graph.values[node.output]
        known[node.output] = (
            found if output.quant is None else codes_of(found, output.dtype, output.quant)
        )
    return known


def codes_of_onnxruntime(
    graph: Graph, codes: dict[str, Array], run_session: RunSession
) -> dict[str, Array]:
    """Outputs of the written model for these input codes, as codes."""
    inputs = {name: real(graph.values[name], data) for name, data in codes.items()}
    found = run_session(emit_onnx(graph), inputs)
    return {
        name: data if value.quant is None else codes_of(data, value.dtype, value.quant)
        for name, data in zip(graph.outputs, found, strict=True)
        for value in [graph.values[name]]
    }


def beyond(found: Array, wanted: Array) -> float:
    """Share of outputs that are off by more than one step."""
    return float((np.abs(found.astype(np.int64) - wanted.astype(np.int64)) > 1).mean())


RECIPES = {
    "int8": Recipe(),
    "int16x8": Recipe(activations=ActivationFormat.INT16),
    "int4 weights": Recipe(weights=WeightFormat.INT4),
}
# In int16 LiteRT interpolates a table of 513 entries, and images with weights of ten bits: further
# than a step from the function.
INTERPOLATED = (
    "resize_bilinear",
    "tanh",
    "gelu",
    "approximate gelu",
    "exp",
    "softmax",
    "softmax of one class",
)

ROOTS = ("sqrt", "rsqrt")  # rounding makes zeros of the powers that they read


def quantized_layer(name: str, kind: str) -> tuple[Graph, dict[str, Array]]:
    """A graph of one layer, and codes for its input."""
    rng = np.random.default_rng(4)
    build = GraphBuilder("layer", IMAGE)
    graph = build.finish(LAYERS[name](build, build.input, rng))
    samples = rng.normal(0.3, 1.5, (40, *IMAGE[1:])).astype(np.float32)
    coded = quantize_by(graph, samples, RECIPES[kind]).int8_graph
    limits = np.iinfo(coded.input.dtype.numpy)
    drawn = rng.integers(limits.min, limits.max, (40, *IMAGE[1:]), endpoint=True)
    return coded, {"input": drawn.astype(coded.input.dtype.numpy)}


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ROOTS])
def test_quantized_operator_is_within_one_step_when_onnxruntime_runs_it(
    name: str, kind: str, run_session: RunSession
) -> None:
    graph, codes = quantized_layer(name, kind)
    (found,) = codes_of_onnxruntime(graph, codes, run_session).values()
    output = graph.outputs[0]
    assert beyond(found, fake_quant(graph, codes)[output]) <= 0.001
    if name not in INTERPOLATED or kind != "int16x8":
        assert beyond(found, run_all(graph, codes)[output]) <= 0.001
