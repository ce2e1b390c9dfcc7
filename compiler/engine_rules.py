"""`kernel_calls`: which kernels an engine runs for a graph, as far as they cost otherwise.

An engine does not run a graph as it is written. LiteRT's XNNPACK takes a padding into the
convolution that reads it and computes one-to-one convolutions as depthwise ones; ONNX Runtime keeps
images channels last around convolutions, moves them where an operator wants channels first, and
rounds twice where an activation is not what the encoding clamps to. The rules were read off what
the engines make of models and hold for the versions that calibrations name; what they miss shows in
the held-out ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from .graph import Graph, Node
from .ops import NO_PADDING, Activation, ConvAttrs, Op, PoolAttrs
from .passes import lower_padding

WIDEST_WINDOW = 25  # taps of the largest window that has a kernel of its own


@dataclass(frozen=True, slots=True)
class KernelCall:
    """`kind` is the node's operator, or a form of it that has prices of its own; `extra` is what
    else the engine does there, whatever the operator."""

    node: Node
    kind: str
    extra: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class EngineGraph:
    """A graph as an engine is given it, and a call for each of its nodes."""

    graph: Graph
    calls: tuple[KernelCall, ...]


def kernel_calls(graph: Graph, engine: str) -> EngineGraph:
    """The calls of `engine` (an engine without rules runs what is written)."""
    seen = lower_padding(graph) if engine == "litert" else graph
    rules = _RULES.get(engine, _written)
    calls = tuple(rules(seen, node) for node in seen.nodes)
    if engine == "onnxruntime" and calls:
        first, *_, last = (*calls[:1], *calls[-1:])
        ends = {id(first): _entry(seen), id(last): _exit(seen)}
        if first is last:
            ends = {id(first): _entry(seen) + _exit(seen)}
        calls = tuple(replace(c, extra=c.extra + ends.get(id(c), ())) for c in calls)
    return EngineGraph(seen, calls)


def taps(graph: Graph, node: Node) -> int:
    """Places of a window; 1 where there is none."""
    if isinstance(node.attrs, PoolAttrs):
        return math.prod(node.attrs.kernel)
    if isinstance(node.attrs, ConvAttrs):
        return math.prod(graph.values[node.inputs[1]].shape[1:3])
    return 1


def _written(graph: Graph, node: Node) -> KernelCall:
    kind = node.op.value
    if node.op is Op.DEPTHWISE_CONV_2D and taps(graph, node) > WIDEST_WINDOW:
        kind = "depthwise_wide"
    shapes = [graph.values[name].shape for name in node.inputs]
    if node.op in (Op.ADD, Op.SUB, Op.MUL) and shapes[0] != shapes[1]:
        kind = f"{kind}_spread"  # one operand is repeated
    return KernelCall(node, kind)


def _xnnpack(graph: Graph, node: Node) -> KernelCall:
    if node.op is Op.PAD and _is_fused(graph, node):
        return KernelCall(node, "pad_fused")
    if node.op is Op.CONV_2D and _one_to_one(graph, node):
        wide = taps(graph, node) > WIDEST_WINDOW
        return KernelCall(node, "depthwise_wide" if wide else Op.DEPTHWISE_CONV_2D.value)
    return _written(graph, node)


def _one_to_one(graph: Graph, node: Node) -> bool:
    weights = graph.values[node.inputs[1]].shape
    return weights[0] == weights[3] == 1


def _is_fused(graph: Graph, node: Node) -> bool:
    """Only one convolution reads it, which does not pad itself."""
    readers = graph.consumers(node.output)
    return (
        len(readers) == 1
        and isinstance(readers[0].attrs, ConvAttrs)
        and readers[0].attrs.padding == NO_PADDING
    )


def _mlas(graph: Graph, node: Node) -> KernelCall:
    """With `_moved` where an operator's image is turned to channels first for it."""
    call = replace(_written(graph, node), extra=_clamp(graph, node))
    return replace(call, kind=f"{call.kind}_moved") if _is_moved(graph, node) else call


def _is_moved(graph: Graph, node: Node) -> bool:
    x, behind = graph.values[node.inputs[0]].shape, _is_behind(graph, node.inputs[0])
    if node.op is Op.RESHAPE:
        return behind and len(x) == 4 and x[3] > 1 and x[1] * x[2] > 1
    if node.op in (Op.MEAN, Op.PAD):
        return not behind
    if node.op not in (Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D):
        return False
    flattened = node.op is Op.AVERAGE_POOL_2D and any(
        reader.op is Op.RESHAPE for reader in graph.consumers(node.output)
    )
    beside = any(isinstance(r.attrs, ConvAttrs) for r in graph.consumers(node.inputs[0]))
    return not (_is_before(graph, node.output) or ((behind or beside) and not flattened))


def _is_behind(graph: Graph, name: str) -> bool:
    """Whether a convolution lies on the way to the value."""
    made = {node.output: node for node in graph.nodes}
    waiting, seen = [name], {name}
    while waiting:
        node = made.get(waiting.pop())
        if node is None:
            continue
        if isinstance(node.attrs, ConvAttrs):
            return True
        new = set(node.inputs) - seen
        seen |= new
        waiting += new
    return False


_LASTING = frozenset(
    {
        *(Op.QUANTIZE, Op.ADD, Op.MUL, Op.CONCATENATION, Op.RELU, Op.RELU6, Op.LOGISTIC),
        *(Op.MAX_POOL_2D, Op.AVERAGE_POOL_2D),
    }
)  # operators through which channels may stay last


def _is_before(graph: Graph, name: str) -> bool:
    """Whether a convolution reads the value, perhaps through operators that keep the order."""
    return any(
        isinstance(node.attrs, ConvAttrs)
        or (node.op in _LASTING and _is_before(graph, node.output))
        for node in graph.consumers(name)
    )


def _clamp(graph: Graph, node: Node) -> tuple[tuple[str, int], ...]:
    """An activation that the encoding does not clamp to is a node between two roundings."""
    value = graph.values[node.output]
    alone = node.op in (Op.RELU, Op.RELU6)
    activation = getattr(node.attrs, "activation", Activation.NONE)
    if value.quant is None or (activation is Activation.NONE and not alone):
        return ()
    if value.quant.zero_point[0] == -128:
        return ()
    return (("clamp_call", 1), ("clamp_element", value.elements))


def _entry(graph: Graph) -> tuple[tuple[str, int], ...]:
    shape = graph.input.shape
    image = len(shape) == 4
    counts = {
        "entry_element": math.prod(shape),
        "entry_image": int(image),
        "entry_plane": int(image and shape[3] == 1),
    }
    return tuple((name, count) for name, count in counts.items() if count)


def _exit(graph: Graph) -> tuple[tuple[str, int], ...]:
    return (("exit_element", graph.output.elements),)


_RULES: Mapping[str, Callable[[Graph, Node], KernelCall]] = {
    "litert": _xnnpack,
    "onnxruntime": _mlas,
}
