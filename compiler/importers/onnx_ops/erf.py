"""x · ½ · (1 + erf(x / √2)), as exporters write a GELU, becomes one node again.

Quantizers write QuantizeLinear and DequantizeLinear between its operators: they are seen through.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...graph import Array
from ..onnx_file import OnnxNode

_ROOT = math.sqrt(2.0)
_GELU_VERSION = 20
_FORMATS = ("QuantizeLinear", "DequantizeLinear")


def fuse_erf(nodes: Sequence[OnnxNode], constants: Mapping[str, Array]) -> tuple[OnnxNode, ...]:
    """The nodes with each such product as a Gelu; an Erf that is no part of one stays."""
    if not any(node.op == "Erf" for node in nodes):
        return tuple(nodes)
    links = _Links(nodes, constants)
    gone: set[int] = set()
    fused: dict[int, OnnxNode] = {}
    for node in nodes:
        found = links.product(node) if node.op == "Erf" else None
        if found is not None:
            x, last, between = found
            gone |= between | links.formats_behind(between - {last.index})
            fused[last.index] = OnnxNode(
                last.index, "Gelu", last.name, (x,), last.outputs, {}, _GELU_VERSION
            )
    return tuple(
        fused.get(node.index, node)
        for node in nodes
        if node.index not in gone or node.index in fused
    )


class _Links:
    """Who writes and reads what, and the numbers among the constants."""

    def __init__(self, nodes: Iterable[OnnxNode], constants: Mapping[str, Array]) -> None:
        self._writer: dict[str, OnnxNode] = {}
        self._readers: dict[str, list[OnnxNode]] = defaultdict(list)
        self._numbers: dict[str, float] = {}
        self._plain: dict[str, str] = {}  # what a chain of formats starts from
        self._formats: dict[int, str] = {}  # the same by the index of the node
        for name, data in constants.items():
            if data.size == 1 and data.dtype.kind == "f":
                self._numbers[name] = float(data.reshape(()))
        for node in nodes:
            if self._is_format(node, constants):
                continue
            for name in node.outputs:
                self._writer[name] = node
            for name in node.inputs:
                self._readers[self.plain(name)].append(node)
            if node.op == "Constant" and (number := _number_of(node)) is not None:
                self._numbers[node.outputs[0]] = number

    def plain(self, name: str) -> str:
        """The float value that `name` is a quantized form of, or `name`."""
        return self._plain.get(name, name)

    def formats_behind(self, indices: set[int]) -> set[int]:
        """Nodes that only quantize and dequantize what these nodes give."""
        return {
            index
            for index, name in self._formats.items()
            if (writer := self._writer.get(name)) is not None and writer.index in indices
        }

    def _is_format(self, node: OnnxNode, constants: Mapping[str, Array]) -> bool:
        """Whether the node only changes the number format; remembers of what."""
        if node.op not in _FORMATS or not node.inputs or not node.outputs:
            return False
        name, output = node.inputs[0], node.outputs[0]
        if node.op == "DequantizeLinear" and name not in self._plain:
            if (number := _dequantized(node, constants)) is not None:
                self._numbers[output] = number
            return False
        self._plain[output] = self._formats[node.index] = self.plain(name)
        return True

    def product(self, erf: OnnxNode) -> tuple[str, OnnxNode, set[int]] | None:
        """x, the last multiplication and what stands between, of a GELU around `erf`."""
        x = self._over_root(self._writer.get(self.plain(erf.inputs[0])))
        one = self._only_reader(erf.outputs[0])
        if x is None or one is None or one.op != "Add":
            return None
        others = [name for name in one.inputs if self.plain(name) != erf.outputs[0]]
        if len(others) != 1 or not self._is_number(others[0], 1.0):
            return None
        return self._factors(x, one, {erf.index, one.index})

    def _factors(
        self, x: str, node: OnnxNode, between: set[int]
    ) -> tuple[str, OnnxNode, set[int]] | None:
        """Multiplications by x and by ½, in any order, or by ½ · x at once."""
        by_x = by_half = False
        while not (by_x and by_half):
            reached = node.outputs[0]
            following = self._only_reader(reached)
            if following is None or following.op != "Mul":
                return None
            if len({self.plain(name) for name in following.inputs}) != 2:
                return None
            other = next(name for name in following.inputs if self.plain(name) != reached)
            if not by_half and self._is_number(other, 0.5):
                by_half = True
            elif not by_x and self.plain(other) == self.plain(x):
                by_x = True
            elif not by_x and not by_half and self._half_of(other) == self.plain(x):
                by_x = by_half = True
            else:
                return None
            node = following
            between.add(node.index)
        return x, node, between

    def _over_root(self, node: OnnxNode | None) -> str | None:
        """x of x / √2, or of x times its inverse."""
        if node is None or len(node.inputs) != 2 or node.op not in ("Mul", "Div"):
            return None
        first, second = node.inputs
        if node.op == "Div":
            return first if self._is_number(second, _ROOT) else None
        if self._is_number(second, 1 / _ROOT):
            return first
        return second if self._is_number(first, 1 / _ROOT) else None

    def _half_of(self, name: str) -> str | None:
        """x of a value that is ½ · x."""
        node = self._writer.get(self.plain(name))
        if node is None or node.op != "Mul" or len(node.inputs) != 2:
            return None
        first, second = node.inputs
        if self._is_number(second, 0.5):
            return self.plain(first)
        return self.plain(second) if self._is_number(first, 0.5) else None

    def _is_number(self, name: str, expected: float) -> bool:
        """Whether `name` is this constant, or was before it was rounded to a format."""
        number = self._numbers.get(self.plain(name))
        return number is not None and math.isclose(number, expected, rel_tol=1e-5)

    def _only_reader(self, name: str) -> OnnxNode | None:
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 else None


def _dequantized(node: OnnxNode, constants: Mapping[str, Array]) -> float | None:
    """The number that a DequantizeLinear of constants gives."""
    stored, scale, *zero = (constants.get(name) for name in node.inputs)
    if stored is None or scale is None or stored.size != 1 or scale.size != 1:
        return None
    shift = 0.0 if not zero or zero[0] is None else float(zero[0].reshape(-1)[0])
    return (float(stored.reshape(())) - shift) * float(scale.reshape(()))


def _number_of(node: OnnxNode) -> float | None:
    from onnx import TensorProto

    from ..onnx_file import as_array

    value = node.attributes.get("value", node.attributes.get("value_float"))
    data = as_array(value, node.name) if isinstance(value, TensorProto) else np.asarray(value)
    if data.dtype.kind != "f" or data.size != 1:
        return None
    return float(data.reshape(()))
