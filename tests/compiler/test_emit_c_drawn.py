"""Drawn graphs as generated C give the reference's bytes; `benchmarks/c_exact.py` runs hundreds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.c_batches import batch_sources, differing_on_core, differing_on_host
from benchmarks.drawn_graphs import draw_graphs
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.ops import Op
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.profiles import load_target

RequireTool = Callable[[str], str]
GRAPHS, SAMPLES = 24, 6


@pytest.mark.slow
@pytest.mark.tool
def test_no_sample_differs_when_graphs_are_drawn(require_tool: RequireTool) -> None:
    for tool in TOOLS:
        require_tool(tool)
    graphs = draw_graphs(GRAPHS)
    files = batch_sources(graphs, SAMPLES, Family.DSP)
    assert differing_on_host(files, "-O1", "-fsanitize=address,undefined") == (0,) * GRAPHS
    assert differing_on_core(files, load_target("cortex-m4")) == (0,) * GRAPHS


def test_graphs_have_every_kind_of_layer_when_drawn() -> None:
    operators = {node.op for graph in draw_graphs(GRAPHS) for node in graph.nodes}
    wanted = {Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.ADD, Op.CONCATENATION, Op.FULLY_CONNECTED}
    assert wanted <= operators


@pytest.mark.slow
def test_samples_are_counted_when_golden_outputs_are_wrong(require_tool: RequireTool) -> None:
    require_tool("gcc")
    files = batch_sources(draw_graphs(2), SAMPLES, Family.PORTABLE)
    golden = files["g1_golden.h"].decode()
    head, outputs = golden.split("golden_outputs", 1)
    body = outputs.replace("    {\n    ", "    {\n    1 ^ ")  # the first element of each row
    files["g1_golden.h"] = f"{head}golden_outputs{body}".encode()
    assert differing_on_host(files, "-O1") == (0, SAMPLES)
