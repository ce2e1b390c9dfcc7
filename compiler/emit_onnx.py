"""ONNX: a graph written in QDQ form (quantized) or plainly (float32).

Inputs (n, …) are float32, preprocessed; outputs (n, …) are float32 in the graph's order of axes,
or the integers that an arg-max gives; n is free. Inside, what convolutions read is channels first:
one transpose at the entry where there are several channels, a reshape otherwise. How each operator
is written is in `onnx_forms`, what all of them need in `onnx_writer`.
"""

from __future__ import annotations

from typing import Any

from .errors import EmitError
from .graph import DType, Graph, Value
from .onnx_forms import FORMS
from .onnx_layouts import natural
from .onnx_opset import IR_VERSIONS, needed_opset
from .onnx_writer import Writer
from .ops import RECURRENT, STREAMING, Op

_INTEGERS = (DType.INT32, DType.INT64)


def emit_onnx(graph: Graph) -> bytes:
    """The checked model of an optimized float32, a quantized or a mixed graph; deterministic.

    Raises:
        EmitError: an operator, or what it asks for, has no form in ONNX.
    """
    import onnx

    _check(graph)
    writer = Writer(graph, needed_opset(graph))
    for node in graph.nodes:
        FORMS[node.op](writer, node)
    for name in graph.outputs:
        tensor = writer.want(name, natural(len(writer.shape(name))))
        writer.finish("Identity", [tensor], name)
    model = _model(writer)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _check(graph: Graph) -> None:
    """Raise EmitError for operators without a form and outputs that no node could be given."""
    for node in graph.nodes:
        if node.op in RECURRENT:
            raise EmitError(f"{node.name}: {_why_not(node.op)}; take --format tflite or c")
        if node.op not in FORMS:
            raise EmitError(f"{node.name}: '{node.op}' cannot be written; optimize the graph first")
    names = (*graph.inputs, *graph.outputs)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise EmitError(f"{graph.name}: ONNX needs '{twice}' to be one input or one output only")


def _why_not(op: Op) -> str:
    if op in STREAMING:
        return f"ONNX keeps nothing between runs, '{op}' cannot be written"
    return f"ONNX has no int8 '{op}'"


def _model(writer: Writer) -> Any:
    from onnx import helper

    graph = writer.graph
    body = helper.make_graph(
        writer.nodes,
        graph.name,
        [_info(graph.values[name]) for name in graph.inputs],
        [_info(graph.values[name]) for name in graph.outputs],
        writer.initializers,
    )
    return helper.make_model(
        body,
        producer_name="edgekiln",
        opset_imports=[helper.make_opsetid("", writer.opset)],
        ir_version=IR_VERSIONS[writer.opset],
    )


def _info(value: Value) -> Any:
    """An input's or output's type: real numbers, but for indices; any number of samples."""
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, value.dtype.name if value.dtype in _INTEGERS else "FLOAT")
    return helper.make_tensor_value_info(value.name, kind, ["n", *value.shape[1:]])
