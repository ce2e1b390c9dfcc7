"""`counts`: how often the parts of an engine's kernel are passed for one layer.

No engine tells its loops as generated C does, but kernels are built alike. A matrix product goes
over blocks of rows by columns and reads a few channels a step, so its time rises in stairs (Goto
and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"; the indirect form, which
reads windows where they lie: Dukhan 2019, arXiv 1907.02129). Windows over single channels take
vectors of channels, and what is left over costs more. Costs are fitted to these counts and are
never negative; those that an engine does not have get none.
"""

from __future__ import annotations

import math

from edgekiln.targets.target import Tile

from .engine_rules import KernelCall, taps
from .graph import Graph, Node
from .ops import ConvAttrs, Op, PadAttrs

STAIRS = 4  # blocks of columns whose steps are priced one by one: engines change kernels there
_NEAR_BYTES = 2**15  # what the first cache holds of the weights
_LINE = 64  # bytes of a cache line
_WINDOWS = (3, 9, 25)  # taps that kernels of single channels are built for
_FEW = 2  # rows that a window's kernel takes one by one

Counts = dict[str, int]


def counts(graph: Graph, call: KernelCall, tile: Tile, *, in_place: bool) -> Counts:
    """Passes by name, those above 0; names begin with the kernel's kind.

    With `in_place` a product reads windows where they lie, else from an unrolled copy; layers whose
    channels are multiples of `tile.aligned` are read in place anyway.
    """
    node, kind = call.node, call.kind
    if node.op in (Op.CONV_2D, Op.FULLY_CONNECTED) and kind == node.op.value:
        found, kind = _product(graph, node, tile, in_place), _aligned(graph, node, tile)
    else:
        found = _light(graph, node, kind, tile)
    return {f"{kind}_{name}": count for name, count in found.items() if count}


def _aligned(graph: Graph, node: Node, tile: Tile) -> str:
    return f"{node.op.value}{'_aligned' if _is_aligned(graph, node, tile) else ''}"


def _is_aligned(graph: Graph, node: Node, tile: Tile) -> bool:
    if tile.aligned == 1 or node.op is not Op.CONV_2D:
        return False
    shape = graph.values[node.inputs[1]].shape
    return shape[0] % tile.aligned == shape[3] % tile.aligned == 0


def _product(graph: Graph, node: Node, tile: Tile, in_place: bool) -> Counts:
    weights, output = graph.values[node.inputs[1]], graph.values[node.output]
    columns, depth = weights.shape[0], weights.shape[-1]
    rows, window = output.elements // columns, taps(graph, node)
    high = weights.shape[1] if len(weights.shape) == 4 else 1
    moved = window > 1 or (isinstance(node.attrs, ConvAttrs) and node.attrs.stride != (1, 1))
    if in_place or _is_aligned(graph, node, tile):
        steps = window * _up(depth, tile.depth)
    else:
        steps = _up(window * depth, tile.depth)
    blocks = _up(columns, tile.columns)
    few = rows == 1 or (rows <= _FEW and moved)
    strips = rows if few else _up(rows, tile.rows)
    packed = blocks * tile.columns * steps * tile.depth * _size(graph, node.inputs[1])
    ragged, odd = columns % tile.columns, depth % tile.columns
    name = ("few" if few else "block") + ("_window" if moved else "")
    return {
        "call": 1,
        "window": int(moved),
        "window_row": rows * high * moved,
        "window_tap": rows * window * moved,
        "row": rows,
        "output": rows * columns,
        "strip": strips,
        f"{'few' if few else 'block'}": strips * blocks,
        f"{'few' if few else 'block'}_tap": strips * blocks * window * moved,
        **_stairs(f"{name}_step", columns, strips * steps, tile),
        "row_step": rows * blocks * steps,
        "weight": packed // _LINE,
        "far_weight": max(0, packed - _NEAR_BYTES) // _LINE * strips,
        "ragged": rows * (ragged > 0),
        "ragged_output": rows * ragged,
        "ragged_step": strips * steps * (ragged > 0),
        "odd_tap": rows * window * (odd > 0),
        "odd_element": rows * window * odd,
        "unrolled": rows * window * depth * moved,
    }


