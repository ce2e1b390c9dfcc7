"""Convolutions, pools and resizes: channels first, as ONNX has them."""

from __future__ import annotations

import numpy as np

from ..errors import EmitError
from ..float_kernels.windows import nearest_rows
from ..graph import Array, Node
from ..onnx_layouts import CHANNELS_FIRST, natural
from ..onnx_writer import Writer
from ..ops import ConvAttrs, Op, Padding, PoolAttrs, ResizeAttrs, TransposeConvAttrs
from .common import Form


def _conv(writer: Writer, node: Node) -> None:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    x, weights, bias = node.inputs
    channels = writer.shape(x)[3]
    data = writer.data(weights)
    depthwise = node.op is Op.DEPTHWISE_CONV_2D
    data = data.transpose(3, 0, 1, 2) if depthwise else data.transpose(0, 3, 1, 2)
    raw = writer.op(
        "Conv",
        [
            writer.want(x, CHANNELS_FIRST),
            writer.weights(weights, data),
            writer.weights(bias, writer.data(bias)),
        ],
        f"{node.output}.raw",
        kernel_shape=list(data.shape[2:]),
        strides=list(attrs.stride),
        pads=_pads(attrs.padding),
        dilations=list(attrs.dilation),
        group=channels // data.shape[1],
    )
    writer.define(node.output, raw, CHANNELS_FIRST, attrs.activation)


def _transpose_conv(writer: Writer, node: Node) -> None:
    attrs = node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    x, weights, bias = node.inputs
    data = writer.data(weights).transpose(3, 0, 1, 2)  # (in, out, kh, kw)
    raw = writer.op(
        "ConvTranspose",
        [
            writer.want(x, CHANNELS_FIRST),
            writer.weights(weights, data, axis=1),
            writer.weights(bias, writer.data(bias)),
        ],
        f"{node.output}.raw",
        kernel_shape=list(data.shape[2:]),
        strides=list(attrs.stride),
        pads=_pads(attrs.padding),
    )
    writer.define(node.output, raw, CHANNELS_FIRST, attrs.activation)


def _pool(op_type: str, **extra: int) -> Form:
    def form(writer: Writer, node: Node) -> None:
        attrs = node.attrs
        assert isinstance(attrs, PoolAttrs)
        _check_pool(node, attrs)
        raw = writer.op(
            op_type,
            [writer.want(node.inputs[0], CHANNELS_FIRST)],
            f"{node.output}.raw",
            kernel_shape=list(attrs.kernel),
            strides=list(attrs.stride),
            pads=_pads(attrs.padding),
            **extra,
        )
        writer.define(node.output, raw, CHANNELS_FIRST)

    return form


def _check_pool(node: Node, attrs: PoolAttrs) -> None:
    """Raise EmitError where a window would hold nothing but padding."""
    if any(max(pads) >= size for pads, size in zip(attrs.padding, attrs.kernel, strict=True)):
        raise EmitError(
            f"{node.name}: padding {attrs.padding} is as wide as the {attrs.kernel[0]}×"
            f"{attrs.kernel[1]} window; pad less, or in a layer of its own"
        )


def _resize_nearest(writer: Writer, node: Node) -> None:
    """Resize where each row is repeated; else by row numbers, which no rounding can change."""
    attrs = node.attrs
    assert isinstance(attrs, ResizeAttrs)
    x, output = node.inputs[0], node.output
    sizes = writer.shape(x)[1:3]
    rows, columns = (
        nearest_rows(before, after, attrs) for before, after in zip(sizes, attrs.size, strict=True)
    )
    tensor = writer.want(x, CHANNELS_FIRST)
    if _repeats(rows, sizes[0]) and _repeats(columns, sizes[1]):
        raw = writer.op(
            "Resize",
            [tensor, "", _scales(writer, node)],
            f"{output}.raw",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    else:
        down = writer.constant(f"{output}.rows", rows)
        along = writer.constant(f"{output}.columns", columns)
        raw = writer.op("Gather", [tensor, down], f"{output}.down", axis=2)
        raw = writer.op("Gather", [raw, along], f"{output}.raw", axis=3)
    writer.define(output, raw, CHANNELS_FIRST)


def _repeats(rows: Array, size: int) -> bool:
    """Whether every one of `size` input rows is read equally often, one after the other."""
    return len(rows) % size == 0 and np.array_equal(
        rows, np.arange(len(rows)) // (len(rows) // size)
    )


def _scales(writer: Writer, node: Node) -> str:
    """Factors, not sizes: these would fix the number of samples.

    The axes attribute would not, but ONNX Runtime's transpose optimizer breaks what has it.
    """
    before, after = writer.shape(node.inputs[0])[1:3], writer.shape(node.output)[1:3]
    factors = [_factor(*pair) for pair in zip(before, after, strict=True)]
    return writer.constant(f"{node.output}.scales", np.array([1, 1, *factors], np.float32))


def _factor(before: int, after: int) -> np.float32:
    """after / before, such that its product with `before` is not rounded down below `after`."""
    factor = np.float32(after) / np.float32(before)
    while int(factor * np.float32(before)) < after or int(float(factor) * before) < after:
        factor = np.nextafter(factor, np.float32(np.inf))
    return factor


def _resize_bilinear(writer: Writer, node: Node) -> None:
    attrs = node.attrs
    assert isinstance(attrs, ResizeAttrs)
    if attrs.align_corners and attrs.half_pixel_centers:
        raise EmitError(
            f"{node.name}: ONNX cannot resize by aligned corners and half-pixel centers at once; "
            "choose one of them"
        )
    mode = "align_corners" if attrs.align_corners else "asymmetric"
    raw = writer.op(
        "Resize",
        [_held_image(writer, node), "", _scales(writer, node)],
        f"{node.output}.raw",
        mode="linear",
        coordinate_transformation_mode="half_pixel" if attrs.half_pixel_centers else mode,
    )
    writer.define(node.output, raw, CHANNELS_FIRST)


def _held_image(writer: Writer, node: Node) -> str:
    """The image, channels first; where it was turned otherwise, by a window of one element.

    ONNX Runtime moves a transpose behind the Resize that reads it, and then finds no kernel where
    that leaves channels between height and width. It moves none behind a pool.
    """
    x = node.inputs[0]
    turned = writer.layouts(x)[0] not in (CHANNELS_FIRST, natural(4))
    tensor = writer.want(x, CHANNELS_FIRST)
    if not turned:
        return tensor
    return writer.op("AveragePool", [tensor], f"{node.output}.held", kernel_shape=[1, 1])


def _pads(padding: Padding) -> list[int]:
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


WINDOWS: dict[Op, Form] = {
    Op.CONV_2D: _conv,
    Op.DEPTHWISE_CONV_2D: _conv,
    Op.TRANSPOSE_CONV: _transpose_conv,
    Op.MAX_POOL_2D: _pool("MaxPool"),
    Op.AVERAGE_POOL_2D: _pool("AveragePool", count_include_pad=0),
    Op.RESIZE_NEAREST_NEIGHBOR: _resize_nearest,
    Op.RESIZE_BILINEAR: _resize_bilinear,
}
