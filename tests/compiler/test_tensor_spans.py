"""The map of tensors says where artifacts keep them, whatever the format's order of axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers.tflite_file import read_file
from edgekiln.compiler.tensor_spans import SMALLEST, find_tensors
from edgekiln.runtime.tensor_map import TensorSpan

Quantized = Callable[[Graph, int], Graph]


def content(data: bytes, span: TensorSpan, dtype: np.dtype) -> Array:
    """What lies there, in the graph's order."""
    raw = np.frombuffer(data[span.offset : span.offset + span.bytes], dtype)
    outer, rows, columns = span.turn
    return raw.reshape(outer, columns, rows).transpose(0, 2, 1).ravel() if outer else raw


@pytest.mark.parametrize("seed", [0, 4])
def test_every_span_holds_its_tensor_and_weights_are_found_in_both_formats(
    random_graph: Callable[[int], Graph], quantized: Quantized, seed: int
) -> None:
    graph = quantized(random_graph(seed), seed)
    members = {"a/model.tflite": emit_tflite(graph), "a/model.onnx": emit_onnx(graph)}
    found = find_tensors(graph, {**members, "a/c/weights.c": b"1, 2, 3"})
    assert set(found) == set(members)
    wanted = {
        name: value.data
        for name, value in graph.values.items()
        if value.data is not None and value.dtype.value == "int8" and value.data.nbytes >= SMALLEST
    }
    for member, spans in found.items():
        places = {span.name: span for span in spans}
        for name, data in wanted.items():
            there = content(members[member], places[name], data.dtype)
            np.testing.assert_array_equal(there, data.ravel())
        ends = [0, *(span.offset + span.bytes for span in spans)]
        assert all(span.offset >= end for span, end in zip(spans, ends, strict=False))


def test_spans_of_a_file_are_where_its_own_reader_finds_the_tensors(
    random_graph: Callable[[int], Graph], quantized: Quantized
) -> None:
    graph = quantized(random_graph(4), 4)
    data = emit_tflite(graph)
    records = {tensor.name: tensor for tensor in read_file(data, "test").tensors}
    (spans,) = find_tensors(graph, {"model.tflite": data}).values()
    scales = 0
    for span in spans:
        raw = data[span.offset : span.offset + span.bytes]
        record = records[span.name.removesuffix(".scale")]
        if span.name.endswith(".scale"):
            assert raw == np.array(record.scales, np.float32).tobytes()
            scales += 1
        else:
            assert record.data is not None
            assert raw == record.data.tobytes()
    assert scales > 0
