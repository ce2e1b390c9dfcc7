"""`kernel_workload`: how often each loop of the generated C's kernels is passed.

A kernel's instructions are a sum over its loops: what one pass takes, times how often it is passed.
The second factor follows from shapes alone and is counted here, in the terms of the kernels'
sources (c/dsp, c/portable, c/common); the first is what `benchmarks.fit_instructions` finds under
emulation. A name begins with the kernel, so that each kernel has loops of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from edgekiln.targets.target import Target
from edgekiln.targets.workload import LayerWork, Loops, Workload

from .depthwise_loops import Passes, depthwise_passes
from .emit_c_call import finish
from .emit_c_family import Family, family_of_core
from .emit_c_pack import pair_count
from .emit_c_plan import planned_chains
from .engine_workload import engine_tile, engine_workload
from .graph import DType, Graph, Node
from .kernel_windows import Gathered, axes, gathered, less, tail_places, tail_within, within
from .ops import ConvAttrs, Op, PadAttrs, PoolAttrs, ReduceAttrs
from .strip_loops import loops_in_strips
from .strips import CutChain
from .workload import workload

UNROLLED_PAIRS = 8  # of ek_dot.h and of ek_dsp_fully_connected.h
UNROLLED_BYTES = 16  # of ek_column.h
UNROLLED_TAPS = 4  # of ek_rows.h
QUAD = 4  # pixels of ek_matrix.h, channels of most kernels


def workload_on(graph: Graph, target: Target, engine: str) -> Workload:
    """What `graph` asks of `target`: with the loops of our own kernels where it runs our C, and the
    passes of an engine's where a calibration priced them."""
    tile = engine_tile(target, engine, graph.input.dtype.value)
    if tile is not None:
        return engine_workload(graph, engine, tile)
    family = family_of_core(target.core)
    if engine != "c" or graph.input.dtype is not DType.INT8 or family not in LOOP_FAMILIES:
        return workload(graph)
    return kernel_workload(graph, family, planned_chains(graph, family))


def kernel_workload(graph: Graph, family: Family, chains: Sequence[CutChain] = ()) -> Workload:
    """The workload of an int8 graph with the loops of each layer's kernel in `family`.

    `chains` are those that run in strips; without any each layer is one call.

    Loops follow from shapes and from the output's range. Layers that the dsp family leaves to the
    portable one because of their numbers (sums near 32 bits) are counted as dsp layers.
    """
    work = workload(graph)
    cut_of = {node.output: cut for cut in chains for node in cut.chain.nodes}
    layers = []
    for layer, node in zip(work.layers, graph.nodes, strict=True):
        cut = cut_of.get(node.output)
        alone = functools.partial(_loops, layer=layer, family=family)
        loops = loops_in_strips(graph, cut, node, alone) if cut else alone(graph, node)
        layers.append(dataclasses.replace(layer, loops=loops))
    return Workload(tuple(layers), work.dtype)


def _loops(graph: Graph, node: Node, layer: LayerWork, family: Family) -> Loops:
    count = _OF_FAMILY[family].get(node.op) or _ANY.get(node.op)
    kernel, passes = count(graph, node) if count else _moved(node, layer)
    named = ((f"{kernel}_{name}", number) for name, number in passes.items() if number)
    return ((f"{kernel}_call", 1), *named)


def _moved(node: Node, layer: LayerWork) -> tuple[str, Passes]:
    """Kernels that pass once for each output or for each byte."""
    return node.op.value, {"outputs": layer.output_elements, "bytes": layer.bytes_moved}


