"""Matrix products: Gemm for vectors and rows, a 1×1 convolution where channels come first."""

from __future__ import annotations

from ..graph import Array, Node
from ..onnx_layouts import CHANNELS_FIRST, natural
from ..onnx_writer import Writer
from ..ops import DenseAttrs, MatmulAttrs, Op
from .common import Form, operand


def _dense(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, DenseAttrs)
    x = node.inputs[0]
    if writer.layouts(x)[0] == CHANNELS_FIRST:
        _pointwise(writer, node)
    elif len(writer.shape(x)) == 2:
        raw = _gemm(writer, node, writer.want(x, natural(2)))
        writer.define(node.output, raw, natural(2), node.attrs.activation)
    else:
        _rows(writer, node)


def _gemm(writer: Writer, node: Node, x: str) -> str:
    weights = writer.data(node.inputs[1])
    columns = writer.columns.get(node.inputs[0])
    if columns is not None:
        weights = weights[:, columns]
    operands = _parameters(writer, node, weights)
    return writer.op("Gemm", [x, *operands], f"{node.output}.raw", transB=1)


def _rows(writer: Writer, node: Node) -> None:
    """Gemm knows matrices only, and has an integer kernel: all rows of all samples are one."""
    assert isinstance(node.attrs, DenseAttrs)
    x, output = node.inputs[0], node.output
    layout = natural(len(writer.shape(output)))
    flat = writer.integers(f"{output}.flat", -1, writer.shape(x)[-1])
    rows = writer.op("Reshape", [writer.in_order(x), flat], f"{output}.rows")
    rows = writer.rounded(writer.graph.values[x], rows, f"{output}.rows")
    made = writer.settled(output, _gemm(writer, node, rows), node.attrs.activation)
    shape = writer.integers(f"{output}.shape", -1, *writer.shape(output)[1:])
    raw = writer.op("Reshape", [made, shape], f"{output}.reshaped")
    writer.define(output, raw, layout)


def _pointwise(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, DenseAttrs)
    weights = writer.data(node.inputs[1])
    operands = _parameters(writer, node, weights[:, :, None, None])
    x = writer.want(node.inputs[0], CHANNELS_FIRST)
    raw = writer.op("Conv", [x, *operands], f"{node.output}.raw", kernel_shape=[1, 1])
    writer.define(node.output, raw, CHANNELS_FIRST, node.attrs.activation)


def _parameters(writer: Writer, node: Node, weights: Array) -> list[str]:
    _, name, bias = node.inputs
    return [
        writer.weights(name, weights),
        writer.weights(bias, writer.data(bias)),
    ]


def _matmul(writer: Writer, node: Node) -> None:
    assert isinstance(node.attrs, MatmulAttrs)
    a, b = node.inputs
    layout = natural(len(writer.shape(b)))
    if node.attrs.transpose_b:
        layout = (*layout[:-2], layout[-1], layout[-2])
    tensors = [operand(writer, a, natural(len(writer.shape(a)))), operand(writer, b, layout)]
    raw = writer.op("MatMul", tensors, f"{node.output}.raw")
    writer.define(node.output, raw, natural(len(writer.shape(node.output))))


PRODUCTS: dict[Op, Form] = {
    Op.FULLY_CONNECTED: _dense,
    Op.BATCH_MATMUL: _matmul,
}
