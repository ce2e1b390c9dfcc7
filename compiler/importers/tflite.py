"""TensorFlow Lite: a float32 or quantized `.tflite` file as a graph.

Tensors keep their names, an int8 or int16 model keeps every number it came with: quantization
parameters, int32 or int64 biases, weights with one scale or one for each channel. What arithmetic
means is therefore what LiteRT's reference kernels say (`reference.run_int8`). A legacy uint8 model
becomes int8 (`tflite_uint8`). SAME padding becomes amounts. Weights that a float model keeps in
int8 or float16 become float32.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from ..errors import GrammarError, ImportModelError, UnsupportedOpError
from ..grammar import check
from ..graph import Array, DType, Graph, Node, QuantParams, Value
from ..ops import Attrs, NoAttrs, Op
from .tflite_file import FileRecord, OperatorRecord, TensorRecord, damage_named, read_file
from .tflite_uint8 import as_int8

WAYS_OUT = (
    "replace it before you convert, import the model from torch or ONNX instead, or end the model "
    "before it"
)
_DTYPES = {
    "FLOAT32": DType.FLOAT32,
    "INT4": DType.INT4,
    "INT8": DType.INT8,
    "INT16": DType.INT16,
    "INT32": DType.INT32,
    "INT64": DType.INT64,
}
_ZERO_POINTS = {DType.INT8: (-128, 127)}  # of all others: 0


@dataclass(frozen=True)
class TfliteModel:
    """A file's graph, and what the user should know about its way there."""

    graph: Graph
    notes: tuple[str, ...] = ()


def import_tflite(data: bytes, name: str) -> Graph:
    """The graph of `read_model`."""
    return read_model(data, name).graph


