"""What the forms share."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Node
from ..onnx_layouts import Layout, natural
from ..onnx_writer import Writer

Form = Callable[[Writer, Node], None]


def plain(op_type: str) -> Form:
    """An operator on one value that has no attributes and keeps the layout."""

    def form(writer: Writer, node: Node) -> None:
        x, layout = writer.own(node.inputs[0])
        writer.define(node.output, writer.op(op_type, [x], f"{node.output}.raw"), layout)

    return form


def common_layout(writer: Writer, names: tuple[str, ...], rank: int) -> Layout:
    """The layout for operands that are read together, at the least cost of moving them.

    A computed operand of a lower rank broadcasts in the graph's order only. Of equals the first
    operand's layout is taken.
    """
    computed = [name for name in names if writer.source(name).data is None]
    if not computed or any(len(writer.shape(name)) != rank for name in computed):
        return natural(rank)
    candidates = [layout for name in computed for layout in writer.layouts(name)]
    return min(candidates, key=lambda layout: sum(writer.cost(name, layout) for name in computed))


def operand(writer: Writer, name: str, layout: Layout) -> str:
    """An operand that broadcasts: a constant gets the rank of `layout` before it is ordered."""
    data = writer.source(name).data
    rank = len(writer.shape(name))
    if data is None:
        return writer.want(name, layout if rank == len(layout) else natural(rank))
    full = data.reshape((1,) * (len(layout) - rank) + data.shape)
    return writer.operand(name, full.transpose(layout))
