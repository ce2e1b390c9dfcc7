"""Reads a TFLite flatbuffer into `ModelFacts`.

LiteRT's own verifier goes first: the generated Python accessors follow any offset they find, so
a damaged file must be stopped before they run.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from .errors import ImportModelError
from .inspect import LayerDescription, ModelFacts, quantization_text, tensor_text

_FILE_ID = b"TFL3"
_WEIGHTS = 1  # index of the weights among an operator's inputs
_ITEM_BYTES = {"FLOAT64": 8, "INT64": 8, "FLOAT32": 4, "INT32": 4, "FLOAT16": 2, "INT16": 2}


def read_tflite(data: bytes, source: str) -> ModelFacts:
    """Facts of the first subgraph; `source` names the file in errors.

    Raises:
        ImportModelError: the bytes are no TFLite file, or a damaged one.
    """
    if data[4:8] != _FILE_ID:
        raise ImportModelError(f"{source}: not a TFLite file (it has no TFL3 identifier)")
    _verify(data, source)
    try:
        return _Reader(data).facts()
    except (struct.error, IndexError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ImportModelError(f"{source}: a damaged TFLite file ({error})") from error


def _verify(data: bytes, source: str) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        Interpreter(
            model_content=data,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            num_threads=1,
        ).allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ImportModelError(f"{source}: LiteRT cannot load it: {reason}") from error


class _Reader:
    """The flatbuffer as objects, with names for its numbers."""

    def __init__(self, data: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._model: Any = schema.ModelT.InitFromPackedBuf(data)
        self._graph: Any = self._model.subgraphs[0]
        self._ops = _names(schema.BuiltinOperator)
        self._types = _names(schema.TensorType)

    def facts(self) -> ModelFacts:
        """Everything, in the order of execution."""
        return ModelFacts(
            ", ".join(self._text(index) for index in self._graph.inputs),
            ", ".join(self._text(index) for index in self._graph.outputs),
            tuple(self._layer(operator) for operator in self._graph.operators or ()),
        )

    def _layer(self, operator: Any) -> LayerDescription:
        op = self._op_name(operator)
        output = self._graph.tensors[operator.outputs[0]]
        constants = [i for i in operator.inputs if i >= 0 and self._is_constant(i)]
        return LayerDescription(
            name=output.name.decode(),
            op=op,
            shape=_shape(output),
            dtype=self._types[output.type].lower(),
            macs=self._macs(op, operator, output),
            weight_bytes=sum(self._constant_bytes(index) for index in constants),
            quantization=_quantization(output),
        )

    def _op_name(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        if code.customCode:
            return f"custom:{code.customCode.decode()}"
        return self._ops[max(code.builtinCode, code.deprecatedBuiltinCode)].lower()

    def _macs(self, op: str, operator: Any, output: Any) -> int:
        if op not in ("conv_2d", "depthwise_conv_2d", "fully_connected"):
            return 0
        weights = _shape(self._graph.tensors[operator.inputs[_WEIGHTS]])
        if op == "fully_connected":
            return math.prod(weights)
        window = weights[1:] if op == "conv_2d" else weights[1:3]
        return math.prod(_shape(output)) * math.prod(window)

    def _is_constant(self, index: int) -> bool:
        buffer = self._model.buffers[self._graph.tensors[index].buffer]
        return buffer.data is not None and len(buffer.data) > 0

    def _constant_bytes(self, index: int) -> int:
        tensor = self._graph.tensors[index]
        return math.prod(_shape(tensor)) * _ITEM_BYTES.get(self._types[tensor.type], 1)

    def _text(self, index: int) -> str:
        tensor = self._graph.tensors[index]
        dtype = self._types[tensor.type].lower()
        return tensor_text(tensor.name.decode(), _shape(tensor), dtype, _quantization(tensor))


def _names(enum: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enum).items() if isinstance(number, int)}


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def _quantization(tensor: Any) -> str:
    quant = tensor.quantization
    if quant is None or quant.scale is None:
        return ""
    zeros = () if quant.zeroPoint is None else (int(zero) for zero in quant.zeroPoint)
    return quantization_text((float(scale) for scale in quant.scale), zeros)