def _stairs(name: str, columns: int, passes: int, tile: Tile) -> Counts:
    """Steps for each block of columns: their price may rise at each of the first few by itself."""
    first = {f"{name}_{turn}": passes * (columns > turn * tile.columns) for turn in range(STAIRS)}
    left = max(0, columns - STAIRS * tile.columns)
    return {
        **first,
        f"{name}_more": passes * _up(left, tile.columns),
        f"{name}_pair": passes * _up(left, 2 * tile.columns),
    }


def _light(graph: Graph, node: Node, kind: str, tile: Tile) -> Counts:
    x, output = graph.values[node.inputs[0]], graph.values[node.output]
    shape = x.shape if node.op in (Op.MEAN, Op.SUM, Op.REDUCE_MAX) else output.shape
    channels, places = shape[-1], math.prod(shape[:-1])
    vectors = _up(channels, tile.lanes)
    found = {
        "call": 1,
        "place": places,
        "vector": places * vectors,
        "element": places * channels,
        "line": _up(places * channels, _LINE),
        "read": x.elements,
    }
    if shape is not output.shape:
        found |= {"result": output.elements, "result_vector": vectors}
    if node.op is Op.CONCATENATION:
        found |= {"part": len(node.inputs), "run": places * len(node.inputs)}
    if isinstance(node.attrs, PadAttrs):
        found |= _copied(x.shape, output.shape, node.attrs)
    window = taps(graph, node)
    if window > 1 or node.op in (Op.DEPTHWISE_CONV_2D, Op.CONV_2D):
        found |= _windows(graph, node, window, tile)
    return found


def _copied(before: tuple[int, ...], after: tuple[int, ...], attrs: PadAttrs) -> Counts:
    """Elements are copied in runs: whole images, or pixels where rows grow."""
    torn = any(any(amount) for amount in attrs.amounts[2:])
    return {"run": math.prod(before[:-1]) if torn else 1, "row": after[1] if len(after) > 1 else 1}


def _windows(graph: Graph, node: Node, window: int, tile: Tile) -> Counts:
    shape = graph.values[node.output].shape
    channels, places = shape[3], math.prod(shape[:3])
    vectors, left, half = (
        _up(channels, tile.lanes),
        channels % tile.lanes,
        channels % max(1, tile.lanes // 2),
    )
    built = next((size for size in _WINDOWS if window <= size), window)
    if "pool" in node.op.value:
        built = 9 + 8 * _up(max(0, window - 9), 8)
    size = channels * _size(graph, node.inputs[0])
    high = _height(graph, node)
    return {
        "image_row": shape[1],
        "tap": places * window,
        "vector_tap": places * vectors * built,
        "mac": places * channels * window,
        "window_row": places * high,
        "full_tap": places * (channels // tile.lanes) * window,
        "left_mac": places * left * window,
        "left": places * (left > 0),
        "left_tap": places * (left > 0) * window,
        "half_mac": places * half * window,
        "half": places * (half > 0),
        "half_tap": places * (half > 0) * window,
        "torn_tap": places * vectors * built * (size % _LINE > 0),
        "worn_tap": places * vectors * built * (size % (_LINE // 4) > 0),
    }


def _height(graph: Graph, node: Node) -> int:
    if isinstance(node.attrs, ConvAttrs):
        return graph.values[node.inputs[1]].shape[1]
    kernel: tuple[int, int] = getattr(node.attrs, "kernel", (1, 1))
    return kernel[0]


def _size(graph: Graph, name: str) -> int:
    """Bytes of one element."""
    value = graph.values[name]
    return max(1, value.nbytes // max(1, value.elements))


def _up(a: int, b: int) -> int:
    return -(-a // b)