def read_model(data: bytes, name: str) -> TfliteModel:
    """The graph of a file's bytes, called `name`; its operators in the file's order.

    A QUANTIZE of the input and a DEQUANTIZE of the output, which converters put around an int8
    model that takes and gives floats, are left out: the graph is what lies between.

    Raises:
        ImportModelError: no such format, damaged, unreasonably large, or not one input, one
            output and a batch of 1.
        UnsupportedOpError: an operator, or a form of one, that the graph has no word for.
    """
    record, notes = as_int8(read_file(data, name), name)
    reader = TfliteReader(record, name)
    with damage_named(name):
        graph = reader.graph()
    try:
        check(graph)
    except GrammarError as error:
        raise ImportModelError(f"{name}: an inconsistent TensorFlow Lite model: {error}") from error
    return TfliteModel(graph, (*notes, *reader.notes))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the value `smaller` ≤ the value `larger`, or with `negated` whether it is not."""

    smaller: str
    larger: str
    negated: bool


class TfliteReader:
    """What handlers of operators need: tensors in, values and nodes out."""

    def __init__(self, record: FileRecord, name: str) -> None:
        self._record = record
        self._name = name
        self._taken: dict[str, int] = {}
        self._names = _unique_names(record.tensors, self._taken)
        self._values: dict[str, Value] = {}
        self._nodes: list[Node] = []
        self._comparisons: dict[int, Comparison] = {}
        self._dtype = ""  # of the input
        self.notes: list[str] = []  # sentences for the user

    def graph(self) -> Graph:
        """The whole graph; not yet checked against the grammar."""
        from .tflite_ops import HANDLERS

        first, last, operators = _ends(self._record, self._name)
        self._dtype = self._record.tensors[first].dtype
        if self._dtype not in ("FLOAT32", "INT8", "INT16"):
            raise self._wrong_dtype(self._record.tensors[first])
        input_name = self.value(self._record.tensors[first])
        for operator in operators:
            handler = HANDLERS.get(operator.op)
            if handler is None:
                raise self.unsupported(operator, "there is no word for it")
            handler(self, operator)
        output_name = self.value(self._record.tensors[last])
        return Graph.build(
            self._name, self._values.values(), self._nodes, (input_name,), (output_name,)
        )

    def operand(self, operator: OperatorRecord, position: int) -> TensorRecord:
        """The tensor at a position among the operator's inputs."""
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            raise ImportModelError(f"{self.place(operator)} has no operand {position}")
        return self._record.tensors[operator.inputs[position]]

    def tensor(self, index: int) -> TensorRecord:
        """The tensor of an index that the file's reader has checked."""
        return self._record.tensors[index]

    def has_operand(self, operator: OperatorRecord, position: int) -> bool:
        """Whether the optional operand is there."""
        return position < len(operator.inputs) and operator.inputs[position] >= 0

    def output(self, operator: OperatorRecord) -> TensorRecord:
        """The one output."""
        if len(operator.outputs) != 1:
            raise ImportModelError(f"{self.place(operator)} has {len(operator.outputs)} outputs")
        return self._record.tensors[operator.outputs[0]]

    def outputs(self, operator: OperatorRecord) -> tuple[TensorRecord, ...]:
        """All outputs, of operators that may have several."""
        return tuple(self._record.tensors[index] for index in operator.outputs)

    def constant(self, operator: OperatorRecord, position: int) -> Array:
        """Data of an operand that must be a constant: its value's, where it has become one."""
        tensor = self.operand(operator, position)
        known = self._values.get(self._names[tensor.index])
        data = tensor.data if known is None else known.data
        if data is None:
            raise self.unsupported(operator, f"its operand '{tensor.name}' is computed")
        return data

    def value(self, tensor: TensorRecord) -> str:
        """The name of the tensor's value, which is added where it is new."""
        name = self._names[tensor.index]
        if name not in self._values:
            self._values[name] = self._value_of(name, tensor)
        return name

    def define(self, tensor: TensorRecord, data: Array) -> None:
        """Say that the tensor, which an operator computes, is a float32 constant."""
        name = self._names[tensor.index]
        value = Value(name, tensor.shape, DType.FLOAT32, None, data.reshape(tensor.shape))
        self._values[name] = self._finite(value)

    def add_value(self, value: Value) -> str:
        """Add a value that the file does not have, under a name that is free."""
        name = _free_name(value.name, self._taken)
        self._values[name] = dataclasses.replace(value, name=name)
        return name

    def known(self, name: str) -> Value:
        """A value already added."""
        return self._values[name]

    def compare(self, tensor: TensorRecord, comparison: Comparison) -> None:
        """Say what the boolean tensor holds; a CAST makes numbers of it."""
        self._comparisons[tensor.index] = comparison

    def comparison(self, tensor: TensorRecord) -> Comparison | None:
        """What the boolean tensor holds; None where it is of something else."""
        return self._comparisons.get(tensor.index)

    def append(
        self, op: Op, operator: OperatorRecord, inputs: tuple[str, ...], output: str, attrs: Attrs
    ) -> None:
        """Add a node, called after the value that it writes."""
        source = f"operator {operator.index} ({operator.op})"
        self._nodes.append(Node(op, output, inputs, (output,), attrs, source))

    def reshaped(self, operator: OperatorRecord, name: str, shape: tuple[int, ...]) -> str:
        """The value `name` in another shape, through a RESHAPE of our own."""
        value = self._values[name]
        if value.shape == shape:
            return name
        if math.prod(shape) != value.elements:
            raise ImportModelError(f"{self.place(operator)} cannot take {value.shape} as {shape}")
        flat = dataclasses.replace(value, name=f"{name}.reshaped", shape=shape, data=None)
        output = self.add_value(flat)
        self.append(Op.RESHAPE, operator, (name,), output, NoAttrs())
        return output

    def place(self, operator: OperatorRecord) -> str:
        """File, operator and output, for errors."""
        names = [self._record.tensors[index].name for index in operator.outputs]
        output = f" giving '{names[0]}'" if names else ""
        return f"{self._name}: operator {operator.index} ({operator.op}){output}"

    def unsupported(self, operator: OperatorRecord, why: str) -> UnsupportedOpError:
        """An error that says what, where and how to go on."""
        return UnsupportedOpError(f"{self.place(operator)} is not supported: {why}; {WAYS_OUT}")

    def _value_of(self, name: str, tensor: TensorRecord) -> Value:
        if self._dtype == "FLOAT32" and tensor.data is not None:
            data = as_floats(tensor)
            if data is not None:
                return self._finite(Value(name, tensor.shape, DType.FLOAT32, None, data))
        dtype = _DTYPES.get(tensor.dtype)
        if dtype is None or (tensor.data is None and tensor.dtype not in self._activations()):
            raise self._wrong_dtype(tensor)
        if tensor.data is None and (not tensor.shape or tensor.shape[0] != 1):
            raise ImportModelError(
                f"{self._name}: tensor '{tensor.name}' has shape {tensor.shape}; "
                "convert with a batch of 1"
            )
        return Value(name, tensor.shape, dtype, self._quant_of(dtype, tensor), tensor.data)

    def _activations(self) -> tuple[str, ...]:
        """What activations may be: a quantized model may have layers in float32, all indices."""
        return self._dtype, "FLOAT32", "INT32", "INT64"

    def _finite(self, value: Value) -> Value:
        if value.data is not None and not np.isfinite(value.data).all():
            raise ImportModelError(f"{self._name}: constant '{value.name}' is not finite")
        return value

    def _wrong_dtype(self, tensor: TensorRecord) -> ImportModelError:
        return ImportModelError(
            f"{self._name}: tensor '{tensor.name}' is {tensor.dtype.lower()}; models that are "
            "float32, int8 or int16 throughout are supported, convert again with full int8 "
            "quantization"
        )

    def _quant_of(self, dtype: DType, tensor: TensorRecord) -> QuantParams | None:
        """One entry for an activation; for a constant one, or one for each channel."""
        scales, zeros = tensor.scales, tensor.zero_points
        plain = dtype in (DType.INT32, DType.INT64) and not scales
        if dtype is DType.FLOAT32 or plain:
            return None
        # A float32 number below the smallest normal one is a damaged scale, not a fine one.
        sane = all(math.isfinite(scale) and scale > 1e-30 for scale in scales)
        lowest, highest = _ZERO_POINTS.get(dtype, (0, 0))
        in_range = all(lowest <= zero <= highest for zero in zeros)
        if not scales or len(zeros) != len(scales) or not sane or not in_range:
            raise ImportModelError(
                f"{self._name}: tensor '{tensor.name}' is {dtype} without usable quantization "
                "parameters; convert again with full int8 quantization"
            )
        if tensor.data is None and len(scales) != 1:
            raise ImportModelError(
                f"{self._name}: activation '{tensor.name}' has {len(scales)} scales, int8.v1 has 1"
            )
        return QuantParams(scales, zeros, _axis(tensor))


