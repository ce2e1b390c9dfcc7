"""Reads an ONNX model into `ModelFacts`. QuantizeLinear and DequantizeLinear are no layers: the
scale of the QuantizeLinear behind a layer is that layer's quantization."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from .errors import ImportModelError
from .importers.onnx import import_onnx
from .inspect_facts import (
    LayerDescription,
    ModelFacts,
    histogram,
    quantization_text,
    tensor_text,
)
from .inspect_graph import planned

_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_NO_LAYERS = (*_QUANTIZERS, "Constant", "Identity")
_LONGEST_REASON = 300
_LONGEST = 1000  # quantizers in a row
# operator -> index of its weights among the inputs
_WEIGHTED = {"Conv": 1, "Gemm": 1, "MatMul": 1, "QLinearConv": 3, "QLinearMatMul": 3}


def read_onnx(data: bytes, source: str) -> ModelFacts:
    """Facts of the main graph; `source` names the file in errors.

    Raises:
        ImportModelError: the bytes are no ONNX model, or one that breaks ONNX's rules.
    """
    import onnx

    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf's errors share no base
        raise ImportModelError(f"{source}: not a valid ONNX model: {_reason(error)}") from error
    if any(tensor.data_location for tensor in _tensors(model.graph)):
        raise ImportModelError(
            f"{source}: its weights lie in another file; save the model with its weights inside"
        )
    try:
        onnx.checker.check_model(model)
        model = onnx.shape_inference.infer_shapes(model)
        facts = _Reader(model.graph).facts()
    # The checker's, inference's and the helpers' errors share no base.
    except Exception as error:
        raise ImportModelError(f"{source}: not a valid ONNX model: {_reason(error)}") from error
    arena, remarks = planned(lambda: import_onnx(data, source).graph)
    return dataclasses.replace(facts, remarks=(*facts.remarks, *remarks), ram_bytes=arena)


def _reason(error: Exception) -> str:
    """The first line of what a library said, within bounds."""
    line = (str(error).strip().splitlines() or ["no reason given"])[0][:_LONGEST_REASON]
    return "".join(c if c.isprintable() else "?" for c in line)


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant, also of graphs inside attributes; protobuf bounds how deep they are."""
    graphs = [graph]
    while graphs:
        inner = graphs.pop()
        yield from inner.initializer
        for node in inner.node:
            for attribute in node.attribute:
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
                yield from attribute.tensors
                yield attribute.t


class _Reader:
    """A graph with its tensors by name."""

    def __init__(self, graph: Any) -> None:
        from onnx import TensorProto

        self._graph = graph
        self._type_name = TensorProto.DataType.Name
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        infos = (*graph.input, *graph.value_info, *graph.output)
        self._infos = {info.name: info.type.tensor_type for info in infos}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._quantized_by = {
            node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"
        }

    def facts(self) -> ModelFacts:
        """Everything, in the order of the nodes."""
        inputs = [info.name for info in self._graph.input if info.name not in self._constants]
        layers = [node for node in self._graph.node if node.op_type not in _NO_LAYERS]
        pairs = sum(node.op_type in _QUANTIZERS for node in self._graph.node)
        return ModelFacts(
            ", ".join(self._text(name) for name in inputs),
            ", ".join(self._text(info.name) for info in self._graph.output),
            tuple(self._layer(node) for node in layers),
            (f"{pairs} QuantizeLinear and DequantizeLinear nodes",) if pairs else (),
        )

    def _layer(self, node: Any) -> LayerDescription:
        output = node.output[0]
        return LayerDescription(
            name=node.name or output,
            op=node.op_type,
            shape=self._shape(output),
            dtype=self._dtype(output),
            macs=self._macs(node),
            weight_bytes=sum(self._constant_bytes(name) for name in node.input),
            quantization=self._quantization(output),
            inputs=tuple(
                self._source(name) for name in node.input if name and self._constant(name) is None
            ),
            output=output,
            weights=self._weights_text(node),
            histogram=self._histogram(node),
        )

    def _source(self, name: str) -> str:
        """The activation behind quantizers."""
        seen = 0
        maker = self._makers.get(name)
        while maker is not None and maker.op_type in _NO_LAYERS and maker.input and seen < _LONGEST:
            name, seen = maker.input[0], seen + 1
            maker = self._makers.get(name)
        return name

    def _weights(self, node: Any) -> Any:
        """The first constant operand's tensor."""
        found = (self._constant(name) for name in node.input)
        return next((tensor for tensor in found if tensor is not None), None)

    def _weights_text(self, node: Any) -> str:
        tensor = self._weights(node)
        if tensor is None:
            return ""
        return tensor_text("", tensor.dims, str(self._type_name(tensor.data_type)).lower(), "")[1:]

    def _histogram(self, node: Any) -> Any:
        from onnx import numpy_helper

        tensor = self._weights(node)
        return None if tensor is None else histogram(numpy_helper.to_array(tensor))

    def _macs(self, node: Any) -> int:
        index = _WEIGHTED.get(node.op_type)
        if index is None or index >= len(node.input):
            return 0
        weights = self._shape(node.input[index])
        if node.op_type in ("Conv", "QLinearConv"):
            return math.prod(self._shape(node.output[0])) * math.prod(weights[1:])
        if node.op_type == "Gemm":
            return math.prod(weights)
        depth = self._shape(node.input[0])[-1:]
        return math.prod(self._shape(node.output[0])) * math.prod(depth)

    def _constant(self, name: str) -> Any:
        """An initializer, also where it comes through a DequantizeLinear."""
        maker = self._makers.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear":
            name = maker.input[0]
        return self._constants.get(name)

    def _constant_bytes(self, name: str) -> int:
        tensor = self._constant(name)
        if tensor is None:
            return 0
        from onnx import helper

        item = int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
        return item * int(math.prod(tensor.dims))

    def _quantization(self, name: str) -> str:
        node = self._quantized_by.get(name)
        scales = None if node is None else self._constants.get(node.input[1])
        if node is None or scales is None:
            return ""
        from onnx import numpy_helper

        zero = self._constants.get(node.input[2]) if len(node.input) > 2 else None
        zeros = [] if zero is None else numpy_helper.to_array(zero).ravel().tolist()
        return quantization_text(numpy_helper.to_array(scales).ravel().tolist(), zeros)

    def _shape(self, name: str) -> tuple[int, ...]:
        """A free axis counts as 1."""
        if name in self._constants:
            return tuple(self._constants[name].dims)
        info = self._infos.get(name)
        return () if info is None else tuple(dim.dim_value or 1 for dim in info.shape.dim)

    def _dtype(self, name: str) -> str:
        info = self._infos.get(name)
        return "" if info is None else str(self._type_name(info.elem_type)).lower()

    def _text(self, name: str) -> str:
        dims = [dim.dim_param or dim.dim_value for dim in self._infos[name].shape.dim]
        return tensor_text(name, dims, self._dtype(name), "")
