"""Windows, products and moves: our kernels, the files we write and read, and LiteRT, all agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import (
    Activation,
    Attrs,
    AxisAttrs,
    ConvAttrs,
    DenseAttrs,
    MatmulAttrs,
    NoAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quant_rules import WEIGHTED
from edgekiln.compiler.shapes import Shape

SAMPLES = 4
FORMATS = (DType.FLOAT32, DType.INT8, DType.INT16)
Case = tuple[Op, Attrs, tuple[Shape, ...]]

CASES: dict[str, Case] = {
    "conv": (Op.CONV_2D, ConvAttrs((2, 1), ((1, 0), (2, 1))), ((1, 7, 6, 3), (5, 3, 2, 3))),
    "conv_same": (
        Op.CONV_2D,
        ConvAttrs((2, 2), ((0, 1), (0, 1)), activation=Activation.RELU6),
        ((1, 8, 8, 4), (6, 3, 3, 4)),
    ),
    "conv_dilated": (
        Op.CONV_2D,
        ConvAttrs(dilation=(2, 3), activation=Activation.RELU),
        ((1, 9, 11, 2), (3, 3, 3, 2)),
    ),
    "conv_grouped": (Op.CONV_2D, ConvAttrs((1, 2)), ((1, 7, 9, 6), (9, 3, 3, 2))),
    "conv_grouped_padded": (
        Op.CONV_2D,
        ConvAttrs(padding=((1, 1), (1, 1))),
        ((1, 5, 5, 8), (4, 3, 3, 4)),
    ),
    "depthwise": (
        Op.DEPTHWISE_CONV_2D,
        ConvAttrs(padding=((1, 1), (1, 1)), activation=Activation.RELU),
        ((1, 7, 5, 5), (1, 3, 3, 5)),
    ),
    "depthwise_multiplier": (
        Op.DEPTHWISE_CONV_2D,
        ConvAttrs((2, 2), ((1, 1), (0, 1))),
        ((1, 7, 8, 3), (1, 3, 3, 9)),
    ),
    "depthwise_of_one": (Op.DEPTHWISE_CONV_2D, ConvAttrs(), ((1, 6, 6, 1), (1, 3, 2, 4))),
    "depthwise_dilated": (
        Op.DEPTHWISE_CONV_2D,
        ConvAttrs(dilation=(2, 2)),
        ((1, 9, 8, 4), (1, 3, 3, 8)),
    ),
    "transpose_conv": (Op.TRANSPOSE_CONV, TransposeConvAttrs((2, 3)), ((1, 4, 3, 5), (4, 3, 2, 5))),
    "transpose_conv_same": (
        Op.TRANSPOSE_CONV,
        TransposeConvAttrs((2, 2), ((1, 1), (1, 1)), Activation.RELU),
        ((1, 4, 5, 3), (2, 4, 4, 3)),
    ),
    "transpose_conv_cut": (
        Op.TRANSPOSE_CONV,
        TransposeConvAttrs((2, 2), ((1, 0), (1, 0))),
        ((1, 4, 5, 3), (2, 3, 3, 3)),
    ),
    "transpose_conv_uneven": (
        Op.TRANSPOSE_CONV,
        TransposeConvAttrs((3, 1), ((0, 1), (2, 0))),
        ((1, 3, 5, 2), (3, 2, 4, 2)),
    ),
    "max_pool": (Op.MAX_POOL_2D, PoolAttrs((3, 2), (2, 2)), ((1, 8, 7, 3),)),
    "max_pool_same": (
        Op.MAX_POOL_2D,
        PoolAttrs((3, 3), (1, 1), ((1, 1), (1, 1))),
        ((1, 6, 5, 2),),
    ),
    "max_pool_torch": (
        Op.MAX_POOL_2D,
        PoolAttrs((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((1, 8, 8, 3),),
    ),
    "average_pool": (Op.AVERAGE_POOL_2D, PoolAttrs((2, 3), (2, 1)), ((1, 7, 7, 3),)),
    "average_pool_same": (
        Op.AVERAGE_POOL_2D,
        PoolAttrs((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((1, 7, 9, 2),),
    ),
    "average_pool_torch": (
        Op.AVERAGE_POOL_2D,
        PoolAttrs((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((1, 8, 6, 3),),
    ),
    "average_pool_uneven": (
        Op.AVERAGE_POOL_2D,
        PoolAttrs((4, 3), (1, 3), ((3, 0), (0, 2))),
        ((1, 6, 8, 2),),
    ),
    "nearest_up": (Op.RESIZE_NEAREST_NEIGHBOR, ResizeAttrs((7, 10)), ((1, 3, 5, 2),)),
    "nearest_corners": (
        Op.RESIZE_NEAREST_NEIGHBOR,
        ResizeAttrs((7, 4), align_corners=True),
        ((1, 4, 6, 3),),
    ),
    "nearest_half": (
        Op.RESIZE_NEAREST_NEIGHBOR,
        ResizeAttrs((5, 13), half_pixel_centers=True),
        ((1, 7, 6, 1),),
    ),
    "bilinear": (Op.RESIZE_BILINEAR, ResizeAttrs((9, 5)), ((1, 4, 7, 3),)),
    "bilinear_corners": (
        Op.RESIZE_BILINEAR,
        ResizeAttrs((7, 4), align_corners=True),
        ((1, 4, 6, 3),),
    ),
    "bilinear_half": (
        Op.RESIZE_BILINEAR,
        ResizeAttrs((6, 11), half_pixel_centers=True),
        ((1, 3, 5, 2),),
    ),
    "dense": (Op.FULLY_CONNECTED, DenseAttrs(Activation.RELU), ((1, 17), (7, 17))),
    "dense_of_rank_3": (Op.FULLY_CONNECTED, DenseAttrs(), ((1, 5, 12), (6, 12))),
    "dense_of_rank_4": (Op.FULLY_CONNECTED, DenseAttrs(Activation.RELU6), ((1, 2, 3, 9), (4, 9))),
    "matmul": (Op.BATCH_MATMUL, MatmulAttrs(), ((1, 5, 7), (1, 7, 4))),
    "matmul_transposed": (
        Op.BATCH_MATMUL,
        MatmulAttrs(transpose_b=True),
        ((1, 3, 5, 7), (1, 3, 4, 7)),
    ),
    "transpose": (Op.TRANSPOSE, TransposeAttrs((0, 3, 1, 2)), ((1, 3, 4, 5),)),
    "transpose_of_rank_5": (Op.TRANSPOSE, TransposeAttrs((0, 2, 4, 1, 3)), ((1, 2, 3, 4, 5),)),
    "concatenation": (Op.CONCATENATION, AxisAttrs(3), ((1, 3, 4, 2), (1, 3, 4, 1), (1, 3, 4, 5))),
    "slice": (Op.SLICE, SliceAttrs((0, 1, 2), (1, 3, 4), (1, 1, 1)), ((1, 5, 7),)),
    "slice_by_steps": (
        Op.SLICE,
        SliceAttrs((0, 1, 6, 0), (1, 2, 4, 3), (1, 2, -2, 1)),
        ((1, 5, 7, 3),),
    ),
    "slice_reversed": (Op.SLICE, SliceAttrs((0, 4), (1, 5), (1, -1)), ((1, 5),)),
    "pad": (Op.PAD, PadAttrs(((0, 0), (1, 2), (0, 3))), ((1, 3, 4),)),
    "pad_channels": (
        Op.PAD,
        PadAttrs(((0, 0), (0, 0), (1, 0), (0, 3)), fill=0.75),
        ((1, 3, 4, 2),),
    ),
}


GATHERED = {
    "gather": (AxisAttrs(1), (1, 5, 3), np.array([4, 0, 2, 2], np.int32)),
    "gather_one": (AxisAttrs(2), (1, 5, 3), np.array(1, np.int32)),
    "gather_square": (AxisAttrs(1), (1, 5, 3), np.array([[1, 0], [3, 3]], np.int32)),
}
WEIGHTED_CASES = [
    name for name, case in CASES.items() if case[0] in WEIGHTED and "transpose" not in name
]


def within(actual: Array, expected: Array) -> float:
    return float(np.abs(actual - expected).max()) / max(1.0, float(np.abs(expected).max()))


def assert_equal(actual: Array, expected: Array) -> None:
    """To the byte where numbers are integers."""
    assert actual.dtype == expected.dtype
    if actual.dtype == np.float32:
        assert within(actual, expected) <= 1e-5
    else:
        np.testing.assert_array_equal(actual, expected)


def of_one_input(graph: Graph) -> Graph:
    """The same operator, its operands cut out of one input of rank 2."""
    first = graph.input
    sizes = [graph.values[name].elements for name in graph.inputs]
    values = [Value("all", (1, sum(sizes)), first.dtype, first.quant)]
    nodes = []
    for place, name in enumerate(graph.inputs):
        part = Value(f"{name}.part", (1, sizes[place]), first.dtype, first.quant)
        attrs = SliceAttrs((0, sum(sizes[:place])), part.shape, (1, 1))
        nodes.append(Node(Op.SLICE, part.name, ("all",), (part.name,), attrs))
        nodes.append(Node(Op.RESHAPE, name, (part.name,), (name,), NoAttrs()))
        values += [part, Value(name, graph.values[name].shape, first.dtype, first.quant)]
    rest = [value for name, value in graph.values.items() if name not in graph.inputs]
    made = Graph.build(
        graph.name, [*values, *rest], [*nodes, *graph.nodes], ("all",), graph.outputs
    )
    check(made)
    return made


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_kernel_gives_the_bytes_of_litert_when_numbers_are_drawn(
    case: str,
    dtype: DType,
    one_operator: Callable[..., Graph],
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    op, attrs, shapes = CASES[case]
    for seed in range(3):
        graph = one_operator(op, attrs, shapes, dtype, seed)
        batches = draw_codes(graph, SAMPLES, seed)
        expected = run_litert_samples(emit_tflite(graph), batches)[0]
        assert_equal(run_all(graph, batches)["y"], expected)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_file_gives_the_same_graph_back_when_it_is_read(
    case: str,
    dtype: DType,
    one_operator: Callable[..., Graph],
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    graph = of_one_input(one_operator(*CASES[case], dtype, seed=5))
    data = emit_tflite(graph)
    batches = draw_codes(graph, SAMPLES, 5)
    expected = run_all(graph, batches)["y"]
    imported = import_tflite(data, graph.name)
    assert_equal(run_all(imported, batches)["y"], expected)
    if case != "depthwise_of_one":  # it is read as the plain convolution that it is
        assert emit_tflite(imported) == data
    # Optimized kernels round otherwise, by at most one step.
    fast = run_litert_samples(data, batches, "auto")[0]
    step = 1e-4 if dtype is DType.FLOAT32 else 1
    assert np.abs(fast.astype(np.float64) - expected).max() <= step


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("case", WEIGHTED_CASES)
def test_weights_of_four_bits_give_the_bytes_of_litert_when_it_takes_them(
    case: str,
    dtype: DType,
    one_operator: Callable[..., Graph],
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    graph = one_operator(*CASES[case], dtype, 3, DType.INT4)
    if dtype is DType.INT16 and graph.nodes[0].op is Op.DEPTHWISE_CONV_2D:
        with pytest.raises(EmitError, match="no int4 weights beside int16"):
            emit_tflite(graph)
        return
    data, batches = emit_tflite(graph), draw_codes(graph, SAMPLES, 3)
    actual = run_all(graph, batches)["y"]
    np.testing.assert_array_equal(actual, run_litert_samples(data, batches)[0])
    imported = import_tflite(data, "packed")
    np.testing.assert_array_equal(run_all(imported, batches)["y"], actual)
    weights = next(value for value in imported.values.values() if value.dtype is DType.INT4)
    assert weights.data is not None
    assert sorted(weights.data.reshape(-1)) == sorted(graph.constant("weights").reshape(-1))


@pytest.mark.parametrize("case", ["conv", "dense", "transpose_conv", "depthwise"])
def test_bias_of_32_bits_beside_int16_gives_the_bytes_of_litert_when_it_takes_it(
    case: str,
    one_operator: Callable[..., Graph],
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    graph = one_operator(*CASES[case], DType.INT16, seed=2)
    values = dict(graph.values)
    narrow = graph.constant("bias").astype(np.int32)
    values["bias"] = Value("bias", narrow.shape, DType.INT32, values["bias"].quant, narrow)
    graph = graph.replace(values=values.values())
    if case == "depthwise":
        with pytest.raises(EmitError, match="needs an int64 bias"):
            emit_tflite(graph)
        return
    batches = draw_codes(graph, SAMPLES, 2)
    expected = run_litert_samples(emit_tflite(graph), batches)[0]
    np.testing.assert_array_equal(run_all(graph, batches)["y"], expected)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("case", GATHERED)
def test_gather_gives_the_elements_of_litert_when_indices_are_constant(
    case: str,
    dtype: DType,
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    attrs, shape, indices = GATHERED[case]
    quant = None if dtype is DType.FLOAT32 else QuantParams((0.5,), (0,))
    output = shape[: attrs.axis] + indices.shape + shape[attrs.axis + 1 :]
    values = [
        Value("x", shape, dtype, quant),
        Value("indices", indices.shape, DType.INT32, data=indices),
        Value("y", output, dtype, quant),
    ]
    node = Node(Op.GATHER, "y", ("x", "indices"), ("y",), attrs)
    graph = Graph.build(case, values, [node], ("x",), ("y",))
    check(graph)
    data, batches = emit_tflite(graph), draw_codes(graph, SAMPLES, 1)
    expected = run_litert_samples(data, batches)[0]
    np.testing.assert_array_equal(run_all(graph, batches)["y"], expected)
    np.testing.assert_array_equal(run_all(import_tflite(data, case), batches)["y"], expected)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("op", [Op.BATCH_MATMUL, Op.CONCATENATION])
def test_constant_operand_gives_the_bytes_of_litert_when_it_comes_second(
    op: Op,
    dtype: DType,
    one_operator: Callable[..., Graph],
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    attrs = MatmulAttrs() if op is Op.BATCH_MATMUL else AxisAttrs(2)
    drawn = one_operator(op, attrs, ((1, 6, 5), (1, 5, 4) if op is Op.BATCH_MATMUL else (1, 6, 2)),
                         dtype, 4)  # fmt: skip
    values = dict(drawn.values)
    constant = draw_codes(drawn, 1, 9)["x1"]
    values["x1"] = Value("x1", constant.shape, dtype, values["x1"].quant, constant)
    graph = Graph.build("constant", values.values(), drawn.nodes, ("x0",), ("y",))
    check(graph)
    data, batches = emit_tflite(graph), draw_codes(graph, SAMPLES, 1)
    expected = run_litert_samples(data, batches)[0]
    np.testing.assert_array_equal(run_all(graph, batches)["y"], expected)
    np.testing.assert_array_equal(run_all(import_tflite(data, "c"), batches)["y"], expected)


@pytest.mark.parametrize(
    ("case", "weights", "message"),
    [
        (CASES["transpose_conv"], DType.INT4, "keep them in int8"),
        ((Op.PAD, PadAttrs(((0, 0),) + ((1, 0),) * 5), ((1, 2, 2, 2, 2, 2),)), DType.INT8,
         "at most 5 axes, not 6"),
        ((Op.BATCH_MATMUL, MatmulAttrs(), ((1, 2, 2, 2, 2, 2),) * 2), DType.INT8, "at most 5 axes"),
        ((Op.RESIZE_BILINEAR, ResizeAttrs((2, 2), True, True), ((1, 3, 3, 1),)), DType.INT8,
         "not both"),
    ],
)  # fmt: skip
def test_emit_tflite_says_what_it_lacks_when_litert_could_not_run_it(
    case: Case, weights: DType, message: str, one_operator: Callable[..., Graph]
) -> None:
    with pytest.raises(EmitError, match=message):
        emit_tflite(one_operator(*case, DType.INT8, 0, weights))


@pytest.mark.parametrize("dtype", FORMATS)
def test_padded_max_pool_is_one_operator_again_when_its_file_is_read(
    dtype: DType, one_operator: Callable[..., Graph]
) -> None:
    graph = one_operator(*CASES["max_pool_torch"], dtype, 1)
    again = optimize(import_tflite(emit_tflite(graph), "again"))
    assert [node.attrs for node in again.nodes] == [node.attrs for node in graph.nodes]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("case", ["depthwise", "dense_of_rank_3", "transpose_conv"])
def test_operator_adds_nothing_when_its_file_has_no_bias(
    case: str,
    dtype: DType,
    one_operator: Callable[..., Graph],
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = one_operator(*CASES[case], dtype, 3)
    model = schema.ModelT.InitFromPackedBuf(emit_tflite(graph), 0)
    operator = model.subgraphs[0].operators[-1]
    operator.inputs = operator.inputs[:-1]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    data, batches = bytes(builder.Output()), draw_codes(graph, SAMPLES, 1)
    imported = import_tflite(data, "bare")
    assert_equal(run_all(imported, batches)["y"], run_litert_samples(data, batches)[0])
