"""`Call`: one operator of a program with its arguments resolved, and how handlers read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph import Array
from ...shapes import Shape
from ..layout import Frame, NoWordError, Operand, Tensor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Call:
    """Arguments by the names of the operator's schema; tensors among them are operands.

    `shapes` are those of the results, as torch says.
    """

    frame: Frame
    target: str
    args: Mapping[str, Any]
    shapes: tuple[Shape, ...]
    is_output: bool

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    @property
    def shape(self) -> Shape:
        """Shape of the first result."""
        return self.shapes[0]

    def operand(self, name: str) -> Operand:
        """A tensor or number as an operand, numbers in float32."""
        return operand(self.args[name])

    def tensor(self, name: str) -> Tensor:
        """A computed operand."""
        return self.frame.computed(self.operand(name))

    def array(self, name: str) -> Array | None:
        """A weight; None stays None."""
        value = self.args[name]
        if value is None or isinstance(value, np.ndarray):
            return value
        raise NoWordError(f"'{self.target}' with computed weights")

    def weights(self, name: str) -> Array:
        """A weight that is there."""
        value = self.array(name)
        if value is None:
            raise NoWordError(f"'{self.target}' without {name}")
        return value


Handler = Callable[[Call], Any]
"""Gives an operand, or a list of them where the operator has several results."""


def operand(value: Any) -> Operand:
    """A tensor or number as an operand; masks of booleans are zeros and ones."""
    return value if isinstance(value, Tensor) else np.asarray(value, np.float32)


def axis_of(axis: int, x: Operand) -> int:
    """A framework's axis, which may count from the end."""
    return axis % max(len(x.shape), 1)


def bound(node: torch.fx.Node) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:  # Python's getitem
        return dict(zip(("self", "index"), node.args, strict=False))
    defaults = {
        parameter.name: parameter.default_value
        for parameter in schema.arguments
        if parameter.has_default_value()
    }
    names = [parameter.name for parameter in schema.arguments]
    return defaults | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
