"""Handlers of operators that slide over or pad an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .torch_arguments import arguments, pair, symmetric
from .torch_export import ProgramReader, place, unsupported

if TYPE_CHECKING:
    import torch


def max_pool(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Largest of each window; partial windows do not count."""
    args = arguments(node)
    if pair(args["dilation"]) != (1, 1):
        raise unsupported(reader, node, "a dilated max pool")
    kernel = pair(args["kernel_size"])
    stride = pair(args["stride"]) if args["stride"] else kernel
    x = reader.image(args["self"], node)
    padding = symmetric(args["padding"])
    reader.put(node, reader.build.max_pool2d(x, kernel, stride, padding, place(node)))


def average_pool(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Mean of each window; padding that counts becomes a PAD."""
    args = arguments(node)
    if args["divisor_override"] is not None:
        raise unsupported(reader, node, "an average pool with its own divisor")
    kernel = pair(args["kernel_size"])
    stride = pair(args["stride"]) if args["stride"] else kernel
    padding = symmetric(args["padding"])
    x = reader.image(args["self"], node)
    if args["count_include_pad"] and padding != ((0, 0), (0, 0)):
        x = reader.build.pad(x, padding, place(node))
        padding = ((0, 0), (0, 0))
    reader.put(node, reader.build.average_pool2d(x, kernel, stride, padding, place(node)))


def adaptive_pool(reader: ProgramReader, node: torch.fx.Node) -> None:
    """A mean where one element is asked for, else a pool that divides the image."""
    args = arguments(node)
    size = pair(args["output_size"])
    x = reader.image(args["self"], node)
    _, height, width, _ = reader.build.shape(x)
    if size == (1, 1):
        reader.put(node, reader.build.mean(x, place(node)))
        return
    if height % size[0] or width % size[1]:
        raise unsupported(reader, node, f"an adaptive pool of {height}×{width} to {size}")
    kernel = height // size[0], width // size[1]
    reader.put(node, reader.build.average_pool2d(x, kernel, kernel, source=place(node)))


def mean(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Over height and width, kept or dropped."""
    args = arguments(node)
    wire = reader.wire(args["self"], node)
    axes = sorted(axis % len(wire.shape) for axis in args["dim"] or ())
    if len(wire.shape) != 4 or axes != [2, 3]:
        raise unsupported(reader, node, f"a mean over axes {axes} of {wire.shape}")
    reader.put(node, reader.build.mean(reader.image(args["self"], node), place(node)))


def pad(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Zeros around height and width, given last axis first."""
    args = arguments(node)
    amount = [int(size) for size in args["pad"]] + [0, 0, 0, 0]
    fill = args.get("value") or 0
    if args.get("mode", "constant") != "constant" or fill != 0 or any(amount[4:]):
        raise unsupported(reader, node, "a padding that is not zeros around height and width")
    padding = ((amount[2], amount[3]), (amount[0], amount[1]))
    x = reader.image(args["self"], node)
    reader.put(node, reader.build.pad(x, padding, place(node)))
