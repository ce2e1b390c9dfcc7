"""`Nodes`: the nodes and initializers of an ONNX model, in order, under names of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Array, DType
from .onnx_tensors import initializer
from .shapes import Shape


class Nodes:
    """What a model is made of; `taken` are names that nothing made up here may bear."""

    def __init__(self, taken: tuple[str, ...]) -> None:
        from onnx import helper

        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._make_node: Any = helper.make_node
        self._stored: dict[tuple[object, Shape, bytes], str] = {}
        self._taken = set(taken)

    def op(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Append a node and return its output, `name` or something near it."""
        output = self._unique(name)
        self.finish(op_type, inputs, output, **attributes)
        return output

    def finish(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """Append the node that makes `output`; it needs no name beside that one."""
        self.nodes.append(self._make_node(op_type, inputs, [output], **attributes))

    def constant(self, name: str, data: Array, dtype: DType | None = None) -> str:
        """The name of an initializer that holds `data`: a new one, or one that does already.

        `dtype` says what numpy has no word for.
        """
        key = (dtype or data.dtype.str, data.shape, data.tobytes())
        if key not in self._stored:
            stored = self._unique(name)
            self.initializers.append(initializer(stored, data, dtype))
            self._stored[key] = stored
        return self._stored[key]

    def integers(self, name: str, *numbers: int) -> str:
        """An int64 vector: shapes, axes and amounts."""
        return self.constant(name, np.array(numbers, np.int64))

    def reshape(self, tensor: str, shape: Shape, name: str) -> str:
        """Another shape for all axes but the samples."""
        target = self.integers(f"{name}.shape", 0, *shape[1:])
        return self.op("Reshape", [tensor, target], name)

    def _unique(self, name: str) -> str:
        """`name`, or with a number where something else bears it."""
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}.{number}"
        self._taken.add(found)
        return found
