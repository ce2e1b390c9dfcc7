"""TFLite files whose tables are well formed and whose content lies."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.probe_lstm import lstm_graph
from edgekiln.compiler.probes import more_probes
from edgekiln.compiler.quantize import quantize

# What a lie raises after another took what it needs, or where no flatbuffer can say it.
_TOO_MUCH = (IndexError, ValueError, TypeError, AttributeError, KeyError, struct.error)
_SMALL = 120_000  # bytes: larger sound files only cost time


def sound_tflite(models: Path | None) -> Sequence[bytes]:
    """A float and an int8 model of our own, two of operators along time, and small reference
    models where they are."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("sound", (1, 8, 8, 3))
    x = build.conv2d(build.input, rng.normal(size=(6, 3, 3, 3)), activation=Activation.RELU)
    x = build.add(x, build.depthwise_conv2d(x, rng.normal(size=(1, 1, 1, 6))))
    x = build.mean(build.max_pool2d(x, (2, 2), (2, 2)))
    graph = build.finish(build.fully_connected(x, rng.normal(size=(4, 6)), rng.normal(size=4)))
    int8 = quantize(graph, rng.normal(size=(16, 8, 8, 3)).astype(np.float32))
    (svdf,) = islice(more_probes({"svdf"}, 0), 1)
    files = [emit_tflite(each) for each in (graph, int8, svdf, lstm_graph(rng, 5, 3, 4))]
    found = sorted(models.glob("*.tflite")) if models is not None else []
    return [*files, *(path.read_bytes() for path in found if path.stat().st_size < _SMALL)]


def lie_in_tflite(data: bytes, rng: random.Random) -> bytes:
    """One lie or several, packed anew."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data)
    for _ in range(rng.choice((1, 1, 3))):
        with contextlib.suppress(*_TOO_MUCH):
            rng.choice(_LIES)(model, schema, rng)
            data = packed(model)
    return data


def packed(model: Any) -> bytes:
    """The flatbuffer of an object tree."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _graph(model: Any) -> Any:
    return model.subgraphs[0]


def _tensor(model: Any, rng: random.Random) -> Any:
    return rng.choice(_graph(model).tensors)


def _operator(model: Any, rng: random.Random) -> Any:
    return rng.choice(_graph(model).operators)


def _huge_shape(model: Any, schema: Any, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    shape = [int(size) for size in (() if tensor.shape is None else tensor.shape)] or [1]
    shape[rng.randrange(len(shape))] = rng.choice((2**31 - 1, 2**20, 65_537, 0, -1))
    tensor.shape = shape


def _deep_shape(model: Any, schema: Any, rng: random.Random) -> None:
    _tensor(model, rng).shape = [rng.choice((1, 2, 64))] * rng.choice((0, 5, 9, 4000))


def _cycle(model: Any, schema: Any, rng: random.Random) -> None:
    """An operator reads what it writes, or what a later one writes."""
    operators = _graph(model).operators
    operator, later = rng.choice(operators), rng.choice(operators)
    inputs = [int(index) for index in operator.inputs]
    inputs[rng.randrange(len(inputs))] = int(later.outputs[0])
    operator.inputs = inputs


def _order(model: Any, schema: Any, rng: random.Random) -> None:
    rng.shuffle(_graph(model).operators)


def _twice(model: Any, schema: Any, rng: random.Random) -> None:
    """Two operators write one tensor, or one operator is there many times."""
    graph = _graph(model)
    operator = rng.choice(graph.operators)
    graph.operators = graph.operators + [operator] * rng.choice((1, 2000))


def _wrong_index(model: Any, schema: Any, rng: random.Random) -> None:
    wrong = rng.choice((-2, 2**31 - 1, len(_graph(model).tensors), -1))
    operator = _operator(model, rng)
    if rng.random() < 0.5:
        operator.inputs = [wrong, *list(operator.inputs)[1:]]
    else:
        operator.outputs = [wrong]


def _other_code(model: Any, schema: Any, rng: random.Random) -> None:
    code = rng.choice(model.operatorCodes)
    code.builtinCode = rng.randrange(-1, 250)
    code.deprecatedBuiltinCode = min(127, max(0, code.builtinCode))
    code.customCode = rng.choice((None, b"x" * 5000, b"\xff\x00"))


def _wrong_data(model: Any, schema: Any, rng: random.Random) -> None:
    buffer = rng.choice(model.buffers)
    size = rng.choice((0, 1, 3, 100_000))
    buffer.data = np.frombuffer(rng.randbytes(size), np.uint8)


def _wrong_buffer(model: Any, schema: Any, rng: random.Random) -> None:
    _tensor(model, rng).buffer = rng.choice((0, 1, len(model.buffers), 2**32 - 1))


def _wrong_dtype(model: Any, schema: Any, rng: random.Random) -> None:
    _tensor(model, rng).type = rng.randrange(0, 25)


def _wrong_scales(model: Any, schema: Any, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    quant = schema.QuantizationParametersT()
    count = rng.choice((0, 1, 3, 70_000))
    quant.scale = [rng.choice((0.0, -1.0, 1e-40, 3e38, float("nan"), float("inf"), 0.5))] * count
    quant.zeroPoint = [rng.choice((0, 2**40, -129, -(2**62)))] * rng.choice((count, 1, 0))
    quant.quantizedDimension = rng.choice((0, 3, -1, 2**31 - 1))
    tensor.quantization = quant


def _no_ends(model: Any, schema: Any, rng: random.Random) -> None:
    graph = _graph(model)
    ends = rng.choice(([], [0, 1], [len(graph.tensors)], [0] * 5000))
    if rng.random() < 0.5:
        graph.inputs = ends
    else:
        graph.outputs = ends


def _many_graphs(model: Any, schema: Any, rng: random.Random) -> None:
    model.subgraphs = model.subgraphs * rng.choice((0, 2, 50))


def _names(model: Any, schema: Any, rng: random.Random) -> None:
    name = rng.choice((b"", b"x" * 100_000, b"\xff\xfe", b"<script>\n", b"../../etc/passwd"))
    for tensor in _graph(model).tensors:
        tensor.name = name


def _other_options(model: Any, schema: Any, rng: random.Random) -> None:
    operator = _operator(model, rng)
    operator.builtinOptionsType = rng.randrange(0, 120)
    if rng.random() < 0.5:
        operator.builtinOptions = None


def _wild_options(model: Any, schema: Any, rng: random.Random) -> None:
    options = _operator(model, rng).builtinOptions
    for name, value in vars(options).items() if options is not None else ():
        if isinstance(value, int):
            setattr(options, name, rng.choice((0, 1, 3, 127)))


_LIES = (
    *(_huge_shape, _deep_shape, _cycle, _order, _twice, _wrong_index, _other_code, _wrong_data),
    *(_wrong_buffer, _wrong_dtype, _wrong_scales, _no_ends, _many_graphs, _names),
    *(_other_options, _wild_options),
)
