"""One handler for each ATen operator that the graph has a word for; `HANDLERS` is the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Array, Padding
from ..shapes import Shape, elements
from .torch_export import ProgramReader, Wire, place, torch_shape, unsupported

if TYPE_CHECKING:
    import torch

    Handler = Callable[[ProgramReader, torch.fx.Node], None]


def _arguments(node: torch.fx.Node) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, defaults filled in."""
    schema = node.target._schema  # type: ignore[union-attr]
    bound = {
        parameter.name: parameter.default_value
        for parameter in schema.arguments
        if parameter.has_default_value()
    }
    names = [parameter.name for parameter in schema.arguments]
    return bound | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _pair(value: Any) -> tuple[int, int]:
    """torch gives an int, [n] or [height, width]."""
    if isinstance(value, int):
        return value, value
    sizes = [int(size) for size in value]
    return (sizes[0], sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _symmetric(value: Any) -> Padding:
    height, width = _pair(value)
    return (height, height), (width, width)


def _channels_last(shape: Shape) -> Array:
    """Positions in torch's flattened (c, h, w) of the elements in (h, w, c) order."""
    return np.arange(np.prod(shape)).reshape(shape).transpose(1, 2, 0).ravel()


def refuse_training_mode(reader: ProgramReader, program: torch.export.ExportedProgram) -> None:
    """A module exported in training mode updates its statistics: UnsupportedOpError."""
    for node in program.graph.nodes:
        if str(node.target) in _DIFFER_IN_TRAINING:
            arguments = _arguments(node)
            if arguments.get("training") or arguments.get("train"):
                what = f"'{node.target}' in training mode (call .eval() before the export)"
                raise unsupported(reader, node, what)


def _conv2d(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
    if args.get("transposed") or any(args.get("output_padding", ())):
        raise unsupported(reader, node, "a transposed convolution")
    x = reader.image(args["input"], node)
    weights = reader.constant(args["weight"], node)
    assert weights is not None
    if weights.ndim != 4:
        raise unsupported(reader, node, f"a convolution with weights {weights.shape}")
    channels = reader.build.shape(x)[3]
    dilation = _pair(args["dilation"])
    padding = _conv_padding(args["padding"], weights.shape[2:], dilation)
    bias = reader.constant(args["bias"], node)
    options: dict[str, Any] = {
        "stride": _pair(args["stride"]),
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
    return _symmetric(amount)


def _batch_norm(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
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
        order = _channels_last(wire.flattened)
        scale, offset = scale[order], offset[order]
    value = reader.build.batch_norm(wire.value, scale, offset, place(node))
    if isinstance(node.meta["val"], tuple | list):  # core ATen also returns statistics
        reader.wires[node.name] = Wire(value, wire.shape, wire.flattened)
    else:
        reader.put(node, value, wire.flattened)


def _linear(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
    weights = reader.constant(args["weight"], node)
    assert weights is not None
    _dense(reader, node, args["input"], weights, reader.constant(args["bias"], node))


def _addmm(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
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
        weights = weights[:, _channels_last(wire.flattened)]
    source = place(node)
    reader.put(node, reader.build.fully_connected(wire.value, weights, bias, source=source))


def _relu(reader: ProgramReader, node: torch.fx.Node) -> None:
    wire = reader.wire(node.args[0], node)
    reader.put(node, reader.build.relu(wire.value, place(node)), wire.flattened)


def _relu6(reader: ProgramReader, node: torch.fx.Node) -> None:
    wire = reader.wire(node.args[0], node)
    reader.put(node, reader.build.relu6(wire.value, place(node)), wire.flattened)


def _clamp(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
    low = args.get("min", args.get("min_val"))
    high = args.get("max", args.get("max_val"))
    if low == 0 and high is None:
        _relu(reader, node)
    elif low == 0 and high == 6:
        _relu6(reader, node)
    else:
        raise unsupported(reader, node, f"a clamp to {low}…{high}")


def _add(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
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


def _max_pool(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
    if _pair(args["dilation"]) != (1, 1):
        raise unsupported(reader, node, "a dilated max pool")
    kernel = _pair(args["kernel_size"])
    stride = _pair(args["stride"]) if args["stride"] else kernel
    x = reader.image(args["self"], node)
    padding = _symmetric(args["padding"])
    reader.put(node, reader.build.max_pool2d(x, kernel, stride, padding, place(node)))


def _average_pool(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
    if args["divisor_override"] is not None:
        raise unsupported(reader, node, "an average pool with its own divisor")
    kernel = _pair(args["kernel_size"])
    stride = _pair(args["stride"]) if args["stride"] else kernel
    padding = _symmetric(args["padding"])
    x = reader.image(args["self"], node)
    if args["count_include_pad"] and padding != ((0, 0), (0, 0)):
        x = reader.build.pad(x, padding, place(node))
        padding = ((0, 0), (0, 0))
    reader.put(node, reader.build.average_pool2d(x, kernel, stride, padding, place(node)))


def _adaptive_pool(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
    size = _pair(args["output_size"])
    x = reader.image(args["self"], node)
    _, height, width, _ = reader.build.shape(x)
    if size == (1, 1):
        reader.put(node, reader.build.mean(x, place(node)))
        return
    if height % size[0] or width % size[1]:
        raise unsupported(reader, node, f"an adaptive pool of {height}×{width} to {size}")
    kernel = height // size[0], width // size[1]
    reader.put(node, reader.build.average_pool2d(x, kernel, kernel, source=place(node)))


def _mean(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
    wire = reader.wire(args["self"], node)
    axes = sorted(axis % len(wire.shape) for axis in args["dim"] or ())
    if len(wire.shape) != 4 or axes != [2, 3]:
        raise unsupported(reader, node, f"a mean over axes {axes} of {wire.shape}")
    reader.put(node, reader.build.mean(reader.image(args["self"], node), place(node)))


def _pad(reader: ProgramReader, node: torch.fx.Node) -> None:
    args = _arguments(node)
    amount = [int(size) for size in args["pad"]] + [0, 0, 0, 0]
    fill = args.get("value") or 0
    if args.get("mode", "constant") != "constant" or fill != 0 or any(amount[4:]):
        raise unsupported(reader, node, "a padding that is not zeros around height and width")
    padding = ((amount[2], amount[3]), (amount[0], amount[1]))
    x = reader.image(args["self"], node)
    reader.put(node, reader.build.pad(x, padding, place(node)))


def _reshape(reader: ProgramReader, node: torch.fx.Node) -> None:
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


def _same(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Dropout in eval mode, clones and the like."""
    name = node.args[0].name  # type: ignore[union-attr]
    if name in reader.constants:
        reader.constants[node.name] = reader.constants[name]
        return
    wire = reader.wire(node.args[0], node)
    reader.put(node, wire.value, wire.flattened)


def _softmax(reader: ProgramReader, node: torch.fx.Node) -> None:
    """The last operator: left out, because graphs give logits."""
    if node.name != reader.output:
        raise unsupported(reader, node, "a softmax inside the model")
    _same(reader, node)


def _transpose_weights(reader: ProgramReader, node: torch.fx.Node) -> None:
    """Core ATen transposes the weights of a Linear; activations stay where they are."""
    weights = reader.constants.get(getattr(node.args[0], "name", ""))
    if weights is None or weights.ndim != 2:
        raise unsupported(reader, node, f"'{node.target}' of an activation")
    reader.constants[node.name] = weights.T


def _first_result(reader: ProgramReader, node: torch.fx.Node) -> None:
    """`getitem`: the first result is the tensor, the others are statistics or indices."""
    wire = reader.wire(node.args[0], node)
    if node.args[1] == 0:
        reader.put(node, wire.value, wire.flattened)
    elif node.users:
        raise unsupported(reader, node, "the second result of an operator")


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
    "aten.max_pool2d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.adaptive_avg_pool2d.default": _adaptive_pool,
    "aten.mean.dim": _mean,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": _pad,
    "aten.flatten.using_ints": _reshape,
    "aten.view.default": _reshape,
    "aten.reshape.default": _reshape,
    "aten.squeeze.dims": _reshape,
    "aten.squeeze.dim": _reshape,
    "aten.unsqueeze.default": _reshape,
    "aten.dropout.default": _same,
    "aten.dropout_.default": _same,
    "aten.feature_dropout.default": _same,
    "aten.clone.default": _same,
    "aten.contiguous.default": _same,
    "aten.alias.default": _same,
    "aten.detach_.default": _same,
    "aten.lift_fresh_copy.default": _same,
    "aten.softmax.int": _softmax,
    "aten.log_softmax.int": _softmax,
    "aten._softmax.default": _softmax,
    "aten._log_softmax.default": _softmax,
    "aten.permute.default": _transpose_weights,
    "aten.t.default": _transpose_weights,
    "aten.transpose.int": _transpose_weights,
    "<built-in function getitem>": _first_result,
}
