"""Import of TensorFlow Lite files: forms that are translated, refused, and damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import ImportModelError, UnsupportedOpError
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Activation, Op
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.reference import run_int8, run_int8_all

MUTATIONS = 500
Edit = Callable[[Any], None]


def edited(data: bytes, edit: Edit) -> bytes:
    """The file after `edit` of its object form."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for operator in model.subgraphs[0].operators:
        operator.inputs = operator.inputs.tolist()
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def small() -> Graph:
    """Convolution, pool, mean and dense: every part of the format in a few kilobytes."""
    rng = np.random.default_rng(5)
    build = GraphBuilder("small", (1, 6, 6, 2))
    x = build.conv2d(
        build.input, rng.normal(0, 1, (4, 3, 3, 2)), padding=((1, 1), (1, 1)),
        activation=Activation.RELU,
    )  # fmt: skip
    x = build.max_pool2d(x, (2, 2), (2, 2))
    x = build.depthwise_conv2d(x, rng.normal(0, 1, (1, 2, 2, 4)))
    return build.finish(build.fully_connected(build.mean(x), rng.normal(0, 1, (3, 4))))


@pytest.mark.parametrize("seed", range(40))
def test_import_gives_the_same_function_when_graph_was_emitted(
    random_graph: Callable[[int], Graph],
    quantized: Callable[[Graph, int], Graph],
    draw_samples: Callable[..., Array],
    seed: int,
) -> None:
    graph = quantized(random_graph(seed), seed)
    imported = import_tflite(emit_tflite(graph), graph.name)
    again = optimize(imported)
    xq = np.random.default_rng(seed).integers(-128, 128, (9, *graph.input.shape[1:]))
    np.testing.assert_array_equal(
        run_int8(again, xq.astype(np.int8)), run_int8(graph, xq.astype(np.int8))
    )
    emitted = emit_tflite(imported)
    assert emit_tflite(import_tflite(emitted, graph.name)) == emitted
    floats = random_graph(seed)
    x = draw_samples(floats, 5, seed)
    back = optimize(import_tflite(emit_tflite(floats), floats.name))
    np.testing.assert_allclose(run_float(back, x), run_float(floats, x), rtol=1e-5, atol=1e-5)


def test_depthwise_of_one_channel_becomes_a_convolution_when_it_multiplies_channels(
    quantized: Callable[[Graph, int], Graph], run_litert: Callable[..., dict[str, Array]]
) -> None:
    rng = np.random.default_rng(0)
    build = GraphBuilder("multiplier", (1, 5, 5, 1))
    x = build.conv2d(build.input, rng.normal(0, 1, (6, 3, 3, 1)), rng.normal(0, 1, 6))
    graph = quantized(build.finish(build.mean(x)), 0)

    def as_depthwise(model: Any) -> None:
        operator = model.subgraphs[0].operators[0]
        weights = model.subgraphs[0].tensors[operator.inputs[1]]
        data = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.int8).reshape(6, 3, 3, 1)
        model.buffers[weights.buffer].data = data.transpose(3, 1, 2, 0).flatten().view(np.uint8)
        weights.shape = [1, 3, 3, 6]
        weights.quantization.quantizedDimension = 3
        code = model.operatorCodes[operator.opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEPTHWISE_CONV_2D
        old, options = operator.builtinOptions, schema.DepthwiseConv2DOptionsT()
        options.padding, options.strideH, options.strideW = old.padding, 1, 1
        options.depthMultiplier = 6
        operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
        operator.builtinOptions = options

    data = edited(emit_tflite(graph), as_depthwise)
    imported = import_tflite(data, "multiplier")
    assert imported.nodes[0].op is Op.CONV_2D
    xq = rng.integers(-128, 128, (1, 5, 5, 1)).astype(np.int8)
    theirs = run_litert(data, xq)
    for name, found in run_int8_all(imported, xq).items():
        np.testing.assert_array_equal(found, theirs[name])


def test_float_ends_are_left_out_when_model_is_int8_between(
    quantized: Callable[[Graph, int], Graph],
) -> None:
    graph = quantized(small(), 0)

    def add_ends(model: Any) -> None:
        inside = model.subgraphs[0]
        first, last = inside.inputs[0], inside.outputs[0]
        for near, op in ((first, "QUANTIZE"), (last, "DEQUANTIZE")):
            tensor = schema.TensorT()
            tensor.name, tensor.shape = op.lower(), inside.tensors[near].shape
            tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0
            inside.tensors.append(tensor)
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, op)
            code.version = 1
            model.operatorCodes.append(code)
            operator = schema.OperatorT()
            operator.opcodeIndex = len(model.operatorCodes) - 1
            added = len(inside.tensors) - 1
            if op == "QUANTIZE":
                operator.inputs, operator.outputs, inside.inputs = [added], [near], [added]
                inside.operators.insert(0, operator)
            else:
                operator.inputs, operator.outputs, inside.outputs = [near], [added], [added]
                inside.operators.append(operator)

    imported = import_tflite(edited(emit_tflite(graph), add_ends), "small")
    assert imported.input.dtype is DType.INT8
    assert [node.op for node in imported.nodes] == [node.op for node in graph.nodes]
    assert imported.output.quant == graph.output.quant


