"""From float32 to codes, and from float16 to float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import GrammarError
from ..graph import Array, Graph, Node
from ..ops import Op
from .common import Float


def _quantize(graph: Graph, node: Node, x: Float) -> Array:
    """Divided in float32 and rounded half away from zero, as LiteRT's AffineQuantize does."""
    output = graph.values[node.output]
    if output.quant is None:
        raise GrammarError(f"{graph.name}: node '{node.name}' ({node.op}) has no encoding")
    limits = np.iinfo(output.dtype.numpy)
    steps = x.astype(np.float32) / np.float32(output.quant.scale[0])
    # In double precision: half added to a float32 just below it would round up.
    rounded = np.sign(steps) * np.floor(np.abs(steps).astype(np.float64) + 0.5)
    codes: Array = np.clip(rounded + output.quant.zero_point[0], limits.min, limits.max)
    return codes.astype(output.dtype.numpy)


def widen(graph: Graph, node: Node, x: Array) -> Float:
    """float16 to float32: exact."""
    return x.astype(np.float32)


FORMATS: dict[Op, Callable[..., Array]] = {
    Op.QUANTIZE: _quantize,
}
