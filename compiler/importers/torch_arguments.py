"""Arguments of ATen operators, in the graph's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Array
from ..ops import Padding
from ..shapes import Shape

if TYPE_CHECKING:
    import torch


def arguments(node: torch.fx.Node) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, defaults filled in."""
    schema = node.target._schema  # type: ignore[union-attr]
    bound = {
        parameter.name: parameter.default_value
        for parameter in schema.arguments
        if parameter.has_default_value()
    }
    names = [parameter.name for parameter in schema.arguments]
    return bound | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def pair(value: Any) -> tuple[int, int]:
    """torch gives an int, [n] or [height, width]."""
    if isinstance(value, int):
        return value, value
    sizes = [int(size) for size in value]
    return (sizes[0], sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def symmetric(value: Any) -> Padding:
    """The same amount before and after, in each direction."""
    height, width = pair(value)
    return (height, height), (width, width)


def channels_last(shape: Shape) -> Array:
    """Positions in torch's flattened (c, h, w) of the elements in (h, w, c) order."""
    return np.arange(np.prod(shape)).reshape(shape).transpose(1, 2, 0).ravel()
