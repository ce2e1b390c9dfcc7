"""x · ½ · (1 + erf(x / √2)), as exporters write a GELU, becomes one node again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ...graph import Array
from ..onnx_file import OnnxNode

_ROOT = math.sqrt(2.0)
_GELU_VERSION = 20


def fuse_erf(nodes: Sequence[OnnxNode], constants: Mapping[str, Array]) -> tuple[OnnxNode, ...]:
    """The nodes with each such product as a Gelu; an Erf that is no part of one stays."""
    known = dict(constants) | {
        node.outputs[0]: np.asarray(value)
        for node in nodes
        if node.op == "Constant" and (value := _constant(node)) is not None
    }
    fused = list(nodes)
    for node in nodes:
        if node.op == "Erf":
            fused = _fuse(fused, node, known) or fused
    return tuple(fused)


def _constant(node: OnnxNode) -> Array | float | None:
    from onnx import TensorProto

    from ..onnx_file import as_array

    value = node.attributes.get("value", node.attributes.get("value_float"))
    return as_array(value, f"node '{node.name}'") if isinstance(value, TensorProto) else value


def _fuse(
    nodes: list[OnnxNode], erf: OnnxNode, known: Mapping[str, Array]
) -> list[OnnxNode] | None:
    inner = next((node for node in nodes if erf.inputs[0] in node.outputs), None)
    x = None if inner is None else _over_root(inner, known)
    one = _only_reader(nodes, erf.outputs[0])
    if x is None or inner is None or one is None or one.op != "Add":
        return None
    if _other_number(one, erf.outputs[0], known) != 1.0:
        return None
    factors = [x, one.outputs[0]]
    last = _only_reader(nodes, one.outputs[0])
    gone = {erf.index, one.index}
    halved = False
    reached = one.outputs[0]
    while last is not None and last.op == "Mul":
        number = _other_number(last, reached, known)
        other = last.inputs[1] if last.inputs[0] == reached else last.inputs[0]
        half = next((node for node in nodes if other in node.outputs), None)
        if number == 0.5 and not halved:
            halved = True
        elif other == x and x in factors:
            factors.remove(x)
        elif x in factors and not halved and half is not None and _half_of(half, known) == x:
            factors.remove(x)
            halved = True
        else:
            return None
        gone.add(last.index)
        reached = last.outputs[0]
        if halved and x not in factors:
            gelu = OnnxNode(
                last.index, "Gelu", last.name, (x,), last.outputs, {}, _GELU_VERSION, None
            )
            return [
                gelu if n.index == last.index else n
                for n in nodes
                if n.index not in gone or n.index == last.index
            ]
        last = _only_reader(nodes, reached)
    return None


def _over_root(node: OnnxNode, known: Mapping[str, Array]) -> str | None:
    """x of x / √2."""
    if len(node.inputs) != 2:
        return None
    for x, number in (node.inputs, node.inputs[::-1]):
        value = _number(known.get(number))
        if value is None or x in known:
            continue
        if node.op == "Mul" and math.isclose(value, 1 / _ROOT, rel_tol=1e-5):
            return x
        if node.op == "Div" and number == node.inputs[1]:
            return x if math.isclose(value, _ROOT, rel_tol=1e-5) else None
    return None


def _half_of(node: OnnxNode, known: Mapping[str, Array]) -> str | None:
    """x of ½ · x."""
    if node.op != "Mul":
        return None
    for x, number in (node.inputs, node.inputs[::-1]):
        if _number(known.get(number)) == 0.5:
            return x
    return None


def _other_number(node: OnnxNode, name: str, known: Mapping[str, Array]) -> float | None:
    others = [read for read in node.inputs if read != name]
    return _number(known.get(others[0])) if len(others) == 1 else None


def _number(data: Array | None) -> float | None:
    if data is None or np.size(data) != 1 or np.asarray(data).dtype.kind != "f":
        return None
    return float(np.asarray(data).reshape(()))


def _only_reader(nodes: Sequence[OnnxNode], name: str) -> OnnxNode | None:
    readers = [node for node in nodes if name in node.inputs]
    return readers[0] if len(readers) == 1 else None
