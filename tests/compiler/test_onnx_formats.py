"""Number formats and names in the written ONNX model: what is stored, and what it says."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.encoding import decode
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.onnx_tensors import narrow_bias
from edgekiln.compiler.ops import (
    Activation,
    AxisAttrs,
    BinaryAttrs,
    ConvAttrs,
    DenseAttrs,
    GeluAttrs,
    NoAttrs,
    Op,
    ReduceAttrs,
)
from edgekiln.compiler.reference import quantize_input, run_int8

Quantized = Callable[[Graph, int], Graph]
RunSession = Callable[[bytes, dict[str, Array]], list[Array]]


def small() -> Graph:
    rng = np.random.default_rng(5)
    build = GraphBuilder("small", (1, 6, 6, 2))
    x = build.conv2d(build.input, rng.normal(0, 1, (4, 3, 3, 2)), activation=Activation.RELU)
    return build.finish(build.fully_connected(build.mean(x), rng.normal(0, 1, (3, 4))))


def opset(graph: Graph) -> tuple[int, int]:
    model = onnx.load_from_string(emit_onnx(graph))
    return model.opset_import[0].version, model.ir_version


def with_values(graph: Graph, *changed: Value) -> Graph:
    return graph.replace(values=(graph.values | {value.name: value for value in changed}).values())


def test_opset_is_the_lowest_that_will_do_when_graphs_differ(quantized: Quantized) -> None:
    assert opset(small()) == (17, 8)
    assert opset(quantized(small(), 0)) == (17, 8)
    build = GraphBuilder("gelu", (1, 4))
    assert opset(build.finish(build.node(Op.GELU, (build.input,), GeluAttrs()))) == (20, 9)
    graph = quantized(small(), 0)
    weights = graph.values[graph.nodes[0].inputs[1]]
    assert weights.data is not None
    assert opset(with_values(graph, narrow(weights))) == (21, 10)


@pytest.mark.parametrize("word", [Op.MEAN, Op.SUM, Op.REDUCE_MAX])
def test_reduction_names_its_axes_as_the_opset_does_when_opset_is_new(
    word: Op, run_session: RunSession
) -> None:
    rng = np.random.default_rng(0)
    build = GraphBuilder("reduce", (1, 5, 3))
    x = build.node(Op.GELU, (build.input,), GeluAttrs(approximate=True))
    graph = build.finish(build.node(word, (x,), ReduceAttrs((1,), keep_dims=True)))
    batch = rng.normal(0, 1, (2, 5, 3)).astype(np.float32)
    (found,) = run_session(emit_onnx(graph), {"input": batch})
    np.testing.assert_allclose(found, run_float(graph, batch), rtol=1e-5, atol=1e-6)


def narrow(weights: Value) -> Value:
    """int8 weights as int4, a sixteenth as fine."""
    assert weights.data is not None
    assert weights.quant is not None
    data = np.clip(np.rint(weights.data / 16), -7, 7).astype(np.int8)
    scale = tuple(float(np.float32(step * 16)) for step in weights.quant.scale)
    quant = dataclasses.replace(weights.quant, scale=scale)
    return dataclasses.replace(weights, dtype=DType.INT4, data=data, quant=quant)


def test_int4_weights_take_half_a_byte_when_written(quantized: Quantized) -> None:
    graph = quantized(small(), 0)
    weights = narrow(graph.values[graph.nodes[0].inputs[1]])
    model = onnx.load_from_string(emit_onnx(with_values(graph, weights)))
    (stored,) = (t for t in model.graph.initializer if t.dims == [4, 2, 3, 3])
    assert stored.data_type == onnx.TensorProto.INT4
    assert len(stored.raw_data) == 4 * 2 * 3 * 3 // 2
    assert weights.data is not None
    wanted = weights.data.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(numpy_helper.to_array(stored).astype(np.int8), wanted)


@pytest.mark.parametrize("word", [Op.FULLY_CONNECTED, Op.MUL])
def test_float16_weights_are_stored_as_such_when_graph_dequantizes_them(
    word: Op, run_session: RunSession
) -> None:
    rng = np.random.default_rng(2)
    half = rng.normal(0, 1, (4, 4)).astype(np.float16)
    values = [
        Value("input", (1, 4, 4), DType.FLOAT32),
        Value("half", (4, 4), DType.FLOAT16, data=half),
        Value("weights", (4, 4), DType.FLOAT32),
        Value("bias", (4,), DType.FLOAT32, data=np.arange(4, dtype=np.float32)),
        Value("output", (1, 4, 4), DType.FLOAT32),
    ]
    dense = word is Op.FULLY_CONNECTED
    operands = ("input", "weights", "bias") if dense else ("input", "weights")
    nodes = [
        Node(Op.DEQUANTIZE, "wide", ("half",), ("weights",), NoAttrs()),
        Node(word, "product", operands, ("output",), DenseAttrs() if dense else BinaryAttrs()),
    ]
    model = emit_onnx(Graph.build("half", values, nodes, ("input",), ("output",)))
    stored = {t.name: t for t in onnx.load_from_string(model).graph.initializer}
    assert [t.data_type for t in stored.values()].count(onnx.TensorProto.FLOAT16) == 1
    x = rng.normal(0, 1, (2, 4, 4)).astype(np.float32)
    wide = half.astype(np.float32)
    wanted = x @ wide.T + np.arange(4) if dense else x * wide
    (found,) = run_session(model, {"input": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def sixteen_bits(bias: int) -> tuple[Graph, float]:
    """A dense layer of int16 activations with this int64 bias; and its output's scale."""
    step, out = 2.0**-10, 2.0**10
    values = [
        Value("input", (1, 1), DType.INT16, QuantParams((step,), (0,))),
        Value(
            "weights", (1, 1), DType.INT8, QuantParams((1.0,), (0,), 0),
            np.array([[2]], np.int8),
        ),
        Value("bias", (1,), DType.INT64, QuantParams((step,), (0,), 0), np.array([bias])),
        Value("output", (1, 1), DType.INT16, QuantParams((out,), (0,))),
    ]  # fmt: skip
    operands = ("input", "weights", "bias")
    node = Node(Op.FULLY_CONNECTED, "dense", operands, ("output",), DenseAttrs())
    graph = Graph.build("wide", values, [node], ("input",), ("output",))
    check(graph)
    return graph, out


