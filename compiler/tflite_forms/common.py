"""`Form`: how TensorFlow Lite writes an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..graph import Array, DType, Graph, Node, Value
from ..ops import NO_PADDING, Activation, ConvAttrs, PoolAttrs

Options = Callable[[Any, Graph, Node], tuple[str, Any]]
Versions = Mapping[DType, int]


def no_operands(graph: Graph, node: Node) -> tuple[Array, ...]:
    """Operators whose operands are the graph's."""
    return ()


def no_values(graph: Graph, node: Node) -> tuple[Value, ...]:
    """Operators without variables and intermediates."""
    return ()


def own_name(node: Node) -> str:
    """Operators that bear the schema's name."""
    return node.op.name


def graph_first(own: list[int], extra: list[int]) -> list[int]:
    """The graph's operands, then what the format adds."""
    return [*own, *extra]


def nothing_newer(graph: Graph, node: Node) -> int:
    """Operators whose version follows from the activations' dtype alone."""
    return 1


@dataclass(frozen=True, slots=True)
class Form:
    """One operator of the file format; `most_axes` is the highest rank that LiteRT's kernels take.

    `versions`: the lowest operator version that takes activations of a dtype; a dtype that is
    absent cannot be written. `options(schema, graph, node)`: the name of the options table and the
    table, or ("NONE", None). `operands`: what the format passes as further tensors and the graph as
    attributes; those of the output's dtype have its encoding. `variables`: tensors after them that
    live on between invocations. `intermediates`: empty tensors that tell encodings. `operator`: the
    schema's name of the operator. `arrange(own, extra)`: the tensors' order. `at_least`: the
    version that what else the node says needs. `boolean`: the result is boolean there, a CAST makes
    0.0 and 1.0 of it.
    """

    versions: Versions
    options: Options
    operands: Callable[[Graph, Node], tuple[Array, ...]] = no_operands
    variables: Callable[[Graph, Node], tuple[Value, ...]] = no_values
    intermediates: Callable[[Graph, Node], tuple[Value, ...]] = no_values
    most_axes: int = 8
    operator: Callable[[Node], str] = own_name
    arrange: Callable[[list[int], list[int]], list[int]] = graph_first
    at_least: Callable[[Graph, Node], int] = nothing_newer
    boolean: bool = False

    def version(self, graph: Graph, node: Node) -> int:
        """The operator version that `node` needs."""
        dtype = graph.values[node.inputs[0]].dtype
        return max(self.versions[dtype], self.at_least(graph, node))


def fused(schema: Any, activation: Activation) -> int:
    """The code of a fused activation."""
    return int(getattr(schema.ActivationFunctionType, activation.name))


def window(schema: Any, options: Any, attrs: ConvAttrs | PoolAttrs) -> Any:
    """Padding and stride; `lower_padding` has left only SAME and VALID."""
    padded = attrs.padding != NO_PADDING
    options.padding = schema.Padding.SAME if padded else schema.Padding.VALID
    options.strideH, options.strideW = attrs.stride
    return options


def no_options(schema: Any, graph: Graph, node: Node) -> tuple[str, Any]:
    """Operators that have no options table."""
    return "NONE", None


def float_and_int8(versions: tuple[int, int]) -> Versions:
    """Versions of an operator that has both."""
    return {DType.FLOAT32: versions[0], DType.INT8: versions[1]}


def float_and_integers(versions: tuple[int, int, int]) -> Versions:
    """Versions of an operator that has float32, int8 and int16."""
    return {**float_and_int8(versions[:2]), DType.INT16: versions[2]}
