"""The IR's grammar, executable: what every graph must obey, checked between passes.

Rules:
- one input and one output; every value is produced once and before it is read;
- operands have the number, rank and shape that the operator needs;
- a graph is all float32, or it is quantized: activations and weights int8 with quantization
  parameters, biases int32 with scale = input scale · weight scale;
- operators that only move or choose elements keep their input's quantization parameters.
"""

from __future__ import annotations

import numpy as np

from .errors import GrammarError
from .graph import (
    AddAttrs,
    Attrs,
    BatchNormAttrs,
    ConvAttrs,
    DenseAttrs,
    DType,
    Graph,
    NoAttrs,
    Node,
    Op,
    PadAttrs,
    PoolAttrs,
    QuantParams,
    Value,
)
from .shapes import elements, output_shape
from .softmax import MOST_CLASSES, OUTPUT_QUANT, SMALLEST_SCALE

ATTRS: dict[Op, type[Attrs]] = {
    Op.CONV_2D: ConvAttrs,
    Op.DEPTHWISE_CONV_2D: ConvAttrs,
    Op.FULLY_CONNECTED: DenseAttrs,
    Op.ADD: AddAttrs,
    Op.MAX_POOL_2D: PoolAttrs,
    Op.AVERAGE_POOL_2D: PoolAttrs,
    Op.MEAN: NoAttrs,
    Op.PAD: PadAttrs,
    Op.RESHAPE: NoAttrs,
    Op.SOFTMAX: NoAttrs,
    Op.BATCH_NORM: BatchNormAttrs,
    Op.RELU: NoAttrs,
    Op.RELU6: NoAttrs,
}

WEIGHTED = frozenset({Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED})
"""Operators with inputs x, weights, bias."""

KEEPS_QUANT = frozenset({Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D, Op.PAD, Op.RESHAPE})
"""Operators whose output has the quantization parameters of their input."""

UNFUSED = frozenset({Op.BATCH_NORM, Op.RELU, Op.RELU6})
"""Operators that `passes.optimize` removes; no emitter knows them."""

OPERANDS = dict.fromkeys(Op, 1) | dict.fromkeys(WEIGHTED | {Op.BATCH_NORM}, 3) | {Op.ADD: 2}

# Axis of the weights that counts output channels.
CHANNEL_AXIS = {Op.CONV_2D: 0, Op.DEPTHWISE_CONV_2D: 3, Op.FULLY_CONNECTED: 0}


def check(graph: Graph) -> None:
    """Raise GrammarError, naming the node, where `graph` breaks a rule."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise GrammarError(f"{graph.name}: a graph has one input and one output")
    known = _sources(graph)
    for node in graph.nodes:
        _check_node(graph, node, known)
        known.add(node.output)
    missing = [name for name in graph.outputs if name not in known]
    if missing:
        raise GrammarError(f"{graph.name}: nothing produces the output '{missing[0]}'")
    if graph.input.dtype is DType.INT8:
        _check_quantized(graph)


def _sources(graph: Graph) -> set[str]:
    constants = {name for name, value in graph.values.items() if value.data is not None}
    for name in constants:
        value = graph.values[name]
        data = graph.constant(name)
        if data.shape != value.shape or data.dtype != value.dtype.numpy:
            raise GrammarError(f"constant '{name}' does not hold what its value says")
    return constants | set(graph.inputs)


def _check_node(graph: Graph, node: Node, known: set[str]) -> None:
    where = f"{graph.name}: node '{node.name}' ({node.op})"
    if not isinstance(node.attrs, ATTRS[node.op]):
        raise GrammarError(f"{where} has {type(node.attrs).__name__}")
    if len(node.inputs) != OPERANDS[node.op] or len(node.outputs) != 1:
        raise GrammarError(f"{where} needs {OPERANDS[node.op]} operands and one output")
    for name in node.inputs:
        if name not in known:
            raise GrammarError(f"{where} reads '{name}' before it is produced")
    if node.output in known:
        raise GrammarError(f"{where} produces '{node.output}' a second time")
    if node.output not in graph.values:
        raise GrammarError(f"{where}: its output has no value")
    _check_shapes(graph, node, where)


def _check_shapes(graph: Graph, node: Node, where: str) -> None:
    shapes = tuple(graph.values[name].shape for name in node.inputs)
    actual = graph.values[node.output].shape
    if node.op is Op.RESHAPE:
        if elements(actual) != elements(shapes[0]):
            raise GrammarError(f"{where} turns {shapes[0]} into {actual}")
        return
    if node.op in WEIGHTED:
        _check_weights(node.op, shapes, where)
    if node.op is Op.ADD and shapes[0] != shapes[1]:
        raise GrammarError(f"{where} adds {shapes[0]} and {shapes[1]}")
    expected = output_shape(node.op, node.attrs, shapes)
    if actual != expected:
        raise GrammarError(f"{where} gives {expected}, its value says {actual}")


def _check_weights(op: Op, shapes: tuple[tuple[int, ...], ...], where: str) -> None:
    x, weights, bias = shapes
    rank = 2 if op is Op.FULLY_CONNECTED else 4
    if len(weights) != rank or len(x) != rank:
        raise GrammarError(f"{where}: input {x} and weights {weights} must have rank {rank}")
    if weights[-1] != x[-1]:
        raise GrammarError(f"{where}: weights {weights} do not fit the input {x}")
    if bias != (weights[CHANNEL_AXIS[op]],):
        raise GrammarError(f"{where}: bias {bias} does not fit the weights {weights}")


def _check_quantized(graph: Graph) -> None:
    for node in graph.nodes:
        where = f"{graph.name}: node '{node.name}' ({node.op})"
        if node.op in UNFUSED:
            raise GrammarError(f"{where} has no quantized form")
        x, output = graph.values[node.inputs[0]], graph.values[node.output]
        for value in (x, output):
            if value.dtype is not DType.INT8 or value.quant is None:
                raise GrammarError(f"{where}: '{value.name}' is not quantized")
        if node.op in KEEPS_QUANT and x.quant != output.quant:
            raise GrammarError(f"{where} must keep its input's quantization")
        if node.op in WEIGHTED:
            _check_quantized_weights(graph, node, x, where)
        if node.op is Op.SOFTMAX:
            _check_quantized_softmax(x, output, where)


def _check_quantized_weights(graph: Graph, node: Node, x: Value, where: str) -> None:
    weights, bias = (graph.values[name] for name in node.inputs[1:])
    if weights.dtype is not DType.INT8 or bias.dtype is not DType.INT32:
        raise GrammarError(f"{where}: weights must be int8 and the bias int32")
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


def _check_quantized_softmax(x: Value, output: Value, where: str) -> None:
    if output.quant != OUTPUT_QUANT:
        raise GrammarError(f"{where}: an int8 softmax has scale 1/256 and zero point -128")
    if x.quant is None or x.quant.scale[0] <= SMALLEST_SCALE or x.shape[-1] > MOST_CLASSES:
        raise GrammarError(
            f"{where}: int8.v1 takes at most {MOST_CLASSES} classes and a scale above 2^-26"
        )
