"""The IR's grammar, executable: what every graph must obey, checked between passes.

Rules:
- every value is produced once and before it is read; there are inputs and outputs;
- operands have the number, rank and shape that the operator needs; weights, biases, slopes,
  parameters of batch norms and indices are constants, or constants dequantized;
- float16 constants are only dequantized; all other operands of a node have the dtype of its
  output, but for conversions, comparisons and indices;
- integer activations have one scale; int16 ones have zero point 0;
- quantized weights are symmetric, int8 or int4; biases have scale = input scale · weight scale and
  are int32 beside int8 activations, int64 (or int32) beside int16 ones;
- encodings hang together as `quant_rules.RULES` says, those of operators along time as
  `grammar_recurrent` does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .errors import GrammarError
from .grammar_recurrent import OPERANDS_ALONG_TIME, check_along_time, check_mixed
from .graph import DType, Graph, Node, QuantParams, Value
from .ops import (
    RECURRENT,
    Attrs,
    AxisAttrs,
    BatchNormAttrs,
    BinaryAttrs,
    ConvAttrs,
    DenseAttrs,
    GeluAttrs,
    LeakyAttrs,
    LstmAttrs,
    MatmulAttrs,
    NoAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    ReduceAttrs,
    ResizeAttrs,
    SliceAttrs,
    SvdfAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from .quant_rules import FIXED_OUTPUTS, KEEPS_QUANT, RULES, WEIGHTED, QuantRule
from .shapes import elements, output_shape
from .softmax import MOST_CLASSES, SMALLEST_SCALE

__all__ = ["ATTRS", "CHANNEL_AXIS", "KEEPS_QUANT", "QUANTIZED", "UNFUSED", "WEIGHTED", "check"]

ATTRS: Mapping[Op, type[Attrs]] = dict.fromkeys(Op, NoAttrs) | {
    Op.CONV_2D: ConvAttrs,
    Op.DEPTHWISE_CONV_2D: ConvAttrs,
    Op.TRANSPOSE_CONV: TransposeConvAttrs,
    Op.FULLY_CONNECTED: DenseAttrs,
    Op.BATCH_MATMUL: MatmulAttrs,
    Op.ADD: BinaryAttrs,
    Op.SUB: BinaryAttrs,
    Op.MUL: BinaryAttrs,
    Op.DIV: BinaryAttrs,
    Op.MAX_POOL_2D: PoolAttrs,
    Op.AVERAGE_POOL_2D: PoolAttrs,
    Op.RESIZE_NEAREST_NEIGHBOR: ResizeAttrs,
    Op.RESIZE_BILINEAR: ResizeAttrs,
    Op.LEAKY_RELU: LeakyAttrs,
    Op.GELU: GeluAttrs,
    Op.MEAN: ReduceAttrs,
    Op.SUM: ReduceAttrs,
    Op.REDUCE_MAX: ReduceAttrs,
    Op.ARG_MAX: AxisAttrs,
    Op.CONCATENATION: AxisAttrs,
    Op.GATHER: AxisAttrs,
    Op.SVDF: SvdfAttrs,
    Op.UNIDIRECTIONAL_SEQUENCE_LSTM: LstmAttrs,
    Op.PAD: PadAttrs,
    Op.TRANSPOSE: TransposeAttrs,
    Op.SLICE: SliceAttrs,
    Op.BATCH_NORM: BatchNormAttrs,
}

UNFUSED = frozenset({Op.BATCH_NORM})
"""Operators that `passes.optimize` removes; no emitter knows them."""

_TWO = (Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MINIMUM, Op.MAXIMUM, Op.LESS_EQUAL)
OPERANDS: Mapping[Op, int] = (
    dict.fromkeys(Op, 1)
    | dict.fromkeys(WEIGHTED | {Op.BATCH_NORM}, 3)
    | dict.fromkeys((*_TWO, Op.BATCH_MATMUL, Op.PRELU, Op.GATHER), 2)
    | OPERANDS_ALONG_TIME
)
"""How many operands; a concatenation has one or more."""

_READ_ONE = WEIGHTED | RECURRENT | {Op.GATHER}
"""Operators whose first operand alone is an activation, whatever the others are."""

_CONSTANT_FROM = dict.fromkeys(_READ_ONE | {Op.BATCH_NORM, Op.PRELU}, 1)
"""The position from which all operands must be constants."""

# Axis of the weights that counts output channels.
CHANNEL_AXIS = {
    Op.CONV_2D: 0,
    Op.DEPTHWISE_CONV_2D: 3,
    Op.TRANSPOSE_CONV: 0,
    Op.FULLY_CONNECTED: 0,
}

QUANTIZED = (DType.INT8, DType.INT16)
"""What activations of a quantized graph may be."""

_WEIGHTS = (DType.INT8, DType.INT4)
_BIASES = {DType.INT8: (DType.INT32,), DType.INT16: (DType.INT64, DType.INT32)}
_MIXED = (QuantRule.CONVERTS, QuantRule.INDEX)


def check(graph: Graph) -> None:
    """Raise GrammarError, naming the node, where `graph` breaks a rule."""
    if not graph.inputs or not graph.outputs:
        raise GrammarError(f"{graph.name}: a graph has inputs and outputs")
    unknown = [name for name in graph.inputs if name not in graph.values]
    if unknown:
        raise GrammarError(f"{graph.name}: the input '{unknown[0]}' has no value")
    constants = _constants(graph)
    known = constants | set(graph.inputs)
    for node in graph.nodes:
        where = f"{graph.name}: node '{node.name}' ({node.op})"
        _check_node(graph, node, known, where)
        _check_dtypes(graph, node, where)
        if graph.values[node.inputs[0]].dtype in QUANTIZED:
            _check_quantized(graph, node, where)
        known.add(node.output)
    check_mixed(graph)
    missing = [name for name in graph.outputs if name not in known]
    if missing:
        raise GrammarError(f"{graph.name}: nothing produces the output '{missing[0]}'")


def _constants(graph: Graph) -> set[str]:
    constants = {name for name, value in graph.values.items() if value.data is not None}
    for name in constants:
        value = graph.values[name]
        data = graph.constant(name)
        if data.shape != value.shape or data.dtype != value.dtype.numpy:
            raise GrammarError(f"constant '{name}' does not hold what its value says")
    return constants


def _check_node(graph: Graph, node: Node, known: set[str], where: str) -> None:
    if not isinstance(node.attrs, ATTRS[node.op]):
        raise GrammarError(f"{where} has {type(node.attrs).__name__}")
    count = max(len(node.inputs), 1) if node.op is Op.CONCATENATION else OPERANDS[node.op]
    if len(node.inputs) != count or len(node.outputs) != 1:
        raise GrammarError(f"{where} needs {count} operands and one output")
    for name in node.inputs:
        if name not in known:
            raise GrammarError(f"{where} reads '{name}' before it is produced")
    if node.output in known:
        raise GrammarError(f"{where} produces '{node.output}' a second time")
    if node.output not in graph.values:
        raise GrammarError(f"{where}: its output has no value")
    _check_constants(graph, node, where)
    _check_shapes(graph, node, where)


def _check_constants(graph: Graph, node: Node, where: str) -> None:
    start = _CONSTANT_FROM.get(node.op, len(node.inputs))
    operands = [graph.values[name] for name in node.inputs]
    computed = {value.name for value in operands[start:] if value.data is None}
    if not computed:
        return
    computed -= {
        other.output
        for other in graph.nodes
        if other.op is Op.DEQUANTIZE and graph.values[other.inputs[0]].data is not None
    }
    if computed:
        raise GrammarError(f"{where}: '{min(computed)}' must be a constant")


def _check_shapes(graph: Graph, node: Node, where: str) -> None:
    shapes = tuple(graph.values[name].shape for name in node.inputs)
    actual = graph.values[node.output].shape
    if node.op is Op.RESHAPE:
        if elements(actual) != elements(shapes[0]) or not actual or actual[0] != shapes[0][0]:
            raise GrammarError(f"{where} turns {shapes[0]} into {actual}")
        return
    try:
        expected = output_shape(node.op, node.attrs, shapes)
    except GrammarError as error:
        raise GrammarError(f"{where}: {error}") from error
    if actual != expected:
        raise GrammarError(f"{where} gives {expected}, its value says {actual}")
    if node.op in WEIGHTED and shapes[2] != (shapes[1][CHANNEL_AXIS[node.op]],):
        raise GrammarError(f"{where}: bias {shapes[2]} does not fit the weights {shapes[1]}")


def _check_dtypes(graph: Graph, node: Node, where: str) -> None:
    output = graph.values[node.output]
    if RULES[node.op] in _MIXED:
        _check_conversion(graph, node, where)
        return
    operands = 1 if node.op in _READ_ONE else len(node.inputs)
    for name in node.inputs[:operands]:
        value = graph.values[name]
        if value.dtype is not output.dtype:
            raise GrammarError(f"{where} makes {output.dtype} of '{name}', which is {value.dtype}")


def _check_conversion(graph: Graph, node: Node, where: str) -> None:
    x, output = graph.values[node.inputs[0]], graph.values[node.output]
    allowed = {
        Op.QUANTIZE: output.dtype in QUANTIZED and output.quant is not None,
        Op.DEQUANTIZE: output.dtype is DType.FLOAT32 and x.dtype is not DType.FLOAT32,
        Op.ARG_MAX: output.dtype in (DType.INT32, DType.INT64),
    }
    if not allowed[node.op]:
        raise GrammarError(f"{where} cannot make {output.dtype} of {x.dtype}")


def _check_quantized(graph: Graph, node: Node, where: str) -> None:
    rule = RULES[node.op]
    if rule is QuantRule.NONE:
        raise GrammarError(f"{where} has no quantized form")
    x, output = graph.values[node.inputs[0]], graph.values[node.output]
    for value in _activations(graph, node):
        _check_encoding(value, where)
    if rule is QuantRule.KEEPS and x.quant != output.quant:
        raise GrammarError(f"{where} must keep its input's quantization")
    if rule is QuantRule.SHARED and any(
        graph.values[name].quant != output.quant for name in node.inputs
    ):
        raise GrammarError(f"{where}: its operands and its output must share one quantization")
    if rule is QuantRule.FIXED:
        _check_fixed(node, x, output, where)
    if rule is QuantRule.WEIGHTED:
        _check_weights(graph, node, x, where)
    if rule is QuantRule.RECURRENT:
        check_along_time(graph, node, where)


def _activations(graph: Graph, node: Node) -> list[Value]:
    """Operands and output that must be encoded as activations are."""
    count = 1 if node.op in _READ_ONE else len(node.inputs)
    values = [graph.values[name] for name in (*node.inputs[:count], node.output)]
    return [value for value in values if value.dtype in (*QUANTIZED, DType.INT4)]


def _check_encoding(value: Value, where: str) -> None:
    if value.dtype not in QUANTIZED or value.quant is None:
        raise GrammarError(f"{where}: '{value.name}' is not quantized")
    if len(value.quant.scale) != 1 or len(value.quant.zero_point) != 1:
        raise GrammarError(f"{where}: '{value.name}' has {len(value.quant.scale)} scales")
    if value.dtype is DType.INT16 and value.quant.zero_point[0] != 0:
        raise GrammarError(f"{where}: '{value.name}' is int16, its zero point must be 0")


def _check_fixed(node: Node, x: Value, output: Value, where: str) -> None:
    expected = FIXED_OUTPUTS.get((node.op, output.dtype))
    if expected is None:
        raise GrammarError(f"{where} has no {output.dtype} form")
    if output.quant != expected:
        scale, zero_point = expected.scale[0], expected.zero_point[0]
        raise GrammarError(
            f"{where}: its {output.dtype} output has scale {scale:g} and zero point {zero_point}"
        )
    if node.op is Op.SOFTMAX and output.dtype is DType.INT8:
        assert x.quant is not None
        if x.quant.scale[0] <= SMALLEST_SCALE or x.shape[-1] > MOST_CLASSES:
            raise GrammarError(
                f"{where}: int8.v1 takes at most {MOST_CLASSES} classes and a scale above 2^-26"
            )


def _check_weights(graph: Graph, node: Node, x: Value, where: str) -> None:
    weights, bias = (graph.values[name] for name in node.inputs[1:])
    if weights.dtype not in _WEIGHTS or bias.dtype not in _BIASES[x.dtype]:
        biases = " or ".join(_BIASES[x.dtype])
        raise GrammarError(f"{where}: weights must be int8 or int4 and the bias {biases}")
    if weights.quant is None or bias.quant is None or x.quant is None:
        raise GrammarError(f"{where}: weights and bias need quantization parameters")
    if weights.quant.axis not in _weight_axes(node, weights.quant) or any(weights.quant.zero_point):
        raise GrammarError(f"{where}: weights must be symmetric along {CHANNEL_AXIS[node.op]}")
    expected = np.float32(x.quant.scale[0]) * np.asarray(weights.quant.scale, np.float32)
    if not np.allclose(np.asarray(bias.quant.scale), expected, rtol=1e-6, atol=0.0):
        raise GrammarError(f"{where}: the bias scale is not input scale · weight scale")


def _weight_axes(node: Node, quant: QuantParams) -> tuple[int | None, ...]:
    """One scale for each output channel, or one for the whole tensor."""
    axis = CHANNEL_AXIS[node.op]
    return (axis, None) if len(quant.scale) == 1 else (axis,)
