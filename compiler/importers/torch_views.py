"""Handlers of operators that move nothing: other shapes, other names, the last softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..shapes import Shape, elements
from .torch_export import ProgramReader, Wire, place, torch_shape, unsupported

if TYPE_CHECKING:
    import torch


def reshape(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Flatten, view, squeeze and the like: between images and features."""
    wire = reader.wire(node.args[0], node)
    shape = torch_shape(node)
    if shape == wire.shape:
        reader.put(node, wire.value, wire.flattened)
    elif _is_vector(wire.shape) and _is_vector(shape):
        value = wire.value
        if len(reader.build.shape(value)) == 4:
            value = reader.build.reshape(value, (1, elements(shape)), place(node))
        reader.put(node, value)
    elif len(wire.shape) == 4 and len(shape) == 2:
        _flatten(reader, node, wire)
    elif len(wire.shape) == 2 and len(shape) == 4:
        _unflatten(reader, node, wire)
    else:
        raise unsupported(reader, node, f"a reshape of {wire.shape} to {shape}")


def _is_vector(shape: Shape) -> bool:
    """At most one axis is longer than 1: then every layout has the same order."""
    return max(shape) == elements(shape)


def _flatten(reader: ProgramReader, node: torch.fx.Node, wire: Wire) -> None:
    _, channels, height, width = wire.shape
    value = wire.value
    if len(reader.build.shape(value)) == 4:
        value = reader.build.reshape(value, torch_shape(node), place(node))
    ordered = channels == 1 or height * width == 1
    reader.put(node, value, None if ordered else (channels, height, width))


def _unflatten(reader: ProgramReader, node: torch.fx.Node, wire: Wire) -> None:
    _, channels, height, width = torch_shape(node)
    ordered = channels == 1 or height * width == 1
    if wire.flattened != (None if ordered else (channels, height, width)):
        raise unsupported(reader, node, "a reshape of features to an image of several channels")
    value = reader.build.reshape(wire.value, (1, height, width, channels), place(node))
    reader.put(node, value)


def same(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Dropout in eval mode, clones and the like."""
    name = node.args[0].name  # type: ignore[union-attr]
    if name in reader.constants:
        reader.constants[node.name] = reader.constants[name]
        return
    wire = reader.wire(node.args[0], node)
    reader.put(node, wire.value, wire.flattened)


def softmax(reader: ProgramReader, node: torch.fx.Node) -> None:
    """The last operator: left out, because graphs give logits."""
    if node.name != reader.output:
        raise unsupported(reader, node, "a softmax inside the model")
    same(reader, node)


def transpose_weights(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Core ATen transposes the weights of a Linear; activations stay where they are."""
    weights = reader.constants.get(getattr(node.args[0], "name", ""))
    if weights is None or weights.ndim != 2:
        raise unsupported(reader, node, f"'{node.target}' of an activation")
    reader.constants[node.name] = weights.T


def first_result(reader: ProgramReader, node: torch.fx.Node) -> None:
    """`getitem`: the first result is the tensor, the others are statistics or indices."""
    wire = reader.wire(node.args[0], node)
    if node.args[1] == 0:
        reader.put(node, wire.value, wire.flattened)
    elif node.users:
        raise unsupported(reader, node, "the second result of an operator")
