"""Writes in place, in the training IR: safe to read as values unless memory is shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def writes_through_views(program: torch.export.ExportedProgram) -> bool:
    """Whether an operator writes to a tensor that a view shares, or that is read again.

    `relu_(conv)` is as good as `relu(conv)`: later readers read its result. `view.add_(1)` also
    changes what the view was taken of, which values cannot say.
    """
    for node in program.graph.nodes:
        written = node.args[0] if _writes(node) and node.args else None
        if written is None or not hasattr(written, "users"):
            continue
        if written.op == "placeholder" or _is_view(written) or len(written.users) > 1:
            return True
    return False


def _writes(node: torch.fx.Node) -> bool:
    schema: Any = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def _is_view(node: torch.fx.Node) -> bool:
    """Whether the result may share memory with an operand: its schema says so."""
    schema: Any = getattr(node.target, "_schema", None)
    if schema is None:  # an element of a list, which may be a split
        return True
    shares = any(result.alias_info is not None for result in schema.returns)
    return shares and not schema.is_mutable
