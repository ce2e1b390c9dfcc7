"""ONNX files that protobuf reads and whose content lies."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.quantize import quantize


def sound_onnx(models: Path | None) -> Sequence[bytes]:
    """A float and a quantized model of our own."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("sound", (1, 8, 8, 3))
    x = build.conv2d(build.input, rng.normal(size=(6, 3, 3, 3)), activation=Activation.RELU)
    x = build.add(x, build.depthwise_conv2d(x, rng.normal(size=(1, 1, 1, 6))))
    x = build.mean(build.max_pool2d(x, (2, 2), (2, 2)))
    graph = build.finish(build.fully_connected(x, rng.normal(size=(4, 6)), rng.normal(size=4)))
    int8 = quantize(graph, rng.normal(size=(16, 8, 8, 3)).astype(np.float32))
    return [emit_onnx(graph), emit_onnx(int8)]


def lie_in_onnx(data: bytes, rng: random.Random) -> bytes:
    """One lie or several, serialized anew."""
    import onnx

    model = onnx.load_from_string(data)
    for _ in range(rng.choice((1, 1, 3))):
        with contextlib.suppress(IndexError, ValueError, TypeError):  # one lie took what it needs
            rng.choice(_LIES)(model, rng)
    return bytes(model.SerializeToString())


def _node(model: Any, rng: random.Random) -> Any:
    return rng.choice(list(model.graph.node))


def _constant(model: Any, rng: random.Random) -> Any:
    return rng.choice(list(model.graph.initializer))


def _huge_input(model: Any, rng: random.Random) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[rng.randrange(len(dims))].dim_value = rng.choice((2**40, 2**62, 0, -5, 2**31))


def _deep_input(model: Any, rng: random.Random) -> None:
    shape = model.graph.input[0].type.tensor_type.shape
    for _ in range(rng.choice((1, 20, 3000))):
        shape.dim.add().dim_value = 2


def _huge_constant(model: Any, rng: random.Random) -> None:
    tensor = _constant(model, rng)
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((2**31, 2**62, -1, 0, 7))


def _wrong_dtype(model: Any, rng: random.Random) -> None:
    _constant(model, rng).data_type = rng.randrange(0, 30)


def _cut_constant(model: Any, rng: random.Random) -> None:
    tensor = _constant(model, rng)
    tensor.raw_data = tensor.raw_data[: rng.randrange(0, 1 + len(tensor.raw_data))]


def _external_data(model: Any, rng: random.Random) -> None:
    """Weights in a file elsewhere: an importer must not follow the path."""
    tensor = _constant(model, rng)
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key = "location"
    entry.value = rng.choice(("../../../etc/passwd", "/etc/passwd", "/dev/zero", "a" * 5000))


def _cycle(model: Any, rng: random.Random) -> None:
    reader, writer = _node(model, rng), _node(model, rng)
    if reader.input:
        reader.input[rng.randrange(len(reader.input))] = writer.output[0]


def _order(model: Any, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _many(model: Any, rng: random.Random) -> None:
    node = _node(model, rng)
    model.graph.node.extend([node] * rng.choice((1, 3000)))


def _unknown_op(model: Any, rng: random.Random) -> None:
    node = _node(model, rng)
    node.op_type = rng.choice(("Nothing", "", "If", "Loop", "Scan", "LSTM", "x" * 5000))
    node.domain = rng.choice(("", "com.microsoft", "ai.onnx.ml", "evil"))


def _missing_value(model: Any, rng: random.Random) -> None:
    node = _node(model, rng)
    if node.input:
        node.input[0] = rng.choice(("nowhere", "", "\x00"))


def _attributes(model: Any, rng: random.Random) -> None:
    """Attributes of another type, of no sense, or by the thousand."""
    import onnx

    node = _node(model, rng)
    for attribute in list(node.attribute):
        if rng.random() < 0.7:
            node.attribute.remove(attribute)
            value = rng.choice(([2**40] * 2, [-1, -1], [0, 0], "text", 1.5, [1] * 5000, [0.5]))
            node.attribute.append(onnx.helper.make_attribute(attribute.name, value))


def _nested(model: Any, rng: random.Random) -> None:
    """Graphs in attributes of graphs."""
    import onnx

    graph = onnx.helper.make_graph([], "leaf", [], [])
    for _ in range(rng.choice((2, 60))):
        node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        graph = onnx.helper.make_graph([node], "level", [], [])
        if graph.ByteSize() > 100_000:
            break
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
    model.graph.node.append(node)


def _versions(model: Any, rng: random.Random) -> None:
    model.ir_version = rng.choice((0, 1, 99, 2**40))
    for opset in model.opset_import:
        opset.version = rng.choice((0, 1, 5, 999, 2**40))


def _no_ends(model: Any, rng: random.Random) -> None:
    ends = model.graph.input if rng.random() < 0.5 else model.graph.output
    if rng.random() < 0.5:
        del ends[:]
    else:
        ends.extend(list(ends) * 300)


def _names(model: Any, rng: random.Random) -> None:
    name = rng.choice(("", "x" * 100_000, "<script>", "../../etc/passwd"))
    for node in model.graph.node:
        node.name = name


def _sparse(model: Any, rng: random.Random) -> None:
    tensor = _constant(model, rng)
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor)
    sparse.dims.extend([2**40, 2**20])


_LIES = (
    *(_huge_input, _deep_input, _huge_constant, _wrong_dtype, _cut_constant, _external_data),
    *(_cycle, _order, _many, _unknown_op, _missing_value, _attributes, _nested, _versions),
    *(_no_ends, _names, _sparse),
)
