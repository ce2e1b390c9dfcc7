"""`Form`: how TensorFlow Lite writes an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..graph import Array, DType, Graph, Node
from ..ops import NO_PADDING, Activation, ConvAttrs, PoolAttrs

Options = Callable[[Any, Graph, Node], tuple[str, Any]]


def no_operands(graph: Graph, node: Node) -> tuple[Array, ...]:
    """Operators whose operands are the graph's."""
    return ()


def own_name(node: Node) -> str:
    """Operators that bear the schema's name."""
    return node.op.name


@dataclass(frozen=True, slots=True)
class Form:
    """One operator of the file format.

    `versions`: the lowest operator version that takes activations of a dtype; a dtype that is
    absent cannot be written. `options(schema, graph, node)`: the name of the options table and the
    table, or ("NONE", None). `operands`: what the format passes as further tensors and the graph as
    attributes. `operator`: the schema's name of the operator.
    """

    versions: Mapping[DType, int]
    options: Options
    operands: Callable[[Graph, Node], tuple[Array, ...]] = no_operands
    operator: Callable[[Node], str] = own_name


def fused(schema: Any, activation: Activation) -> int:
    """The code of a fused activation."""
    return int(getattr(schema.ActivationFunctionType, activation.name))


def window(schema: Any, options: Any, attrs: ConvAttrs | PoolAttrs) -> Any:
    """Padding and stride; `lower_padding` has left only SAME and VALID."""
    padded = attrs.padding != NO_PADDING
    options.padding = schema.Padding.SAME if padded else schema.Padding.VALID
    options.strideH, options.strideW = attrs.stride
    return options


def float_and_int8(versions: tuple[int, int]) -> Mapping[DType, int]:
    """Versions of an operator that has both."""
    return {DType.FLOAT32: versions[0], DType.INT8: versions[1]}
