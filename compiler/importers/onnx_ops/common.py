"""What every handler of an ONNX operator reads: operands and attributes of one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnsupportedOpError
from ...graph import Array
from ..layout import Frame, Operand, Tensor
from ..onnx_file import OnnxNode

if TYPE_CHECKING:
    from ..onnx import Entry, OnnxReader


class Call:
    """One node, and the reader that knows its operands."""

    def __init__(self, reader: OnnxReader, node: OnnxNode) -> None:
        self.reader = reader
        self.node = node

    @property
    def frame(self) -> Frame:
        """Where nodes of the graph are written."""
        return self.reader.frame

    @property
    def version(self) -> int:
        """The opset in which the operator's meaning came up."""
        return self.node.version

    def operand(self, position: int = 0) -> Operand:
        """A float operand, computed or known; float32 where it is known."""
        entry = self.optional(position)
        if entry is None:
            raise self.unsupported(f"operand {position} is left out")
        return entry

    def optional(self, position: int) -> Operand | None:
        """A float operand; None where it is left out."""
        entry = self.reader.entry(self.node, position)
        if entry is None or isinstance(entry, Tensor):
            return entry
        if not isinstance(entry, np.ndarray):
            raise self.unsupported("it works on integers")
        if entry.dtype.kind != "f":
            raise self.unsupported(f"operand {position} is {entry.dtype}")
        return entry.astype(np.float32)

    def movable(self, position: int = 0) -> Operand:
        """An operand whose elements are only moved: known ones may be of any dtype."""
        entry = self.reader.entry(self.node, position)
        return entry if isinstance(entry, np.ndarray) else self.operand(position)

    def operands(self) -> list[Operand]:
        """All operands."""
        return [self.operand(position) for position in range(len(self.node.inputs))]

    def computed(self, position: int = 0) -> Tensor:
        """An operand as a handle."""
        return self.frame.computed(self.operand(position))

    def entry(self, position: int = 0) -> Entry | None:
        """An operand of whatever kind."""
        return self.reader.entry(self.node, position)

    def constant(self, position: int, what: str) -> Array | None:
        """An operand that must be known, as it is; None where it is left out."""
        entry = self.reader.entry(self.node, position)
        if entry is not None and not isinstance(entry, np.ndarray):
            name = self.node.inputs[position]
            raise self.unsupported(f"its {what} '{name}' is computed, bind it to a constant")
        return entry

    def floats(self, position: int, what: str) -> Array | None:
        """A known operand as float32."""
        data = self.constant(position, what)
        if data is not None and data.dtype.kind != "f":
            raise self.unsupported(f"its {what} is {data.dtype}")
        return None if data is None else data.astype(np.float32)

    def weights(self, position: int, what: str = "weights") -> Array:
        """A known operand as float32, which must be there."""
        data = self.floats(position, what)
        if data is None:
            raise self.unsupported(f"it has no {what}")
        if not np.isfinite(data).all():
            raise self.unsupported(f"its {what} are not finite")
        return data

    def integers(self, position: int, attribute: str) -> list[int] | None:
        """Integers of an operand, or of the attribute that held them in older opsets."""
        if attribute in self.node.attributes:
            return [int(value) for value in np.atleast_1d(self.node.attributes[attribute])]
        data = self.constant(position, attribute)
        return None if data is None else [int(value) for value in data.reshape(-1)]

    def integer(self, name: str, default: int) -> int:
        """An attribute."""
        return int(self.node.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """A float attribute, which the file holds in single precision."""
        return float(self.node.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.node.attributes.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def several(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """An attribute of integers."""
        return tuple(int(value) for value in self.node.attributes.get(name, default))

    def wants(self, position: int) -> bool:
        """Whether the file names an output at the position."""
        return position < len(self.node.outputs) and bool(self.node.outputs[position])

    def unsupported(self, why: str) -> UnsupportedOpError:
        """The error for a form that the graph has no word for."""
        return self.reader.unsupported(self.node, why)


Result = Any
"""An entry, or a list of them: one for each output."""
Handler = Callable[[Call], Result]