@pytest.mark.parametrize("bias", [5, -(2**31) + 1, 2**34, -(2**34) - 2**20])
def test_int64_bias_keeps_its_sum_when_written_as_int32(bias: int, run_session: RunSession) -> None:
    graph, step = sixteen_bits(bias)
    model = emit_onnx(graph)
    kinds = {t.data_type for t in onnx.load_from_string(model).graph.initializer}
    assert onnx.TensorProto.INT64 not in kinds
    assert onnx.TensorProto.INT32 in kinds
    (found,) = run_session(model, {"input": np.array([[3.0]], np.float32)})
    assert found.item() == np.rint((6.0 + bias * 2.0**-10) / step) * step


def test_narrow_bias_is_within_half_a_coarse_step_when_codes_do_not_fit() -> None:
    codes = np.array([7, 2**31 - 1, 2**31, -(2**31), 3**25, -(2**40) + 1])
    found, scale = narrow_bias(codes, np.full(6, 0.5))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(scale[:4], [0.5, 0.5, 1.0, 1.0])
    np.testing.assert_array_equal(found[:4], [7, 2**31 - 1, 2**30, -(2**30)])
    assert (np.abs(found * np.float64(scale) - codes * 0.5) <= scale / 2).all()


def test_islands_of_floats_are_written_when_graph_changes_formats(
    quantized: Quantized, run_session: RunSession
) -> None:
    """int8 convolution → dequantize → exp in float → quantize → dequantize → output."""
    before = quantized(small(), 0)
    middle = before.output
    wide = Value("wide", (1, 3), DType.FLOAT32)
    raised = Value("raised", (1, 3), DType.FLOAT32)
    coded = Value("coded", (1, 3), DType.INT8, QuantParams((0.25,), (-128,)))
    end = Value("end", (1, 3), DType.FLOAT32)
    nodes = (
        Node(Op.DEQUANTIZE, "widen", (middle.name,), ("wide",), NoAttrs()),
        Node(Op.EXP, "exp", ("wide",), ("raised",), NoAttrs()),
        Node(Op.QUANTIZE, "code", ("raised",), ("coded",), NoAttrs()),
        Node(Op.DEQUANTIZE, "decode", ("coded",), ("end",), NoAttrs()),
    )
    values = (*before.values.values(), wide, raised, coded, end)
    names = ("end", "raised", middle.name)
    graph = Graph.build("mixed", values, before.nodes + nodes, before.inputs, names)
    check(graph)
    x = np.random.default_rng(1).normal(0, 1, (5, 6, 6, 2)).astype(np.float32)
    found = run_session(emit_onnx(graph), {"input": x})
    codes = run_int8(before, quantize_input(before, x))
    assert middle.quant is not None
    real = decode(codes, middle.quant)
    step = middle.quant.scale[0]
    np.testing.assert_allclose(found[2], real, atol=1.01 * step)
    np.testing.assert_allclose(found[1], np.exp(found[2]), rtol=1e-5)
    np.testing.assert_allclose(found[0], np.clip(np.rint(found[1] / 0.25), 0, 255) * 0.25)


