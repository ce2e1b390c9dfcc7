"""One handler for each ATen operator that the graph has a word for; `HANDLERS` is the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Array
from ..ops import Padding
from ..shapes import Shape
from .torch_arguments import arguments, channels_last, pair, symmetric
from .torch_export import ProgramReader, Wire, place, unsupported
from .torch_images import adaptive_pool, average_pool, max_pool, mean, pad
from .torch_views import first_result, reshape, same, softmax, transpose_weights

if TYPE_CHECKING:
    import torch

    Handler = Callable[[ProgramReader, torch.fx.Node], None]


def refuse_training_mode(reader: ProgramReader, program: torch.export.ExportedProgram) -> None:
    """A module exported in training mode updates its statistics: UnsupportedOpError."""
    for node in program.graph.nodes:
        if str(node.target) in _DIFFER_IN_TRAINING:
            args = arguments(node)
            if args.get("training") or args.get("train"):
                what = f"'{node.target}' in training mode (call .eval() before the export)"
                raise unsupported(reader, node, what)


def _conv2d(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = arguments(node)
    if args.get("transposed") or any(args.get("output_padding", ())):
        raise unsupported(reader, node, "a transposed convolution")
    x = reader.image(args["input"], node)
    weights = reader.constant(args["weight"], node)
    assert weights is not None
    if weights.ndim != 4:
        raise unsupported(reader, node, f"a convolution with weights {weights.shape}")
    channels = reader.build.shape(x)[3]
    dilation = pair(args["dilation"])
    padding = _conv_padding(args["padding"], weights.shape[2:], dilation)
    bias = reader.constant(args["bias"], node)
    options: dict[str, Any] = {
        "stride": pair(args["stride"]),
        "padding": padding,
        "dilation": dilation,
        "source": place(node),
    }
    if args["groups"] == 1:
        value = reader.build.conv2d(x, weights.transpose(0, 2, 3, 1), bias, **options)
    elif args["groups"] == channels == weights.shape[0]:
        value = reader.build.depthwise_conv2d(x, weights.transpose(1, 2, 3, 0), bias, **options)
    else:
        raise unsupported(reader, node, f"a convolution of {args['groups']} groups")
    reader.put(node, value)


def _conv_padding(amount: Any, kernel: Shape, dilation: tuple[int, int]) -> Padding:
    if amount == "valid":
        return (0, 0), (0, 0)
    if amount == "same":  # torch puts the odd element after
        height, width = (step * (size - 1) for size, step in zip(kernel, dilation, strict=True))
        return (height // 2, height - height // 2), (width // 2, width - width // 2)
    return symmetric(amount)


def _batch_norm(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = arguments(node)
    wire = reader.wire(args["input"], node)
    mean = reader.constant(args["running_mean"], node)
    variance = reader.constant(args["running_var"], node)
    if mean is None or variance is None or len(wire.shape) not in (2, 4):
        raise unsupported(reader, node, f"a batch norm of {wire.shape} without statistics")
    deviation = np.sqrt(variance.astype(np.float64) + float(args["eps"]))
    gamma, beta = reader.constant(args["weight"], node), reader.constant(args["bias"], node)
    scale = (1.0 if gamma is None else gamma.astype(np.float64)) / deviation
    offset = (0.0 if beta is None else beta.astype(np.float64)) - mean * scale
    if wire.flattened:
        order = channels_last(wire.flattened)
        scale, offset = scale[order], offset[order]
    value = reader.build.batch_norm(wire.value, scale, offset, place(node))
    if isinstance(node.meta["val"], tuple | list):  # core ATen also returns statistics
        reader.wires[node.name] = Wire(value, wire.shape, wire.flattened)
    else:
        reader.put(node, value, wire.flattened)


def _linear(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = arguments(node)
    weights = reader.constant(args["weight"], node)
    assert weights is not None
    _dense(reader, node, args["input"], weights, reader.constant(args["bias"], node))


def _addmm(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = arguments(node)
    transposed = reader.constant(args["mat2"], node)
    assert transposed is not None
    if args["beta"] != 1 or args["alpha"] != 1:
        raise unsupported(reader, node, "a scaled addmm")
    _dense(reader, node, args["mat1"], transposed.T, reader.constant(args["self"], node))


def _dense(
    reader: ProgramReader, node: torch.fx.Node, x: Any, weights: Array, bias: Array | None
) -> None:
    wire = reader.wire(x, node)
    if len(wire.shape) != 2:
        raise unsupported(reader, node, f"a Linear of a tensor {wire.shape}")
    if wire.flattened:
        weights = weights[:, channels_last(wire.flattened)]
    source = place(node)
    reader.put(node, reader.build.fully_connected(wire.value, weights, bias, source=source))


def _relu(reader: ProgramReader, node: torch.fx.Node) -> None:
    wire = reader.wire(node.args[0], node)
    reader.put(node, reader.build.relu(wire.value, place(node)), wire.flattened)


def _relu6(reader: ProgramReader, node: torch.fx.Node) -> None:
    wire = reader.wire(node.args[0], node)
    reader.put(node, reader.build.relu6(wire.value, place(node)), wire.flattened)


def _clamp(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = arguments(node)
    low = args.get("min", args.get("min_val"))
    high = args.get("max", args.get("max_val"))
    if low == 0 and high is None:
        _relu(reader, node)
    elif low == 0 and high == 6:
        _relu6(reader, node)
    else:
        raise unsupported(reader, node, f"a clamp to {low}…{high}")


def _add(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = arguments(node)
    if args.get("alpha", 1) != 1:
        raise unsupported(reader, node, "a scaled addition")
    a, b = reader.wire(args["self"], node), reader.wire(args["other"], node)
    if a.shape != b.shape or a.flattened != b.flattened:
        raise unsupported(reader, node, f"an addition of {a.shape} and {b.shape}")
    if reader.build.shape(a.value) != reader.build.shape(b.value):
        values = reader.image(args["self"], node), reader.image(args["other"], node)
    else:
        values = a.value, b.value
    reader.put(node, reader.build.add(*values, source=place(node)), a.flattened)


_DIFFER_IN_TRAINING = frozenset(
    {"aten.batch_norm.default", "aten.dropout.default", "aten.dropout_.default"}
)

HANDLERS: Mapping[str, Handler] = {
    "aten.conv2d.default": _conv2d,
    "aten.conv2d.padding": _conv2d,
    "aten.convolution.default": _conv2d,
    "aten.batch_norm.default": _batch_norm,
    "aten._native_batch_norm_legit_no_training.default": _batch_norm,
    "aten.linear.default": _linear,
    "aten.addmm.default": _addmm,
    "aten.relu.default": _relu,
    "aten.relu_.default": _relu,
    "aten.relu6.default": _relu6,
    "aten.relu6_.default": _relu6,
    "aten.hardtanh.default": _clamp,
    "aten.hardtanh_.default": _clamp,
    "aten.clamp.default": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.add.Tensor": _add,
    "aten.add_.Tensor": _add,
    "aten.max_pool2d.default": max_pool,
    "aten.avg_pool2d.default": average_pool,
    "aten.adaptive_avg_pool2d.default": adaptive_pool,
    "aten.mean.dim": mean,
    "aten.pad.default": pad,
    "aten.constant_pad_nd.default": pad,
    "aten.flatten.using_ints": reshape,
    "aten.view.default": reshape,
    "aten.reshape.default": reshape,
    "aten.squeeze.dims": reshape,
    "aten.squeeze.dim": reshape,
    "aten.unsqueeze.default": reshape,
    "aten.dropout.default": same,
    "aten.dropout_.default": same,
    "aten.feature_dropout.default": same,
    "aten.clone.default": same,
    "aten.contiguous.default": same,
    "aten.alias.default": same,
    "aten.detach_.default": same,
    "aten.lift_fresh_copy.default": same,
    "aten.softmax.int": softmax,
    "aten.log_softmax.int": softmax,
    "aten._softmax.default": softmax,
    "aten._log_softmax.default": softmax,
    "aten.permute.default": transpose_weights,
    "aten.t.default": transpose_weights,
    "aten.transpose.int": transpose_weights,
    "<built-in function getitem>": first_result,
}
