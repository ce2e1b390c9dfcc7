"""Legacy uint8 files: LiteRT runs the file itself, we run what we made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.encoding import decode
from edgekiln.compiler.errors import ImportModelError
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.importers import import_with_notes
from edgekiln.compiler.importers.tflite import read_model
from edgekiln.compiler.ops import Activation, DenseAttrs, Op
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8

RunLiteRt = Callable[..., dict[str, Array]]
WEIGHTED = (
    schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.FULLY_CONNECTED,
)


def network() -> Graph:
    rng = np.random.default_rng(2)
    build = GraphBuilder("legacy", (1, 8, 8, 3))
    x = build.conv2d(
        build.input, rng.normal(0.3, 0.4, (6, 3, 3, 3)), rng.normal(size=6), stride=(2, 2)
    )
    x = build.depthwise_conv2d(
        x, rng.normal(0.3, 0.4, (1, 2, 2, 6)), rng.normal(size=6), activation=Activation.RELU
    )
    x = build.max_pool2d(x, (2, 2), (1, 1))
    x = build.node(Op.LOGISTIC, (x,))
    return build.finish(build.fully_connected(build.mean(x), rng.normal(0.2, 1.0, (5, 6))))


def samples(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 3)).astype(np.float32)


class Legacy:
    """An int8 file in the object form, on its way to uint8."""

    def __init__(self, data: bytes) -> None:
        self.model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
        self.graph = self.model.subgraphs[0]
        self.weights: dict[int, tuple[int, int]] = {}  # weights -> x, bias
        for operator in self.graph.operators:
            operator.inputs = operator.inputs.tolist()
            code = self.model.operatorCodes[operator.opcodeIndex].builtinCode
            if code in WEIGHTED:
                x, weights, bias = operator.inputs
                self.weights[weights] = (x, bias)

    def data(self, tensor: Any, dtype: type) -> Array:
        raw = bytes(self.model.buffers[tensor.buffer].data)
        return np.frombuffer(raw, dtype).reshape(tensor.shape)

    def put(self, tensor: Any, codes: Array, scale: float, zero_point: int) -> None:
        self.model.buffers[tensor.buffer].data = np.frombuffer(codes.tobytes(), np.uint8)
        tensor.quantization.scale = np.array([scale], np.float32)
        tensor.quantization.zeroPoint = np.array([zero_point], np.int64)
        tensor.quantization.quantizedDimension = 0

    def real(self, tensor: Any, dtype: type) -> Array:
        codes, along = self.data(tensor, dtype), [1] * len(tensor.shape)
        scales = np.asarray(tensor.quantization.scale, np.float64)
        along[tensor.quantization.quantizedDimension] = -1
        return codes * scales.reshape(along)

    def pack(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def uint8(graph: Graph, *, symmetric: bool = False) -> bytes:
    """The file of an int8 graph as converters once wrote it; zero points of 128 if `symmetric`."""
    legacy = Legacy(emit_tflite(graph))
    tensors = legacy.graph.tensors
    for index, (x, bias) in legacy.weights.items():
        real = legacy.real(tensors[index], np.int8)
        low, high = min(real.min(), 0.0), max(real.max(), 0.0)
        if symmetric:
            high = max(high, -low)
            low = -high * 128 / 127
        scale = float(np.float32((high - low) / 255))
        zero_point = round(-low / scale)
        codes = np.clip(np.rint(real / scale) + zero_point, 0, 255).astype(np.uint8)
        offsets = legacy.real(tensors[bias], np.int32)
        product = float(np.float32(tensors[x].quantization.scale[0]) * np.float32(scale))
        legacy.put(tensors[index], codes, scale, zero_point)
        legacy.put(tensors[bias], np.rint(offsets / product).astype(np.int32), product, 0)
        tensors[index].type = schema.TensorType.UINT8
    for tensor in tensors:
        if tensor.type == schema.TensorType.INT8:
            tensor.type = schema.TensorType.UINT8
            tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) + 128
    return legacy.pack()


@pytest.mark.parametrize(("symmetric", "steps"), [(False, 3), (True, 1)])
def test_answers_are_within_steps_of_litert_when_file_is_uint8(
    symmetric: bool, steps: int, run_litert: RunLiteRt
) -> None:
    int8 = quantize(network(), samples(64, 0))
    data = uint8(int8, symmetric=symmetric)
    model = read_model(data, "legacy")
    batch = np.random.default_rng(4).integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    theirs = run_litert(data, batch)[int8.outputs[0]].astype(int)
    ours = run_int8(model.graph, (batch.astype(int) - 128).astype(np.int8)).astype(int) + 128
    assert np.abs(ours - theirs).max() <= steps
    assert np.ptp(theirs) > 100  # or the test says nothing
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.9


def test_encodings_keep_their_meaning_and_weights_come_near_when_file_is_uint8() -> None:
    int8 = quantize(network(), samples(64, 0))
    model = read_model(uint8(int8), "legacy")
    for name, value in model.graph.values.items():
        if value.data is None:
            assert (value.dtype, value.quant) == (DType.INT8, int8.values[name].quant)
    for node in model.graph.nodes:
        if len(node.inputs) == 3:
            weights = model.graph.values[node.inputs[1]]
            assert weights.quant is not None
            assert weights.data is not None
            assert not any(weights.quant.zero_point)
            before = int8.values[node.inputs[1]]
            assert before.quant is not None
            exact = decode(int8.constant(before.name), before.quant)
            found = decode(weights.data, weights.quant)
            assert np.abs(found - exact).max() < 0.012 * np.ptp(exact)


def test_conversion_is_noted_when_weights_were_quantized_again() -> None:
    int8 = quantize(network(), samples(64, 0))
    (note,) = read_model(uint8(int8), "legacy").notes
    assert "'legacy' is a uint8 model; the weights of 3 layers were quantized again" in note
    assert read_model(uint8(int8, symmetric=True), "legacy").notes == ()
    assert read_model(emit_tflite(int8), "int8").notes == ()


def test_import_names_both_layers_when_they_share_uint8_weights() -> None:
    build = GraphBuilder("shared", (1, 4))
    weights = build.constant("w", np.random.default_rng(0).normal(0.3, 1.0, (4, 4)))
    bias = np.zeros(4, np.float32)
    x = build.input
    for name in ("a", "b"):
        x = build.node(Op.FULLY_CONNECTED, (x, weights, build.constant(name, bias)), DenseAttrs())
    int8 = quantize(build.finish(x), np.random.default_rng(1).random((20, 4), np.float32))
    with pytest.raises(ImportModelError, match=r"operator 0 .*operator 1 .*share uint8 weights"):
        read_model(uint8(int8), "shared")


def test_note_comes_with_the_graph_when_a_file_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "legacy.tflite"
    path.write_bytes(uint8(quantize(network(), samples(64, 0))))
    imported = import_with_notes(path)
    assert "uint8" in imported.notes[0]
    assert imported.graph.input.dtype is DType.INT8