@pytest.mark.parametrize("word", [Op.CONV_2D, Op.FULLY_CONNECTED])
def test_float_island_keeps_its_float_weights_when_onnxruntime_optimizes(
    word: Op, run_session: RunSession
) -> None:
    """dequantize → float layer → quantize, one weight too small for int8 beside a large one."""
    rng = np.random.default_rng(0)
    conv = word is Op.CONV_2D
    shape, made = ((1, 4, 4, 2), (1, 4, 4, 3)) if conv else ((1, 2), (1, 3))
    weights = rng.normal(0, 0.1, (3, 1, 1, 2) if conv else (3, 2)).astype(np.float32)
    weights[..., 0] = 100.0
    fine = QuantParams((2.0**-8,), (0,))
    values = [
        Value("input", shape, DType.INT8, QuantParams((1.0,), (0,))),
        Value("wide", shape, DType.FLOAT32),
        Value("weights", weights.shape, DType.FLOAT32, data=weights),
        Value("bias", (3,), DType.FLOAT32, data=np.zeros(3, np.float32)),
        Value("made", made, DType.FLOAT32),
        Value("output", made, DType.INT8, fine),
    ]
    nodes = [
        Node(Op.DEQUANTIZE, "widen", ("input",), ("wide",), NoAttrs()),
        Node(word, "layer", ("wide", "weights", "bias"), ("made",),
             ConvAttrs() if conv else DenseAttrs()),
        Node(Op.QUANTIZE, "code", ("made",), ("output",), NoAttrs()),
    ]  # fmt: skip
    graph = Graph.build("island", values, nodes, ("input",), ("output",))
    check(graph)
    x = np.zeros((4, *shape[1:]), np.float32)
    x[..., 1] = rng.integers(-2, 3, x[..., 1].shape)
    (found,) = run_session(emit_onnx(graph), {"input": x})
    wanted = np.rint(x @ weights.reshape(3, 2).T * 2**8) / 2**8
    np.testing.assert_array_equal(found, np.clip(wanted, -0.5, 127 / 256))


def test_inputs_and_outputs_keep_their_names_and_order_when_there_are_several(
    run_session: RunSession,
) -> None:
    rng = np.random.default_rng(0)
    build = GraphBuilder("two", (1, 4, 4, 2))
    other = build.add_input("state", (1, 3))
    x = build.conv2d(build.input, rng.normal(0, 1, (3, 2, 2, 2)))
    joined = build.add(build.mean(x), other)
    graph = build.finish(joined, x)
    model = emit_onnx(graph)
    written = onnx.load_from_string(model).graph
    assert [info.name for info in written.input] == ["input", "state"]
    assert [info.name for info in written.output] == [joined, x]
    image = rng.normal(0, 1, (2, 4, 4, 2)).astype(np.float32)
    state = rng.normal(0, 1, (2, 3)).astype(np.float32)
    sums, convolved = run_session(model, {"state": state, "input": image})
    assert convolved.shape == (2, 3, 3, 3)
    np.testing.assert_allclose(sums, convolved.mean(axis=(1, 2)) + state, rtol=1e-5, atol=1e-5)


def test_arg_max_gives_integers_when_it_is_an_output(run_session: RunSession) -> None:
    build = GraphBuilder("largest", (1, 2, 5))
    graph = build.finish(build.node(Op.ARG_MAX, (build.input,), AxisAttrs(2)))
    x = np.random.default_rng(0).normal(0, 1, (3, 2, 5)).astype(np.float32)
    x[0, 0, 1] = x[0, 0, 4] = 9.0  # the first of equals
    (found,) = run_session(emit_onnx(graph), {"input": x})
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, x.argmax(axis=2))


