"""Float islands: the nodes of a quantized graph that run in float32, each with its reason.

A node does where the recipe says so or where it has no integer form. Nodes that only move elements
between such nodes go along: encoding what is decoded at once would cost precision for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import QuantizationError
from .graph import DType, Graph, Node
from .interpret import KERNELS
from .ops import Op
from .quant_rules import FIXED_OUTPUTS, RULES, QuantRule
from .recipe import Recipe
from .softmax import MOST_CLASSES

_ALONG = "it lies between layers in float32"


def float_islands(graph: Graph, recipe: Recipe) -> Mapping[str, str]:
    """Reasons by name of the node, in execution order.

    Raises:
        QuantizationError: a node has no integer form, and the recipe forbids islands.
    """
    dtype = recipe.activation_dtype
    if dtype is DType.FLOAT32:
        return {}
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        missing = _no_integer_form(graph, node, dtype)
        if recipe.wants_float(node.name):
            reasons[node.name] = "the recipe says so"
        elif missing and not recipe.islands:
            place = f" ({node.source})" if node.source else ""
            raise QuantizationError(
                f"{graph.name}: '{node.name}'{place} {missing}, and the recipe forbids float "
                "islands; allow them (islands = true) or replace the layer"
            )
        elif missing:
            reasons[node.name] = missing
    return _with_moves_between(graph, reasons)


def island_note(node: Node, reason: str) -> str:
    """One line for the user."""
    return f"quantize: '{node.name}' ({node.op}) runs in float32: {reason}"


def _no_integer_form(graph: Graph, node: Node, dtype: DType) -> str:
    """Why the node cannot run on integers of `dtype`; empty where it can."""
    rule = RULES[node.op]
    known = rule is not QuantRule.NONE and node.op in KERNELS.get(dtype, {})
    if not known or (rule is QuantRule.FIXED and (node.op, dtype) not in FIXED_OUTPUTS):
        return f"{node.op} has no {dtype} form"
    classes = graph.values[node.output].shape[-1] if graph.values[node.output].shape else 0
    if node.op is Op.SOFTMAX and dtype is DType.INT8 and classes > MOST_CLASSES:
        return f"{node.op} of int8 takes at most {MOST_CLASSES} classes, not {classes}"
    return ""


def _with_moves_between(graph: Graph, reasons: Mapping[str, str]) -> Mapping[str, str]:
    """Moves join where a float node computes what they read and float nodes alone read them."""
    found = dict(reasons)
    writers = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        if RULES[node.op] is not QuantRule.KEEPS or node.name in found:
            continue
        before = writers.get(node.inputs[0])
        after = graph.consumers(node.output)
        if node.output in graph.outputs or before is None or not after:
            continue
        if all(other.name in found for other in (before, *after)):
            found[node.name] = _ALONG
    return {node.name: found[node.name] for node in graph.nodes if node.name in found}
