"""Operators of files that we do not write ourselves: imported, they are what LiteRT runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import ImportModelError
from edgekiln.compiler.graph import Array
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_all

RunSamples = Callable[..., tuple[Array, ...]]
NORMAL = np.random.default_rng(7).normal


FORMATS = (np.float32, np.int8, np.int16)
ANY_VERSION = (1, 2, 4)  # of an operator, by format
VERSIONS = {
    **dict.fromkeys(("TRANSPOSE_CONV", "RESIZE_BILINEAR"), (3, 3, 3)),
    **dict.fromkeys(("MIRROR_PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D"), (1, 2, 3)),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), (1, 1, 1)),
}


@dataclass(frozen=True)
class State:
    """An operand that lives from one invocation to the next; without a shape, one left out."""

    shape: tuple[int, ...] = ()


ABSENT = State()


@dataclass(frozen=True)
class Written:
    """One operator: `operands` in order, None for the input; constants as arrays."""

    name: str
    shape: tuple[int, ...]
    operands: tuple[Array | State | None, ...]
    outputs: tuple[tuple[int, ...], ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    table: str = ""  # of the options; NONE where there is none
    tensor: type = np.float32  # of input and outputs


def ints(*numbers: Any) -> Array:
    return np.array(numbers if len(numbers) != 1 else numbers[0], np.int32)


def floats(*shape: int) -> Array:
    return NORMAL(0, 1, shape).astype(np.float32)


def file_of(written: Written) -> bytes:
    import flatbuffers

    model, inside, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.subgraphs, model.buffers = 3, [inside], [schema.BufferT()]
    inside.tensors = []

    def tensor(name: str, shape: tuple[int, ...], dtype: Any, data: Array | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), 0
        made.type = getattr(schema.TensorType, np.dtype(dtype).name.upper())
        if made.type in (schema.TensorType.INT8, schema.TensorType.INT16):
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.array([0.05], np.float32)
            made.quantization.zeroPoint = np.array([0 if dtype == np.int16 else -9], np.int64)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        inside.tensors.append(made)
        return len(inside.tensors) - 1

    entry = tensor("x", written.shape, written.tensor)

    def operand(place: int, data: Array | State | None) -> int:
        if data is None:
            return entry
        if isinstance(data, State):
            if not data.shape:
                return -1
            state = tensor(f"c{place}", data.shape, np.float32)
            inside.tensors[state].isVariable = True
            return state
        return tensor(f"c{place}", data.shape, data.dtype, data)

    operator.inputs = [operand(*pair) for pair in enumerate(written.operands)]
    operator.outputs = [
        tensor(f"y{place}", shape, written.tensor) for place, shape in enumerate(written.outputs)
    ]
    inside.inputs, inside.outputs = [entry], [operator.outputs[-1]]
    table = written.table or f"{written.name.title().replace('_', '')}Options"
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
    if table != "NONE":
        operator.builtinOptions = getattr(schema, f"{table}T")()
        vars(operator.builtinOptions).update(written.options)
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, written.name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = VERSIONS.get(written.name, ANY_VERSION)[FORMATS.index(written.tensor)]
    model.operatorCodes, inside.operators = [code], [operator]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def strided(
    shape: tuple[int, ...], rows: tuple[Any, Any, Any], output: tuple[int, ...], **masks: Any
) -> Written:
    operands = (None, *(ints(row) for row in rows))
    return Written("STRIDED_SLICE", shape, operands, (output,), masks)


def pool(
    name: str, output: tuple[int, ...], kernel: tuple[int, int], stride: int, clamp: int
) -> Written:
    steps = {"strideH": stride, "strideW": stride, "fusedActivationFunction": clamp}
    window = {"filterHeight": kernel[0], "filterWidth": kernel[1]}
    return Written(name, (1, 6, 5, 2), (None,), (output,), steps | window, "Pool2DOptions")


def lstm(
    steps: int,
    features: int,
    cells: int,
    *,
    coupled: bool = False,
    peepholes: bool = False,
    projected: int = 0,
    cell_clip: float = 0.0,
) -> Written:
    size = projected or cells
    first: list[Array | State] = [ABSENT] if coupled else []
    gates = 3 if coupled else 4
    products = [*first, *(floats(cells, features) / 2 for _ in range(gates))]
    recurrent = [*first, *(floats(cells, size) / 2 for _ in range(gates))]
    looks: list[Array | State] = [ABSENT] * 3
    if peepholes:
        looks = [*first, *(floats(cells) for _ in range(gates - 1))]
    biases = [*first, *(floats(cells) for _ in range(gates))]
    project: list[Array | State] = [ABSENT, ABSENT]
    if projected:
        project = [floats(projected, cells), floats(projected)]
    states = [State((1, size)), State((1, cells))]
    return Written(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        (1, steps, features),
        (None, *products, *recurrent, *looks, *biases, *project, *states),
        ((1, steps, size),),
        {"fusedActivationFunction": 4, "cellClip": cell_clip, "projClip": 0.5 * bool(projected)},
        "UnidirectionalSequenceLSTMOptions",
    )


FILES: dict[str, Written] = {
    "lstm": lstm(5, 3, 4),
    "lstm_of_one_step": lstm(1, 2, 3, cell_clip=10.0),
    "lstm_clipped": lstm(6, 3, 4, cell_clip=0.3),
    "lstm_coupled": lstm(4, 3, 2, coupled=True),
    "lstm_with_peepholes": lstm(4, 2, 3, peepholes=True),
    "lstm_projected": lstm(4, 3, 5, projected=2),
    "split": Written("SPLIT", (1, 4, 6), (ints(-1), None), ((1, 4, 2),) * 3, {"numSplits": 3}),
    "split_v": Written(
        "SPLIT_V",
        (1, 7, 2),
        (None, ints([3, -1, 2]), ints(1)),
        ((1, 3, 2), (1, 2, 2), (1, 2, 2)),
        {"numSplits": 3},
        "SplitVOptions",
    ),
    "unpack": Written("UNPACK", (1, 3, 4), (None,), ((1, 4),) * 3, {"num": 3, "axis": 1}),
    "pack": Written("PACK", (1, 3), (None, None), ((1, 2, 3),), {"valuesCount": 2, "axis": 1}),
    "expand": Written("EXPAND_DIMS", (1, 5), (None, ints(1)), ((1, 1, 5),)),
    "squeeze": Written("SQUEEZE", (1, 1, 5, 1), (None,), ((1, 5),), {"squeezeDims": [1, 3]}),
    "slice": Written("SLICE", (1, 5, 6), (None, ints(0, 1, 2), ints(1, -1, 3)), ((1, 4, 3),)),
    "strided": strided((1, 9, 4), ([0, 1, 0], [1, 8, 4], [1, 3, 2]), (1, 3, 2)),
    "strided_from_the_end": strided((1, 9, 4), ([0, -4, -1], [1, -1, 0], [1, 2, -2]), (1, 2, 2)),
    "strided_masks": strided(
        (1, 9, 4), ([0, 5, 3], [0, 2, 1], [1, 2, -1]), (1, 5, 2), beginMask=2, endMask=3
    ),
    "strided_beyond": strided((1, 5), ([0, 1], [1, 99], [1, 1]), (1, 4)),
    "strided_shrink": strided(
        (1, 6, 4), ([0, -2, 0], [1, -1, 3], [1, 1, 1]), (1, 3), shrinkAxisMask=2
    ),
    "strided_ellipsis": strided(
        (1, 3, 4, 5), ([0, 0, 1], [0, 0, 3], [1, 1, 1]), (1, 3, 4, 2), ellipsisMask=2, beginMask=1,
        endMask=1,
    ),
    "strided_new_axis": strided(
        (1, 4), ([0, 0, 1], [1, 0, 3], [1, 1, 1]), (1, 1, 2), newAxisMask=2
    ),
    "transpose": Written("TRANSPOSE", (1, 2, 3, 4), (None, ints(0, 2, 3, 1)), ((1, 3, 4, 2),)),
    "transpose_of_ones": Written("TRANSPOSE", (1, 1, 4), (None, ints(1, 2, 0)), ((1, 4, 1),)),
    "concatenation": Written(
        "CONCATENATION", (1, 3, 2), (None, floats(1, 3, 4), None), ((1, 3, 8),), {"axis": -1}
    ),
    "gather": Written("GATHER", (1, 5, 2), (None, ints(4, 0, 0)), ((1, 3, 2),), {"axis": 1}),
    "gather_one": Written("GATHER", (1, 5, 2), (None, ints(3)), ((1, 2),), {"axis": 1}),
    "gather_square": Written(
        "GATHER", (1, 2, 5), (None, ints([[1, 2], [0, 4]])), ((1, 2, 2, 2),), {"axis": -1}
    ),
    "pad": Written("PAD", (1, 3, 2), (None, ints([[0, 0], [1, 2], [0, 3]])), ((1, 6, 5),)),
    "pad_with": Written(
        "PADV2",
        (1, 3),
        (None, ints([[0, 0], [2, 1]]), np.array([-2.5], np.float32)),
        ((1, 6),),
        table="PadV2Options",
    ),
    "mirror": Written(
        "MIRROR_PAD",
        (1, 4, 3, 2),
        (None, ints([[0, 0], [2, 3], [1, 0], [0, 1]])),
        ((1, 9, 4, 3),),
        {"mode": 0},
    ),
    "mirror_symmetric": Written(
        "MIRROR_PAD", (1, 4, 3), (None, ints([[0, 0], [4, 1], [0, 2]])), ((1, 9, 5),), {"mode": 1}
    ),
    "matmul": Written(
        "BATCH_MATMUL", (1, 3, 4), (None, floats(4, 5)), ((1, 3, 5),), table="BatchMatMulOptions"
    ),
    "matmul_adjoint": Written(
        "BATCH_MATMUL",
        (1, 2, 3, 4),
        (None, floats(1, 2, 5, 3)),
        ((1, 2, 4, 5),),
        {"adjX": True, "adjY": True},
        "BatchMatMulOptions",
    ),
    "dense_flat": Written(
        "FULLY_CONNECTED", (1, 2, 3), (None, floats(4, 6), floats(4)), ((1, 4),)
    ),
    "dense_rows": Written(
        "FULLY_CONNECTED", (1, 5, 6), (None, floats(4, 6)), ((1, 5, 4),), {"keepNumDims": True}
    ),
    "transpose_conv_same": Written(
        "TRANSPOSE_CONV",
        (1, 4, 3, 2),
        (ints(1, 7, 6, 3), floats(3, 3, 3, 2), None),
        ((1, 7, 6, 3),),
        {"padding": 0, "strideH": 2, "strideW": 2},
        "TransposeConvOptions",
    ),
    "transpose_conv_valid": Written(
        "TRANSPOSE_CONV",
        (1, 4, 3, 2),
        (ints(1, 9, 8, 3), floats(3, 3, 4, 2), None, floats(3)),
        ((1, 9, 8, 3),),
        {"padding": 1, "strideH": 2, "strideW": 2},
        "TransposeConvOptions",
    ),
    "max_pool_clamped": pool("MAX_POOL_2D", (1, 3, 3, 2), (3, 2), 2, 1),
    "average_pool_clamped": pool("AVERAGE_POOL_2D", (1, 6, 5, 2), (2, 2), 1, 3),
    "depth_to_space": Written(
        "DEPTH_TO_SPACE", (1, 2, 3, 8), (None,), ((1, 4, 6, 2),), {"blockSize": 2}
    ),
    "space_to_depth": Written(
        "SPACE_TO_DEPTH", (1, 6, 3, 2), (None,), ((1, 2, 1, 18),), {"blockSize": 3}
    ),
    "tile": Written("TILE", (1, 2, 3), (None, ints(1, 3, 2)), ((1, 6, 6),)),
    "reverse": Written(
        "REVERSE_V2", (1, 3, 4), (None, ints([-1])), ((1, 3, 4),), table="ReverseV2Options"
    ),
    "resize": Written(
        "RESIZE_BILINEAR",
        (1, 3, 4, 2),
        (None, ints(5, 9)),
        ((1, 5, 9, 2),),
        {"halfPixelCenters": True},
        "ResizeBilinearOptions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_imported_operator_gives_what_litert_gives_when_written_elsewhere(
    name: str, run_litert_samples: RunSamples
) -> None:
    written = FILES[name]
    data = file_of(written)
    x = np.random.default_rng(3).normal(0, 1, (3, *written.shape[1:])).astype(np.float32)
    graph = import_tflite(data, name)
    actual = run_all(graph, {"x": x})[graph.outputs[0]]
    expected = run_litert_samples(data, {"x": x})[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    again = run_litert_samples(emit_tflite(graph), {"x": x})[0]
    np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-5)


INTEGERS = (
    *("split", "strided_masks", "gather", "pad", "mirror", "unpack"),
    *("max_pool_clamped", "average_pool_clamped", "depth_to_space", "space_to_depth"),
)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name in INTEGERS
        for dtype in (np.int8, np.int16)
        # LiteRT has none of these in int16
        if dtype == np.int8 or name not in ("unpack", "depth_to_space", "space_to_depth")
    ],
)
def test_imported_move_gives_the_bytes_of_litert_when_it_moves_integers(
    name: str, dtype: Any, run_litert_samples: RunSamples
) -> None:
    fields = {key: getattr(FILES[name], key) for key in FILES[name].__dataclass_fields__}
    data = file_of(Written(**fields | {"tensor": dtype}))
    limits, shape = np.iinfo(dtype), FILES[name].shape
    x = np.random.default_rng(3).integers(limits.min, limits.max, (3, *shape[1:])).astype(dtype)
    graph = import_tflite(data, name)
    actual = run_all(graph, {"x": x})[graph.outputs[0]]
    np.testing.assert_array_equal(actual, run_litert_samples(data, {"x": x})[0])


def test_pad_with_minus_infinity_holds_the_lowest_number_when_imported() -> None:
    operands = (None, ints([[0, 0], [1, 0]]), np.array([-np.inf], np.float32))
    written = Written("PADV2", (1, 2), operands, ((1, 3),), table="PadV2Options")
    graph = import_tflite(file_of(written), "pad")
    padded = run_all(graph, {"x": np.ones((1, 2), np.float32)})["y0"]
    assert padded.tolist() == [[float(np.finfo(np.float32).min), 1.0, 1.0]]


REFUSED: dict[str, tuple[Written, str]] = {
    "lstm in integers": (dataclasses.replace(FILES["lstm"], tensor=np.int8), "is no int8 of"),
    "lstm over time first": (
        dataclasses.replace(FILES["lstm"], options={"timeMajor": True}),
        "not \\(1, steps, features\\)",
    ),
    "concatenation with an activation": (
        Written(
            "CONCATENATION",
            (1, 3),
            (None, None),
            ((1, 6),),
            {"axis": 1, "fusedActivationFunction": 1},
        ),
        "LiteRT fuses no activation",
    ),
    "gather of an index that is not there": (
        Written("GATHER", (1, 5), (None, ints([5])), ((1, 1),), {"axis": 1}),
        "index out of range",
    ),
    "gather by a computed index": (
        Written("GATHER", (1, 5), (None, None), ((1, 1),), {"axis": 1}),
        "is computed",
    ),
    "split into unequal parts": (
        Written("SPLIT", (1, 5), (ints(1), None), ((1, 2),) * 2, {"numSplits": 2}),
        "splits",
    ),
    "mirror of more than there is": (
        Written("MIRROR_PAD", (1, 2), (None, ints([[0, 0], [2, 0]])), ((1, 4),), {"mode": 0}),
        "mirrors more",
    ),
    "blocks that do not fit": (
        Written("DEPTH_TO_SPACE", (1, 2, 2, 6), (None,), ((1, 4, 4, 2),), {"blockSize": 2}),
        "cuts 6 channels",
    ),
    "stride of zero": (strided((1, 4), ([0, 0], [1, 4], [1, 0]), (1, 4)), "cuts"),
    "negative padding": (
        Written("PAD", (1, 3), (None, ints([[0, 0], [-1, 0]])), ((1, 2),)),
        "negative amount",
    ),
    "an axis that is not there": (
        Written("UNPACK", (1, 3), (None,), ((1,),) * 3, {"num": 3, "axis": 4}),
        "axis 4",
    ),
    "transposition of samples": (
        Written("TRANSPOSE", (1, 3), (None, ints(1, 0)), ((3, 1),)),
        "batch of 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_import_says_what_is_wrong_when_operator_cannot_be_used(name: str) -> None:
    written, message = REFUSED[name]
    with pytest.raises(ImportModelError, match=message) as caught:
        import_tflite(file_of(written), "model")
    assert str(caught.value).startswith("model: ")
    assert "\n" not in str(caught.value)
