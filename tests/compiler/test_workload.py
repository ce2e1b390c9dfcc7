"""Work counts equal counts done by hand."""

from __future__ import annotations

import numpy as np

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.workload import workload


def graph() -> Graph:
    build = GraphBuilder("work", (1, 8, 8, 3))
    x = build.conv2d(build.input, np.ones((4, 3, 3, 3)), stride=(2, 2), padding=((1, 1), (1, 1)))
    x = build.depthwise_conv2d(x, np.ones((1, 3, 3, 4)))
    x = build.add(x, x)
    return build.finish(build.fully_connected(build.mean(x), np.ones((10, 4))))


def test_workload_counts_macs_and_bytes_when_graph_is_float() -> None:
    work = workload(graph())
    assert work.dtype == "float32"
    assert [layer.macs for layer in work.layers] == [
        4 * 4 * 4 * 27,  # 4×4 positions, 4 channels, 3×3×3 products each
        2 * 2 * 4 * 9,
        0,
        0,
        40,
    ]
    conv = work.layers[0]
    assert conv.op == "conv2d"
    assert conv.output_elements == 64
    assert conv.bytes_moved == 4 * (192 + 108 + 4 + 64)
    assert work.macs == 1728 + 144 + 40


def test_workload_counts_single_bytes_when_graph_is_int8() -> None:
    work = workload(quantize(graph(), np.ones((2, 8, 8, 3), np.float32)))
    assert work.dtype == "int8"
    assert work.layers[0].bytes_moved == 192 + 108 + 4 * 4 + 64  # the bias is int32
    assert work.layers[2].bytes_moved == 3 * 16
