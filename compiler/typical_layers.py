"""What a typical layer costs on a target: a figure that can be compared, whatever prices it.

Tables of work say what a multiply-accumulate (MAC) takes, tables of loops do not; the same layer,
priced by each, does.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgekiln.targets.estimate import layer_us, strongest_table
from edgekiln.targets.target import CostTable, Target

from .builder import GraphBuilder
from .graph import Graph
from .kernel_loops import workload_on
from .quantize import quantize

TYPICAL = {
    "conv2d": "3 x 3, 16 x 16 x 16 to 16 channels",
    "depthwise_conv2d": "3 x 3, 16 x 16 x 16",
    "fully_connected": "256 to 64",
}
"""Operators that can be compared, and the layer that stands for each."""


def ns_per_mac(target: Target, op: str, engine: str) -> tuple[float, CostTable]:
    """ns for each MAC of the typical int8 layer of `op`, and the table that says so.

    Raises:
        NoCostTableError, UnsupportedOperatorError: nothing prices it.
    """
    table = strongest_table(target, engine, "int8")
    work = workload_on(_graph(op), target, engine)
    layer = next(layer for layer in work.layers if layer.op == op)
    return layer_us(target, table, layer) * 1e3 / layer.macs, table


@lru_cache(maxsize=len(TYPICAL))
def _graph(op: str) -> Graph:
    rng = np.random.default_rng(0)
    shape = (1, 256) if op == "fully_connected" else (1, 16, 16, 16)
    build = GraphBuilder(op, shape)
    around = ((1, 1), (1, 1))
    if op == "conv2d":
        x = build.conv2d(build.input, rng.normal(0, 1, (16, 3, 3, 16)), padding=around)
    elif op == "depthwise_conv2d":
        x = build.depthwise_conv2d(build.input, rng.normal(0, 1, (1, 3, 3, 16)), padding=around)
    else:
        x = build.fully_connected(build.input, rng.normal(0, 1, (64, 256)))
    return quantize(build.finish(x), rng.normal(0, 1, (2, *shape[1:])).astype(np.float32))