def _set_op(op: str) -> Edit:
    def edit(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode = getattr(schema.BuiltinOperator, op)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = "Fancy\nOp" if op == "CUSTOM" else None

    return edit


def _tensor(model: Any, operator: int, operand: int) -> Any:
    inside = model.subgraphs[0]
    return inside.tensors[inside.operators[operator].inputs[operand]]


def _set_stride(model: Any) -> None:
    model.subgraphs[0].operators[0].builtinOptions.strideH = 0


def _set_activation(model: Any) -> None:
    model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = 4


def _cycle(model: Any) -> None:
    operators = model.subgraphs[0].operators
    operators[0].inputs[0] = operators[1].outputs[0]


def _huge(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [1, 2**30, 2**30, 2**30]


def _free(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [1, -1, 6, 2]


def _batch(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [4, 6, 6, 2]


def _buffer(model: Any) -> None:
    _tensor(model, 0, 1).buffer = 4_000_000


def _short(model: Any) -> None:
    model.buffers[_tensor(model, 0, 1).buffer].data = np.zeros(3, np.uint8)


def _missing_tensor(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs[1] = 900


def _uint8(model: Any) -> None:
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT8:
            tensor.type = schema.TensorType.UINT8


def _scale(value: float) -> Edit:
    def edit(model: Any) -> None:
        _tensor(model, 0, 0).quantization.scale = np.array([value], np.float32)

    return edit


def _asymmetric(model: Any) -> None:
    _tensor(model, 0, 1).quantization.zeroPoint = np.full(4, 3, np.int64)


def _subgraphs(model: Any) -> None:
    model.subgraphs = model.subgraphs * 2


def _two_inputs(model: Any) -> None:
    model.subgraphs[0].inputs = [0, 0]


REFUSED: dict[str, tuple[Edit, type[ImportModelError], str]] = {
    "unknown operator": (_set_op("LSTM"), UnsupportedOpError, r"operator 0 \(LSTM\) giving"),
    "custom operator": (_set_op("CUSTOM"), UnsupportedOpError, r"CUSTOM 'Fancy\\nOp'"),
    "activation": (_set_activation, UnsupportedOpError, "activation of code 4"),
    "stride 0": (_set_stride, ImportModelError, "out of range"),
    "cycle": (_cycle, ImportModelError, "before it is produced"),
    "huge shape": (_huge, ImportModelError, "elements, at most"),
    "free size": (_free, ImportModelError, "fix every size"),
    "batch": (_batch, ImportModelError, "batch of 1"),
    "buffer": (_buffer, ImportModelError, "which is not there"),
    "short buffer": (_short, ImportModelError, "3 bytes"),
    "tensor": (_missing_tensor, ImportModelError, "not there"),
    "uint8": (_uint8, ImportModelError, "uint8 weights.*convert again with full int8"),
    "scale 0": (_scale(0.0), ImportModelError, "quantization"),
    "scale NaN": (_scale(float("nan")), ImportModelError, "quantization"),
    "asymmetric": (_asymmetric, ImportModelError, "symmetric"),
    "subgraphs": (_subgraphs, ImportModelError, "2 subgraphs"),
    "two inputs": (_two_inputs, ImportModelError, "2 inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_import_says_what_is_wrong_when_model_cannot_be_used(
    quantized: Callable[[Graph, int], Graph], name: str
) -> None:
    edit, error, text = REFUSED[name]
    data = edited(emit_tflite(quantized(small(), 0)), edit)
    with pytest.raises(error, match=text) as raised:
        import_tflite(data, "small.tflite")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("small.tflite: ")


def test_import_ends_in_one_line_when_bytes_are_damaged(
    quantized: Callable[[Graph, int], Graph],
) -> None:
    data = emit_tflite(quantized(small(), 0))
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(MUTATIONS):
        damaged = _mutate(data, rng)
        answer = _answer(damaged)
        assert "\n" not in answer
        refused += answer != ""
    assert refused > MUTATIONS // 10


def _answer(data: bytes) -> str:
    """What the import says against the bytes; empty where it takes them."""
    try:
        import_tflite(data, "damaged")
    except ImportModelError as error:
        return str(error)
    return ""


def _mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flipped bits, hostile 32-bit numbers, truncation, or a piece copied over another."""
    buffer = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        for place in rng.integers(8, len(buffer), rng.integers(1, 20)):
            buffer[place] ^= 1 << rng.integers(8)
    elif kind == 1:
        hostile = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, len(data), 1 << 24]
        for place in rng.integers(2, len(buffer) // 4 - 1, rng.integers(1, 8)) * 4:
            struct.pack_into("<I", buffer, place, hostile[rng.integers(len(hostile))])
    elif kind == 2:
        del buffer[rng.integers(8, len(buffer)) :]
    else:
        start, end, size = (int(n) for n in rng.integers(8, len(buffer) // 2, 3))
        buffer[start : start + size] = buffer[end : end + size]
    return bytes(buffer)


def test_import_ends_soon_when_vectors_overlap() -> None:
    # 50,000 entries of one vector name one operator, which has 50,000 operands.
    count = 50_000
    builder = flatbuffers.Builder(1 << 20)
    operands = builder.CreateNumpyVector(np.zeros(count, np.int32))
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, operands)
    operator = schema.OperatorEnd(builder)
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    inside = schema.SubGraphEnd(builder)
    schema.OperatorCodeStart(builder)
    code = schema.OperatorCodeEnd(builder)
    vectors = []
    for table in (inside, code):
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(table)
        vectors.append(builder.EndVector())
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, vectors[0])
    schema.ModelAddOperatorCodes(builder, vectors[1])
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    with pytest.raises(ImportModelError, match=r"overlap|not there"):
        import_tflite(bytes(builder.Output()), "swollen")


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\0" * 64, b"\x08\0\0\0TFL3", b"no model at all"]
)
def test_import_refuses_a_file_when_it_is_no_flatbuffer(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ImportModelError) as raised:
        import_model(path)
    assert "\n" not in str(raised.value)


def test_import_names_the_file_when_it_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImportModelError, match="no such file"):
        import_model(tmp_path / "absent.tflite")