def _dsp_conv2d(graph: Graph, node: Node) -> tuple[str, Passes]:
    """ek_dsp_conv2d.h and ek_dsp_pointwise.h: gather four pixels, then the product."""
    channels, height, width, depth = graph.values[node.inputs[1]].shape
    if depth != graph.values[node.inputs[0]].shape[3]:
        return _grouped(graph, node)
    _, out_height, out_width, _ = graph.values[node.output].shape
    pixels, pairs = out_height * out_width, pair_count(height * width * depth)
    left = pixels % QUAD
    passes = Counter(_products(pixels // QUAD, left, channels, pairs))
    passes[f"outputs_{finish(graph, node)}"] = pixels * channels
    aligned = depth % 4 == 0
    if aligned and _pointwise(node, height, width):
        for name, count in (("quad", pixels - left), ("one", left)):
            passes[f"{name}_expands"] = count
            passes |= _expanded(name, count, depth)
        return "pointwise", passes
    chunk = UNROLLED_BYTES if aligned else QUAD
    rows, columns = axes(graph, node, (height, width))
    whole, inside = (gathered(*of, depth, chunk) for of in ((rows, columns), within(rows, columns)))
    last = tail_places(rows, columns, depth, chunk, left)
    last_inside = tail_within(rows, columns, depth, chunk, left)
    for name, every, part in (
        ("quad", less(whole, last), less(inside, last_inside)),
        ("one", last, last_inside),
    ):
        passes |= _gathering(name, less(every, part), depth, aligned=aligned)
        passes |= _gathering(f"{name}_inside", part, depth, aligned=aligned)
        if not aligned:
            passes |= _expanded(name, every.places, 2 * pairs)
    return "conv2d" if aligned else "conv2d_bytes", passes


def _products(quads: int, ones: int, channels: int, pairs: int) -> Passes:
    """ek_matrix_4 and ek_matrix_1."""
    unrolled, rest = divmod(pairs, UNROLLED_PAIRS)
    twos, fours = quads * (channels // 2), ones * (channels // 4)
    odd, two = channels % 2, (channels % 4) // 2
    return {
        "quads": quads,
        "twos": twos,
        "twos_unrolled": twos * unrolled,
        "twos_rest": twos * rest // 2,
        "quad_odd": quads * odd,
        "quad_odd_taps": quads * odd * pairs // 2,
        "ones": ones,
        "fours": fours,
        "fours_unrolled": fours * unrolled,
        "fours_rest": fours * rest // 2,
        "one_two": ones * two,
        "one_two_taps": ones * two * pairs,
        "one_odd": ones * odd,
        "one_odd_taps": ones * odd * pairs // 2,
    }


def _expanded(name: str, count: int, size: int) -> Passes:
    """`count` times ek_expand of `size` bytes."""
    unrolled, rest = divmod(size, UNROLLED_BYTES)
    return {f"{name}_expand16": count * unrolled, f"{name}_expand4": count * rest // 4}


def _gathering(name: str, part: Gathered, depth: int, *, aligned: bool) -> Counter[str]:
    """ek_gather_words, or ek_patch."""
    rest = part.rest // 4 if aligned else part.rest
    return Counter(
        {
            f"{name}_places": part.places,
            f"{name}_rows": part.rows_in,
            f"{name}_rows_outside": part.rows_out,
            f"{name}_segments": part.segments,
            f"{name}_chunks": part.chunks,
            f"{name}_rest": rest,
            f"{name}_filled": part.filled * (depth // 2 if aligned else depth),
        }
    )


def _pointwise(node: Node, height: int, width: int) -> bool:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    return (height, width, attrs.stride, attrs.padding) == (1, 1, (1, 1), ((0, 0), (0, 0)))


def _portable_conv2d(graph: Graph, node: Node) -> tuple[str, Passes]:
    """ek_conv2d.c, ek_pointwise.c: two patches, then four channels at a time."""
    channels, height, width, depth = graph.values[node.inputs[1]].shape
    if depth != graph.values[node.inputs[0]].shape[3]:
        return _grouped(graph, node)
    _, out_height, out_width, _ = graph.values[node.output].shape
    twos, ones = divmod(out_height * out_width, 2)
    passes = Counter(_rows(twos, ones, channels, height * width * depth))
    if _pointwise(node, height, width):
        return "portable_pointwise", passes
    rows, columns = axes(graph, node, (height, width))
    passes |= _gathering("patch", gathered(rows, columns, depth, QUAD), depth, aligned=False)
    return "portable_conv2d", passes


def _rows(twos: int, ones: int, channels: int, taps: int) -> Passes:
    """ek_rows_2 and ek_rows_1."""
    unrolled, rest = divmod(taps, UNROLLED_TAPS)
    fours, singles = divmod(channels, 4)
    return {
        "twos": twos,
        "twos_fours": twos * fours,
        "twos_unrolled": twos * fours * unrolled,
        "twos_rest": twos * fours * rest,
        "twos_singles": twos * singles,
        "twos_singles_taps": twos * singles * taps,
        "ones": ones,
        "ones_fours": ones * fours,
        "ones_taps": ones * fours * taps,
        "ones_singles": ones * singles,
        "ones_singles_taps": ones * singles * taps,
    }


def _grouped(graph: Graph, node: Node) -> tuple[str, Passes]:
    """ek_grouped_conv2d.c: one pixel at a time."""
    channels, height, width, depth = graph.values[node.inputs[1]].shape
    groups = graph.values[node.inputs[0]].shape[3] // depth
    _, out_height, out_width, _ = graph.values[node.output].shape
    taps = height * width * depth
    part = gathered(*axes(graph, node, (height, width)), depth, QUAD)
    passes = Counter(_rows(0, out_height * out_width, channels // groups, taps))
    passes |= _gathering("patch", part, depth, aligned=False)
    return "grouped_conv2d", {name: groups * count for name, count in passes.items()}


def _dsp_dense(graph: Graph, node: Node) -> tuple[str, Passes]:
    """ek_dsp_fully_connected.h: a column, then four channels at a time."""
    out_size, in_size = graph.values[node.inputs[1]].shape
    rows = math.prod(graph.values[node.output].shape[:-1])
    pairs = pair_count(in_size)
    unrolled, rest = divmod(pairs, UNROLLED_PAIRS)
    fours, two, odd = out_size // 4, (out_size % 4) // 2, out_size % 2
    passes = {
        "rows": rows,
        "padded": rows * (in_size % 4 != 0),
        "padded_bytes": rows * (in_size % 4),
        "fours": rows * fours,
        "fours_unrolled": rows * fours * unrolled,
        "fours_rest": rows * fours * rest // 2,
        "two": rows * two,
        "two_taps": rows * two * pairs,
        "odd": rows * odd,
        "odd_taps": rows * odd * pairs // 2,
    }
    return "dsp_dense", {**passes, **_expanded("column", rows, in_size // 4 * 4)}


def _portable_dense(graph: Graph, node: Node) -> tuple[str, Passes]:
    out_size, in_size = graph.values[node.inputs[1]].shape
    rows = math.prod(graph.values[node.output].shape[:-1])
    return "dense", _rows(0, rows, out_size, in_size)


def _add(graph: Graph, node: Node, family: Family) -> tuple[str, Passes]:
    shape = graph.values[node.output].shape
    if any(graph.values[n].data is not None or graph.values[n].shape != shape for n in node.inputs):
        return "add_axes", {"outputs": math.prod(shape)}
    name = f"dsp_add_{finish(graph, node)}" if family is Family.DSP else "add"
    return name, {"outputs": math.prod(shape)}


def _pool(graph: Graph, node: Node) -> tuple[str, Passes]:
    """ek_max_pool2d.c, ek_average_pool2d.c: window by window, channel by channel."""
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    rows, columns = axes(graph, node, attrs.kernel)
    channels = graph.values[node.output].shape[3]
    places = len(rows.taps) * len(columns.taps)
    return node.op.value, {
        "places": places,
        "outputs": places * channels,
        "window_rows": rows.inside * len(columns.taps) * channels,
        "taps": rows.inside * columns.inside * channels,
    }


def _mean(graph: Graph, node: Node) -> tuple[str, Passes]:
    assert isinstance(node.attrs, ReduceAttrs)
    x = graph.values[node.inputs[0]]
    image = node.attrs.axes == (1, 2) and len(x.shape) == 4
    outputs = graph.values[node.output].elements
    return "mean" if image else "sum_axes", {"outputs": outputs, "inputs": x.elements}


def _pad(graph: Graph, node: Node) -> tuple[str, Passes]:
    assert isinstance(node.attrs, PadAttrs)
    x, output = graph.values[node.inputs[0]], graph.values[node.output]
    image = node.attrs.image_padding is not None
    rows = x.shape[1] if image else 0
    passes = {"rows": rows, "copied": x.elements, "filled": output.elements - x.elements}
    return "pad" if image else "pad_axes", passes


def _softmax(graph: Graph, node: Node) -> tuple[str, Passes]:
    output = graph.values[node.output]
    classes = output.shape[-1]
    return node.op.value, {"rows": output.elements // classes, "classes": output.elements}


def _nothing(graph: Graph, node: Node) -> tuple[str, Passes]:
    """A reshape is no call."""
    return "reshape", {}


Count = Callable[[Graph, Node], tuple[str, Passes]]
_OF_FAMILY: Mapping[Family, Mapping[Op, Count]] = {
    Family.PORTABLE: {
        Op.CONV_2D: _portable_conv2d,
        Op.FULLY_CONNECTED: _portable_dense,
        Op.DEPTHWISE_CONV_2D: lambda graph, node: depthwise_passes(graph, node, Family.PORTABLE),
        Op.ADD: lambda graph, node: _add(graph, node, Family.PORTABLE),
    },
    Family.DSP: {
        Op.CONV_2D: _dsp_conv2d,
        Op.FULLY_CONNECTED: _dsp_dense,
        Op.DEPTHWISE_CONV_2D: lambda graph, node: depthwise_passes(graph, node, Family.DSP),
        Op.ADD: lambda graph, node: _add(graph, node, Family.DSP),
    },
}
LOOP_FAMILIES = frozenset(_OF_FAMILY)
"""Families whose loops are counted here."""
_ANY: Mapping[Op, Count] = {
    Op.MAX_POOL_2D: _pool,
    Op.AVERAGE_POOL_2D: _pool,
    Op.MEAN: _mean,
    Op.PAD: _pad,
    Op.SOFTMAX: _softmax,
    Op.LOG_SOFTMAX: _softmax,
    Op.RESHAPE: _nothing,
}