def as_floats(tensor: TensorRecord) -> Array | None:
    """A constant as float32; None where it is no real number in a form we know."""
    data = tensor.data
    assert data is not None
    if data.dtype.kind == "f":
        return data.astype(np.float32)
    if data.dtype != np.int8 or not tensor.scales:
        return None
    along = [1] * data.ndim
    if len(tensor.scales) > 1:
        along[tensor.axis] = -1
    scale = np.asarray(tensor.scales, np.float32).reshape(along)
    zero = np.asarray(tensor.zero_points, np.int32).reshape(along)
    return ((data - zero) * scale).astype(np.float32)


def _axis(tensor: TensorRecord) -> int | None:
    """Which axis the scales go along; None where one holds for all elements."""
    if (
        tensor.data is None
        or len(tensor.scales) == 1
        or tensor.axis not in range(len(tensor.shape))
    ):
        return None
    return tensor.axis if len(tensor.scales) == tensor.shape[tensor.axis] else None


def _ends(record: FileRecord, name: str) -> tuple[int, int, list[OperatorRecord]]:
    """Input tensor, output tensor and the operators between, without conversions at the ends."""
    if len(record.inputs) != 1 or len(record.outputs) != 1:
        raise ImportModelError(
            f"{name}: it has {len(record.inputs)} inputs and {len(record.outputs)} outputs; "
            "models with one of each are supported"
        )
    first, last, operators = record.inputs[0], record.outputs[0], list(record.operators)
    readers = sum(first in operator.inputs for operator in operators)
    if operators and _converts(operators[0], "QUANTIZE", (first,), record) and readers == 1:
        first = operators.pop(0).outputs[0]
    if operators and _converts(operators[-1], "DEQUANTIZE", operators[-1].inputs, record):
        last = operators.pop().inputs[0] if operators[-1].outputs == (last,) else last
    return first, last, operators


def _converts(
    operator: OperatorRecord, op: str, inputs: tuple[int, ...], record: FileRecord
) -> bool:
    """Whether the operator is that conversion of `inputs`, between float32 and integers."""
    tensors = [record.tensors[index] for index in (*inputs, *operator.outputs) if index >= 0]
    dtypes = [tensor.dtype for tensor in tensors]
    if op == "DEQUANTIZE":
        dtypes.reverse()
    wanted = (["FLOAT32", "INT8"], ["FLOAT32", "INT16"])
    return operator.op == op and operator.inputs == inputs and dtypes in wanted


def _unique_names(tensors: tuple[TensorRecord, ...], taken: dict[str, int]) -> list[str]:
    """A name for each tensor: its own, or one like it where another tensor has that."""
    return [_free_name(tensor.name, taken) for tensor in tensors]


def _free_name(wanted: str, taken: dict[str, int]) -> str:
    """`wanted`, or `wanted.2`, …; taken from now on, with the last number that it was given."""
    name, number = wanted, taken.get(wanted, 1)
    while name in taken:
        number += 1
        name = f"{wanted}.{number}"
    taken[name] = taken.get(name, 1)
    taken[wanted] = number
    return name
