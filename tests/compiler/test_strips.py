"""Strips cover a depthwise convolution's outputs and inputs, each row once."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.emit_c_layers import layer
from edgekiln.compiler.emit_c_plan import kernel_call, planned
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Op
from edgekiln.compiler.plan_memory import plan_memory
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.strips import chains, strips

HEIGHT, WIDTH, WIDE = 17, 5, 24


def _block(
    kernel: int = 3, stride: int = 1, pad: tuple[int, int] = (1, 1), residual: bool = False
) -> Graph:
    """Widen, filter, narrow; `residual` reads the wide image once more."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("block", (1, HEIGHT, WIDTH, 3))
    wide = build.conv2d(build.input, rng.normal(0, 1, (WIDE, 1, 1, 3)))
    x = build.depthwise_conv2d(
        wide,
        rng.normal(0, 1, (1, kernel, 3, WIDE)),
        rng.normal(0, 1, WIDE),
        stride=(stride, 1),
        padding=(pad, (1, 1)),
    )
    x = build.add(wide, x) if residual else x
    return build.finish(build.conv2d(x, rng.normal(0, 1, (3, 1, 1, WIDE))))


@pytest.mark.parametrize(
    ("kernel", "stride", "pad"),
    [(3, 1, (1, 1)), (3, 2, (0, 1)), (5, 3, (4, 2)), (2, 2, (1, 0)), (4, 1, (0, 0))],
)
@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_every_row_is_made_once_and_there_in_time_when_it_is_read(
    kernel: int, stride: int, pad: tuple[int, int], rows: int
) -> None:
    graph = _block(kernel, stride, pad)
    depthwise = next(node for node in graph.nodes if node.op is Op.DEPTHWISE_CONV_2D)
    made: list[int] = []
    outputs: list[int] = []
    held: set[int] = set()
    for strip in strips(graph, depthwise, rows):
        kept = set(range(strip.low, strip.low + strip.kept))
        assert kept <= held
        new = list(range(strip.low + strip.kept, strip.high))
        made += new
        held = kept | set(new)
        for output in range(strip.first, strip.first + strip.rows):
            outputs.append(output)
            window = {output * stride - pad[0] + tap for tap in range(kernel)}
            assert window & set(range(HEIGHT)) <= held
    assert outputs == list(range(graph.values[depthwise.output].shape[1]))
    assert len(made) == len(set(made))


def test_a_chain_is_found_with_and_without_its_ends_when_nothing_else_reads_it() -> None:
    found = [[node.op for node in chain.nodes] for chain in chains(_block())]
    conv, depthwise = Op.CONV_2D, Op.DEPTHWISE_CONV_2D
    assert found == [[conv, depthwise, conv], [depthwise, conv], [conv, depthwise]]


def test_no_chain_is_found_when_the_wide_image_is_read_again() -> None:
    assert chains(_block(residual=True)) == ()


@pytest.mark.parametrize("family", Family)
def test_the_wide_image_is_never_whole_when_strips_take_less(family: Family) -> None:
    samples = np.random.default_rng(0).normal(0, 1, (4, HEIGHT, WIDTH, 3)).astype(np.float32)
    graph = quantize(_block(), samples)
    alone = tuple(layer(graph, node, i, family) for i, node in enumerate(graph.nodes))
    (call,), plan = planned(graph, family)
    assert [part.kernel for part in call.parts] == [single.kernel for single in alone]
    assert plan.arena_bytes < HEIGHT * WIDTH * WIDE
    assert plan.arena_bytes < 0.7 * plan_memory(graph, map(kernel_call, alone)).arena_bytes
