"""Operators of TensorFlow Lite that the graph has no word for become others that mean the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import UnsupportedOpError
from edgekiln.compiler.graph import Array, DType, Graph, Node, Value
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Attrs, AxisAttrs, BinaryAttrs, NoAttrs, Op, ReduceAttrs

Draft = Any  # of this folder's conftest.py
Make = Callable[[DType, int], Draft]
Run = Callable[[bytes, Array], dict[str, Array]]

FLOAT32, INT8 = DType.FLOAT32, DType.INT8
SHAPE = (1, 4, 6)


def rewritten(model: bytes, edit: Callable[[Any], None]) -> bytes:
    """The file after `edit` of its object form."""
    parsed = schema.ModelT.InitFromPackedBuf(model, 0)
    for operator in parsed.subgraphs[0].operators:
        operator.inputs = operator.inputs.tolist()
    edit(parsed)
    builder = flatbuffers.Builder(1024)
    builder.Finish(parsed.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def renamed(model: bytes, name: str) -> bytes:
    """The file whose first operator is another one, without options."""

    def edit(parsed: Any) -> None:
        code = parsed.operatorCodes[0]
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        operator = parsed.subgraphs[0].operators[0]
        operator.builtinOptionsType, operator.builtinOptions = 0, None

    return rewritten(model, edit)


def assert_same(model: bytes, batch: Array, run_reference: Run) -> None:
    graph = import_tflite(model, "composed")
    ours = run_all(graph, {graph.inputs[0]: batch})[graph.outputs[0]]
    np.testing.assert_array_equal(ours, run_reference(model, batch)[graph.outputs[0]])


def assert_close(model: bytes, batch: Array, run_reference: Run) -> None:
    graph = import_tflite(model, "composed")
    ours = run_all(graph, {graph.inputs[0]: batch})[graph.outputs[0]]
    theirs = run_reference(model, batch)[graph.outputs[0]]
    np.testing.assert_allclose(ours, theirs, rtol=5e-7, atol=1e-30)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("NEG", FLOAT32),
        ("SQUARE", FLOAT32),
        ("RELU_N1_TO_1", FLOAT32),
        ("RELU_N1_TO_1", INT8),
        ("RELU_0_TO_1", FLOAT32),
        ("RELU_0_TO_1", INT8),
    ],
)
def test_composition_equals_litert_when_operator_has_one_operand(
    name: str, dtype: DType, draft: Make, run_reference: Run
) -> None:
    for seed in range(6):
        drawn = draft(dtype, seed)
        quant = drawn.encoding(2.0 ** drawn.rng.uniform(-1, 4))
        values = [Value(end, SHAPE, dtype, quant) for end in "xy"]  # one encoding
        relu = Node(Op.RELU, "y", ("x",), ("y",), NoAttrs())
        graph = Graph.build("one", values, [relu], ("x",), ("y",))
        model = renamed(emit_tflite(graph), name)
        assert_same(model, drawn.codes((5, *SHAPE[1:])), run_reference)


def test_squared_difference_equals_litert_when_numbers_are_floats(
    draft: Make, run_reference: Run
) -> None:
    drawn = draft(FLOAT32, 0)
    drawn.node(Op.SUB, (drawn.input(SHAPE), drawn.constant((6,))), BinaryAttrs())
    model = renamed(emit_tflite(drawn.graph()), "SQUARED_DIFFERENCE")
    assert_same(model, drawn.codes((5, *SHAPE[1:])), run_reference)


@pytest.mark.parametrize("name", ["LESS_EQUAL", "GREATER_EQUAL", "LESS", "GREATER"])
def test_comparison_is_turned_and_negated_when_a_cast_follows(
    name: str, draft: Make, run_reference: Run
) -> None:
    drawn = draft(FLOAT32, 0)
    drawn.node(Op.LESS_EQUAL, (drawn.input(SHAPE), drawn.constant((6,))))
    graph = drawn.graph()
    batch = drawn.codes((5, *SHAPE[1:]))
    batch[0] = graph.constant(graph.nodes[0].inputs[1])  # equal on both sides
    assert_same(renamed(emit_tflite(graph), name), batch, run_reference)


@pytest.mark.parametrize("exponent", [2.0, 0.5, -0.5, -1.0])
def test_power_equals_litert_when_products_and_roots_make_it(
    exponent: float, draft: Make, run_reference: Run
) -> None:
    drawn = draft(FLOAT32, 0)
    drawn.node(Op.MUL, (drawn.input(SHAPE), drawn.constant(())), BinaryAttrs())

    def set_exponent(parsed: Any) -> None:
        constant = parsed.subgraphs[0].tensors[1]
        parsed.buffers[constant.buffer].data = np.array([exponent], np.float32).view(np.uint8)

    model = rewritten(renamed(emit_tflite(drawn.graph()), "POW"), set_exponent)
    batch = np.abs(drawn.codes((5, *SHAPE[1:]))) + np.float32(0.01)
    assert_close(model, batch, run_reference)


def test_minimum_along_axes_equals_litert_when_it_is_a_negated_maximum(
    draft: Make, run_reference: Run
) -> None:
    drawn = draft(FLOAT32, 0)
    drawn.node(Op.REDUCE_MAX, (drawn.input(SHAPE),), ReduceAttrs((2,), True))

    def to_minimum(parsed: Any) -> None:
        code = parsed.operatorCodes[0]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.REDUCE_MIN

    model = rewritten(emit_tflite(drawn.graph()), to_minimum)
    assert_same(model, drawn.codes((5, *SHAPE[1:])), run_reference)


def test_l2_normalization_equals_litert_also_where_all_is_zero(
    draft: Make, run_reference: Run
) -> None:
    drawn = draft(FLOAT32, 0)
    drawn.node(Op.SOFTMAX, (drawn.input(SHAPE),))
    batch = drawn.codes((5, *SHAPE[1:]))
    batch[1] = 0.0
    batch[2] *= np.float32(1e-8)
    model = renamed(emit_tflite(drawn.graph()), "L2_NORMALIZATION")
    assert_close(model, batch, run_reference)


def test_sum_of_several_equals_litert_when_it_is_added_one_by_one(
    draft: Make, run_reference: Run
) -> None:
    drawn = draft(FLOAT32, 0)
    x = drawn.input(SHAPE)
    drawn.node(Op.CONCATENATION, (x, drawn.constant(SHAPE), x), AxisAttrs(1))

    def keep_shape(parsed: Any) -> None:
        parsed.subgraphs[0].tensors[-1].shape = list(SHAPE)

    model = rewritten(renamed(emit_tflite(drawn.graph()), "ADD_N"), keep_shape)
    assert_same(model, drawn.codes(SHAPE), run_reference)


def test_import_refuses_a_cast_when_it_makes_integers(draft: Make) -> None:
    drawn = draft(FLOAT32, 0)
    drawn.node(Op.LESS_EQUAL, (drawn.input(SHAPE), drawn.constant((6,))))

    def to_integers(parsed: Any) -> None:
        parsed.subgraphs[0].tensors[-1].type = schema.TensorType.INT32

    with pytest.raises(UnsupportedOpError, match=r"\(CAST\).*makes int32 of bool"):
        import_tflite(rewritten(emit_tflite(drawn.graph()), to_integers), "refused")


def test_softmax_scales_its_logits_when_beta_is_not_one(draft: Make, run_reference: Run) -> None:
    drawn = draft(FLOAT32, 0)
    y = drawn.node(Op.SOFTMAX, (drawn.input(SHAPE),))

    def set_beta(parsed: Any) -> None:
        parsed.subgraphs[0].operators[0].builtinOptions.beta = 0.25

    model = rewritten(emit_tflite(drawn.graph()), set_beta)
    batch = drawn.codes((5, *SHAPE[1:]))
    graph = import_tflite(model, "beta")
    ours = run_all(graph, {graph.inputs[0]: batch})[y]
    np.testing.assert_allclose(ours, run_reference(model, batch)[y], rtol=0, atol=1e-6)


def test_mean_drops_the_sample_axis_when_it_is_kept(draft: Make, run_reference: Run) -> None:
    drawn = draft(INT8, 2)
    x = drawn.input(SHAPE)
    drawn.node(Op.MEAN, (x,), ReduceAttrs((1,), True), largest=drawn.reach(x))
    assert_same(_over_axes(drawn, [0, -2]), drawn.codes(SHAPE), run_reference)


def _over_axes(drawn: Draft, axes: list[int]) -> bytes:
    def edit(parsed: Any) -> None:
        axis = parsed.subgraphs[0].operators[0].inputs[1]
        tensor = parsed.subgraphs[0].tensors[axis]
        tensor.shape = [len(axes)]
        parsed.buffers[tensor.buffer].data = np.array(axes, np.int32).view(np.uint8)

    return rewritten(emit_tflite(drawn.graph()), edit)


def _set_beta(parsed: Any) -> None:
    parsed.subgraphs[0].operators[0].builtinOptions.beta = 0.5


def _other_encoding(parsed: Any) -> None:
    parsed.subgraphs[0].tensors[-1].quantization.scale = np.array([0.5], np.float32)


REFUSED: dict[str, tuple[Op, Attrs, Callable[[Any], None], str]] = {
    "beta": (Op.SOFTMAX, NoAttrs(), _set_beta, "its beta is 0.5, not 1"),
    "tanh": (Op.TANH, NoAttrs(), _other_encoding, "not the one of its range"),
    "max": (Op.REDUCE_MAX, ReduceAttrs((1,)), _other_encoding, "different encodings"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_import_names_the_operator_when_an_int8_encoding_is_not_the_graph_s(
    case: str, draft: Make
) -> None:
    op, attrs, edit, reason = REFUSED[case]
    drawn = draft(INT8, 0)
    drawn.node(op, (drawn.input(SHAPE),), attrs)
    model = rewritten(emit_tflite(drawn.graph()), edit)
    with pytest.raises(UnsupportedOpError, match=rf"operator 0 \({op.name}\).*{reason}"):
        import_tflite(model, "refused")


def test_import_refuses_a_minimum_when_its_sides_have_different_encodings(draft: Make) -> None:
    drawn = draft(INT8, 0)
    drawn.node(Op.SUB, (drawn.input(SHAPE), drawn.constant((6,))), BinaryAttrs(), largest=10.0)
    with pytest.raises(UnsupportedOpError, match="different encodings"):
        import_tflite(renamed(emit_tflite(drawn.graph()), "MINIMUM"), "refused")


@pytest.mark.parametrize("name", ["SQUARED_DIFFERENCE", "DIV", "NEG", "SQUARE"])
def test_import_refuses_int8_forms_that_mean_nothing_exact(name: str, draft: Make) -> None:
    drawn = draft(INT8, 0)
    drawn.node(Op.SUB, (drawn.input(SHAPE), drawn.constant((6,))), BinaryAttrs(), largest=10.0)
    with pytest.raises(UnsupportedOpError, match=rf"operator 0 \({name}\)"):
        import_tflite(renamed(emit_tflite(drawn.graph()), name), "refused")


def test_import_refuses_a_clip_when_its_encodings_differ(draft: Make) -> None:
    drawn = draft(INT8, 0)
    drawn.node(Op.RELU, (drawn.input(SHAPE),), largest=100.0)
    with pytest.raises(UnsupportedOpError, match="different encodings"):
        import_tflite(renamed(emit_tflite(drawn.graph()), "RELU_0_TO_1"), "refused")


def test_constants_of_one_element_lose_their_axis_when_encodings_are_shared(
    draft: Make, run_reference: Run
) -> None:
    drawn = draft(INT8, 0)
    x = drawn.input(SHAPE)
    drawn.node(Op.MAXIMUM, (x, drawn.constant((1,), drawn.quant(x))))
    model = emit_tflite(drawn.graph())
    graph = import_tflite(model, "one")
    assert graph.values[graph.nodes[0].inputs[1]].quant == drawn.quant(x)
    assert_same(model, drawn.codes((5, *SHAPE[1:])), run_reference)
