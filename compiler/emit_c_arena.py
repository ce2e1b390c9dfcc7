"""Operands of kernel calls as typed pointers into the arena: one view of it for each element type.

Offsets are multiples of 16 bytes, so every view is aligned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .emit_c_layer import Constant, Layer
from .graph import DType, Graph
from .plan_memory import MemoryPlan

C_TYPES: Mapping[DType, str] = {
    DType.INT8: "int8_t",
    DType.INT16: "int16_t",
    DType.INT32: "int32_t",
    DType.INT64: "int64_t",
    DType.FLOAT32: "float",
}
"""Of elements; generated C has no others."""

_VIEWS = {
    DType.INT8: "arena",
    DType.INT16: "arena_int16",
    DType.INT32: "arena_int32",
    DType.INT64: "arena_int64",
    DType.FLOAT32: "arena_float",
}


def views(graph: Graph, layers: Iterable[Layer]) -> str:
    """Declarations of the views that `layers` take, in a function with a `model *m`."""
    used = {_kind(graph, call, name) for call in layers for name in (*call.inputs, call.output)}
    used |= {DType.INT8 for call in layers if call.scratch_bytes}
    return "".join(
        f"    {C_TYPES[kind]} *{view} = ({C_TYPES[kind]} *)m->arena;\n"
        for kind, view in _VIEWS.items()
        if kind in used
    )


def call_arguments(graph: Graph, plan: MemoryPlan, call: Layer) -> str:
    """Operands, output and scratch of a call."""
    places = ", ".join(_operand(graph, plan, call, operand) for operand in call.operands)
    if call.listed:
        kind = C_TYPES[DType.INT8 if call.as_bytes else graph.values[call.output].dtype]
        places = f"(const {kind} *const[]){{{places}}}"
    scratch = f", arena + {plan.scratch[call.output]}" if call.scratch_bytes else ""
    return f"{places}, {_place(graph, plan, call, call.output)}{scratch}"


def _operand(graph: Graph, plan: MemoryPlan, call: Layer, operand: Constant | str) -> str:
    if isinstance(operand, str):
        return _place(graph, plan, call, operand)
    foreign = call.as_bytes and operand.c_type != C_TYPES[DType.INT8]
    return f"(const int8_t *){operand.name}" if foreign else operand.name


def _place(graph: Graph, plan: MemoryPlan, call: Layer, name: str) -> str:
    kind = _kind(graph, call, name)
    return f"{_VIEWS[kind]} + {plan.offsets[name] // kind.numpy.itemsize}"


def _kind(graph: Graph, call: Layer, name: str) -> DType:
    return DType.INT8 if call.as_bytes else graph.values[name].dtype