def test_names_stay_apart_when_the_graph_bears_those_that_are_made_up(
    run_session: RunSession,
) -> None:
    rng = np.random.default_rng(0)
    values = [
        Value("x", (1, 5, 5, 2), DType.FLOAT32),
        Value("y.raw", (3, 2, 2, 2), DType.FLOAT32, data=rng.normal(0, 1, (3, 2, 2, 2))),
        Value("x.nchw", (3,), DType.FLOAT32, data=np.zeros(3)),
        Value("y", (1, 4, 4, 3), DType.FLOAT32),
        Value("y.nhwc", (1, 4, 4, 3), DType.FLOAT32),
    ]
    values = [
        v if v.data is None else dataclasses.replace(v, data=v.data.astype(np.float32))
        for v in values
    ]
    nodes = [
        Node(Op.CONV_2D, "conv", ("x", "y.raw", "x.nchw"), ("y",), ConvAttrs()),
        Node(Op.TANH, "tanh", ("y",), ("y.nhwc",), NoAttrs()),
    ]
    graph = Graph.build("names", values, nodes, ("x",), ("y.nhwc", "y"))
    check(graph)
    x = rng.normal(0, 1, (2, 5, 5, 2)).astype(np.float32)
    found, raw = run_session(emit_onnx(graph), {"x": x})
    np.testing.assert_allclose(found, np.tanh(raw), rtol=1e-5)
    np.testing.assert_allclose(found, run_float(graph, x), rtol=1e-4, atol=1e-5)


def test_weights_are_written_once_when_many_nodes_read_them() -> None:
    rng = np.random.default_rng(0)
    build = GraphBuilder("steps", (1, 4))
    weights = build.constant("weights", rng.normal(0, 1, (4, 4)))
    bias = build.constant("bias", rng.normal(0, 1, 4))
    x = build.input
    for _ in range(5):
        x = build.node(Op.FULLY_CONNECTED, (x, weights, bias), DenseAttrs())
    model = onnx.load_from_string(emit_onnx(build.finish(x)))
    assert sum(tensor.dims == [4, 4] for tensor in model.graph.initializer) == 1


def test_clamp_is_fused_behind_an_integer_convolution_when_its_range_is_wider(
    quantized: Quantized, tmp_path_factory: pytest.TempPathFactory, run_session: RunSession
) -> None:
    """A scale whose codes reach beyond six: rounding does not clamp, the convolution still is
    of integers."""
    import onnxruntime

    rng = np.random.default_rng(3)
    build = GraphBuilder("six", (1, 6, 6, 3))
    x = build.conv2d(build.input, rng.normal(0, 1, (4, 3, 3, 3)), activation=Activation.RELU6)
    graph = quantized(build.finish(x), 0)
    value = graph.output
    wider = dataclasses.replace(value, quant=QuantParams((8 / 255,), (-120,)))
    graph = with_values(graph, wider)
    path = tmp_path_factory.mktemp("onnx") / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path)
    model = emit_onnx(graph)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert (kinds["QLinearConv"], kinds["Conv"]) == (1, 0)
    x_real = rng.normal(0, 2, (20, 6, 6, 3)).astype(np.float32)
    (found,) = run_session(model, {"input": x_real})
    codes = np.rint(found / np.float32(8 / 255)) - 120
    expected = run_int8(graph, quantize_input(graph, x_real))
    assert expected.max() == round(6 / (8 / 255)) - 120  # the clamp is reached
    assert np.abs(codes - expected).max() <= 1


def test_emit_onnx_raises_when_a_graph_gives_back_its_input() -> None:
    build = GraphBuilder("nothing", (1, 4))
    with pytest.raises(EmitError, match="'input' to be one input or one output only"):
        emit_onnx(build.finish(build.input))


def test_emit_onnx_raises_when_a_pool_sees_nothing_but_padding() -> None:
    build = GraphBuilder("padding", (1, 6, 6, 1))
    x = build.average_pool2d(build.input, (2, 2), (1, 1), ((2, 0), (0, 0)))
    with pytest.raises(EmitError, match="pad less, or in a layer of its own"):
        emit_onnx(build.finish(x))
