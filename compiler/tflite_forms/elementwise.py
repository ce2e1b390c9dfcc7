"""Operators that work element by element.

Versions are those that TensorFlow Lite's `op_version.cc` gives each dtype; a dtype that is absent
has no kernel there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import EmitError
from ..graph import DType, Graph, Node
from ..int_kernels.binary import FINER_BITS
from ..ops import BinaryAttrs, GeluAttrs, LeakyAttrs, Op
from .common import Form, Options, fused, no_options

AtLeast = Callable[[Graph, Node], int]


def _fusing(name: str) -> Options:
    """Options that hold nothing but a fused activation."""

    def options(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
        assert isinstance(node.attrs, BinaryAttrs)
        table = getattr(schema, f"{name}T")()
        table.fusedActivationFunction = fused(schema, node.attrs.activation)
        return name, table

    return options


def _rescaling(name: str) -> Options:
    """Options of ADD and SUB: int16 operands are rescaled, not shifted by powers of two."""
    fusing = _fusing(name)

    def options(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
        _, table = fusing(schema, graph, node)
        dtype = graph.values[node.output].dtype
        if dtype in FINER_BITS:
            _check_scales(graph, node, FINER_BITS[dtype])
        if dtype is DType.INT16:
            table.potScaleInt16 = False
        return name, table

    return options


def _check_scales(graph: Graph, node: Node, bits: int) -> None:
    """LiteRT ends the process where the last factor is not below 1."""
    quants = [graph.values[name].quant for name in (*node.inputs, node.output)]
    a, b, output = (quant.scale[0] for quant in quants if quant is not None)
    if 2.0 * max(a, b) >= (1 << bits) * output:
        raise EmitError(
            f"{node.name}: the scale of its result, {output:g}, is too fine for operands of "
            f"{a:g} and {b:g}; calibrate with samples that reach larger results"
        )


def _empty(name: str) -> Options:
    """Options without fields."""

    def options(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
        return name, getattr(schema, f"{name}T")()

    return options


def _leaky_relu(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, LeakyAttrs)
    options = schema.LeakyReluOptionsT()
    options.alpha = node.attrs.alpha
    return "LeakyReluOptions", options


def _gelu(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    assert isinstance(node.attrs, GeluAttrs)
    options = schema.GeluOptionsT()
    options.approximate = node.attrs.approximate
    return "GeluOptions", options


def _versions(float32: int, int8: int | None, int16: int | None) -> Mapping[DType, int]:
    """Versions by dtype; None where there is no kernel."""
    pairs = {DType.FLOAT32: float32, DType.INT8: int8, DType.INT16: int16}
    return {dtype: version for dtype, version in pairs.items() if version is not None}


def _broadcast_version(version: int) -> AtLeast:
    """That version where operands of more than four axes differ in shape."""

    def at_least(graph: Graph, node: Node) -> int:
        shapes = [graph.values[name].shape for name in node.inputs]
        return version if shapes[0] != shapes[1] and max(map(len, shapes)) > 4 else 1

    return at_least


def _mul_version(graph: Graph, node: Node) -> int:
    """Version 3 where the product of the scales is not below the output's."""
    quants = [graph.values[name].quant for name in (*node.inputs, node.output)]
    scales = [quant.scale[0] for quant in quants if quant is not None]
    return 3 if len(scales) == 3 and scales[0] * scales[1] >= scales[2] else 1


_CHOICE = Form(_versions(1, 2, 4), _empty("MaximumMinimumOptions"), at_least=_broadcast_version(3))

ELEMENTWISE: dict[Op, Form] = {
    Op.ADD: Form(_versions(1, 2, 3), _rescaling("AddOptions")),
    Op.SUB: Form(_versions(1, 2, 5), _rescaling("SubOptions"), at_least=_broadcast_version(3)),
    Op.MUL: Form(_versions(1, 2, 4), _fusing("MulOptions"), at_least=_mul_version),
    Op.DIV: Form(_versions(1, None, None), _fusing("DivOptions"), at_least=_broadcast_version(2)),
    **dict.fromkeys((Op.MINIMUM, Op.MAXIMUM), _CHOICE),
    Op.LESS_EQUAL: Form(_versions(1, None, None), _empty("LessEqualOptions"), boolean=True),
    Op.RELU: Form(_versions(1, 2, 3), no_options),
    Op.RELU6: Form(_versions(1, 2, 3), no_options),
    Op.LEAKY_RELU: Form(_versions(1, 1, 2), _leaky_relu),
    Op.PRELU: Form(_versions(1, 1, None), no_options),
    Op.ELU: Form(_versions(1, 1, None), no_options),
    Op.HARD_SWISH: Form(_versions(1, 1, None), _empty("HardSwishOptions")),
    Op.LOGISTIC: Form(_versions(1, 2, 3), no_options),
    Op.TANH: Form(_versions(1, 2, 3), no_options),
    # LiteRT before 2.3 takes int16 for no version of it.
    Op.GELU: Form(_versions(1, 2, 2), _gelu),
    Op.EXP: Form(_versions(1, 2, 2), _empty("ExpOptions")),
    Op.SQRT: Form(_versions(1, None, None), no_options),
    Op.RSQRT: Form(_versions(1, 2, 3), no_options),
    Op.ABS: Form(_versions(1, 2, 3), _empty("AbsOptions")),
}
