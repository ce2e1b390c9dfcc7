"""The written TensorFlow Lite file: what is in it, and that it computes the graph."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Activation, DenseAttrs, NoAttrs, Op
from edgekiln.compiler.passes import optimize

RunLiteRt = Callable[..., dict[str, Array]]


def every_operator() -> Graph:
    rng = np.random.default_rng(0)
    build = GraphBuilder("every", (1, 12, 12, 3))
    x = build.conv2d(
        build.input, rng.normal(0, 1, (8, 3, 3, 3)), stride=(2, 2), padding=((1, 1), (1, 1))
    )
    y = build.depthwise_conv2d(x, rng.normal(0, 1, (1, 3, 3, 8)), padding=((1, 1), (1, 1)))
    x = build.add(x, y, activation=Activation.RELU)
    x = build.max_pool2d(x, (2, 2), (2, 2))
    x = build.average_pool2d(x, (2, 2), (1, 1))
    y = build.mean(x)
    x = build.reshape(x, (1, 32))
    x = build.fully_connected(x, rng.normal(0, 1, (8, 32)))
    return optimize(build.finish(build.fully_connected(build.add(x, y), np.eye(8)[:5])))


def parse(data: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(data, 0)


@pytest.mark.parametrize("seed", range(12))
def test_emit_tflite_gives_the_same_bytes_when_run_twice(
    seed: int, random_graph: Callable[[int], Graph], quantized: Callable[[Graph, int], Graph]
) -> None:
    graph = random_graph(seed)
    assert emit_tflite(graph) == emit_tflite(random_graph(seed))
    assert emit_tflite(quantized(graph, seed)) == emit_tflite(quantized(random_graph(seed), seed))


def test_emit_tflite_writes_measured_operator_versions_when_graph_is_int8(
    quantized: Callable[[Graph, int], Graph],
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = parse(emit_tflite(quantized(every_operator(), 0)))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    versions = {names[code.builtinCode]: code.version for code in model.operatorCodes}
    assert versions == {
        "PAD": 2,
        "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 3,
        "ADD": 2,
        "MAX_POOL_2D": 2,
        "AVERAGE_POOL_2D": 2,
        "MEAN": 2,
        "RESHAPE": 1,
        "FULLY_CONNECTED": 4,
    }


@pytest.mark.parametrize("seed", range(12))
def test_int8_file_has_no_float_tensor_when_graph_is_random(
    seed: int, random_graph: Callable[[int], Graph], quantized: Callable[[Graph, int], Graph]
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    tensors = parse(emit_tflite(quantized(random_graph(seed), seed))).subgraphs[0].tensors
    allowed = {schema.TensorType.INT8, schema.TensorType.INT32}
    assert {tensor.type for tensor in tensors} <= allowed


def test_weights_are_per_channel_along_the_right_axis_when_graph_is_int8(
    quantized: Callable[[Graph, int], Graph],
) -> None:
    subgraph = parse(emit_tflite(quantized(every_operator(), 0))).subgraphs[0]
    axes = {
        tensor.name: (tensor.quantization.quantizedDimension, len(tensor.quantization.scale))
        for tensor in subgraph.tensors
        if tensor.name.endswith(b".weights")
    }
    assert axes == {
        b"conv2d_0.weights": (0, 8),
        b"depthwise_conv2d_1.weights": (3, 8),
        b"fully_connected_7.weights": (0, 1),
        b"fully_connected_9.weights": (0, 1),
    }


def test_stride_two_padding_becomes_pad_and_valid_when_torch_pads_both_sides(
    quantized: Callable[[Graph, int], Graph],
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = parse(emit_tflite(quantized(every_operator(), 0)))
    first, second, third = model.subgraphs[0].operators[:3]
    codes = [model.operatorCodes[op.opcodeIndex].builtinCode for op in (first, second)]
    assert codes == [schema.BuiltinOperator.PAD, schema.BuiltinOperator.CONV_2D]
    assert second.builtinOptions.padding == schema.Padding.VALID
    assert third.builtinOptions.padding == schema.Padding.SAME  # 3×3, stride 1, 1 on each side


def test_constants_start_at_multiples_of_sixteen_bytes_when_written(
    quantized: Callable[[Graph, int], Graph],
) -> None:
    data = emit_tflite(quantized(every_operator(), 0))
    assert data[4:8] == b"TFL3"
    constants = [bytes(buffer.data) for buffer in parse(data).buffers if buffer.data is not None]
    assert len(constants) > 8
    for constant in constants:
        # A vector is its length and then its bytes; each of these contents occurs aligned.
        pattern = struct.pack("<I", len(constant)) + constant
        starts = [i + 4 for i in range(len(data)) if data.startswith(pattern, i)]
        assert any(start % 16 == 0 for start in starts)


@pytest.mark.parametrize("seed", range(40))
def test_float_file_computes_the_graph_when_graph_is_random(
    seed: int,
    random_graph: Callable[[int], Graph],
    draw_samples: Callable[..., Array],
    run_litert: RunLiteRt,
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 4, seed)
    expected = run_float(graph, x)
    actual = run_litert(emit_tflite(graph), x)[graph.outputs[0]]
    assert np.abs(actual - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


ENCODINGS = {
    DType.FLOAT32: None,
    DType.INT8: QuantParams((0.05,), (3,)),
    DType.INT16: QuantParams((0.001,), (0,)),
}


@pytest.mark.parametrize(
    ("before", "after"),
    [(a, b) for a in ENCODINGS for b in ENCODINGS if a is not b],
)
def test_conversions_of_formats_are_written_when_a_graph_holds_them(
    before: DType, after: DType, run_litert: RunLiteRt
) -> None:
    op = Op.DEQUANTIZE if after is DType.FLOAT32 else Op.QUANTIZE
    values = [Value("x", (1, 3), before, ENCODINGS[before]), Value("y", (1, 3), after,
              ENCODINGS[after])]  # fmt: skip
    node = Node(op, "y", ("x",), ("y",), NoAttrs())
    graph = Graph.build("format", values, [node], ("x",), ("y",))
    check(graph)
    real = np.array([[-1.3, 0.25, 2.0]], np.float32)

    def coded(dtype: DType) -> Array:
        quant = ENCODINGS[dtype]
        if quant is None:
            return real
        return (np.rint(real / quant.scale[0]) + quant.zero_point[0]).astype(dtype.numpy)

    actual = run_litert(emit_tflite(graph), coded(before))["y"]
    np.testing.assert_allclose(actual, coded(after), rtol=1e-5)


def test_halves_are_written_with_their_conversion_when_weights_are_float16(
    run_litert: RunLiteRt,
) -> None:
    weights = np.random.default_rng(0).normal(0, 1, (4, 3)).astype(np.float16)
    values = [
        Value("x", (1, 3), DType.FLOAT32),
        Value("w", (4, 3), DType.FLOAT16, data=weights),
        Value("b", (4,), DType.FLOAT32, data=np.zeros(4, np.float32)),
        Value("y", (1, 4), DType.FLOAT32),
        Value("z", (1, 4), DType.FLOAT32),
    ]
    nodes = [
        Node(Op.FULLY_CONNECTED, name, ("x", "w", "b"), (name,), DenseAttrs(activation))
        for name, activation in (("y", Activation.NONE), ("z", Activation.RELU))
    ]
    graph = Graph.build("halves", values, nodes, ("x",), ("y", "z"))
    check(graph)
    data = emit_tflite(graph)
    model = parse(data)
    assert len(model.subgraphs[0].operators) == 3
    assert max(len(b.data) for b in model.buffers if b.data is not None) == weights.nbytes
    x = np.array([[0.5, -1.0, 2.0]], np.float32)
    found = run_litert(data, x)
    np.testing.assert_allclose(found["y"], x @ weights.T, rtol=1e-6)
    np.testing.assert_allclose(found["z"], np.maximum(found["y"], 0))
    assert import_tflite(_one_output(data), "halves").values["w.float32"].dtype is DType.FLOAT32


def _one_output(data: bytes) -> bytes:
    import flatbuffers

    model = parse(data)
    model.subgraphs[0].outputs = model.subgraphs[0].outputs[:1]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_inputs_and_outputs_keep_their_order_when_there_are_several() -> None:
    build = GraphBuilder("several", (1, 4))
    other = build.add_input("other", (1, 6))
    first = build.fully_connected(build.input, np.ones((2, 4)))
    second = build.fully_connected(other, np.ones((3, 6)))
    inside = parse(emit_tflite(build.finish(second, first))).subgraphs[0]
    names = [tensor.name.decode() for tensor in inside.tensors]
    assert [names[index] for index in inside.inputs] == ["input", "other"]
    assert [names[index] for index in inside.outputs] == [second, first]


def test_operands_of_the_format_are_written_once_when_they_are_equal() -> None:
    build = GraphBuilder("twice", (1, 4))
    first = build.reshape(build.input, (1, 2, 2))
    second = build.reshape(build.fully_connected(build.input, np.ones((4, 4))), (1, 2, 2))
    inside = parse(emit_tflite(build.finish(first, second))).subgraphs[0]
    names = [tensor.name.decode() for tensor in inside.tensors]
    assert [name for name in names if name.endswith(".operand0")] == [f"{first}.operand0"]


@pytest.mark.parametrize(
    ("dtype", "description"),
    [
        (DType.FLOAT32, b"edgekiln float32"),
        (DType.INT8, b"edgekiln int8.v1"),
        (DType.INT16, b"edgekiln int16x8.v1"),
    ],
)
def test_description_names_the_contract_when_there_are_integers(
    dtype: DType, description: bytes
) -> None:
    values = [Value(name, (1, 3), dtype, ENCODINGS[dtype]) for name in ("x", "y")]
    node = Node(Op.RESHAPE, "y", ("x",), ("y",), NoAttrs())
    model = parse(emit_tflite(Graph.build("plain", values, [node], ("x",), ("y",))))
    assert model.description == description


def test_emit_tflite_raises_when_graph_is_not_optimized() -> None:
    build = GraphBuilder("raw", (1, 4))
    with pytest.raises(EmitError, match="TensorFlow Lite has no float32"):
        emit_tflite(build.finish(build.batch_norm(build.input, np.ones(4), np.zeros(4))))
