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
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Activation
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
        b"fully_connected_7.weights": (0, 8),
        b"fully_connected_9.weights": (0, 5),
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


def test_emit_tflite_raises_when_graph_is_not_optimized() -> None:
    build = GraphBuilder("raw", (1, 4))
    with pytest.raises(EmitError, match="TensorFlow Lite has no float32"):
        emit_tflite(build.finish(build.batch_norm(build.input, np.ones(4), np.zeros(4))))
