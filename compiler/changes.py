"""`smallest_changes`: what would bring a model within a target's limits, least first.

Each proposal is tried: the slimmer network is planned, written and priced as the whole one was, and
only what then keeps every limit is given. What it costs in accuracy is not known before training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .errors import CompileError
from .graph import Graph
from .slim import Group, channel_groups, narrowed, slim
from .suitability import Asked, Suitability, suitability
from .workload import workload

SIXTEENTHS = 16  # factors that are tried
MOST_GROUPS = 6  # those with the most work and the most bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A change in a sentence, the share of multiply-accumulates that it leaves, and its price."""

    kind: str  # format | width | input | both | layers
    what: str
    macs_share: float
    price: Suitability


def smallest_changes(graph: Graph, asked: Asked, fmt: str) -> tuple[Change, ...]:
    """The least change of each kind that fits; none where nothing tried does.

    Width and input together are given only where neither is enough alone.
    """
    found = [*_other_formats(graph, asked, fmt)]
    groups = channel_groups(graph)
    whole = workload(graph).macs
    for kind, what, make in _proposals(graph, groups):
        change = _largest(kind, what, make, asked, fmt, whole)
        if change is not None:
            found.append(change)
    ordered = sorted(found, key=lambda change: -change.macs_share)
    alone = any(change.kind in ("width", "input") for change in ordered)
    return tuple(change for change in ordered if change.kind != "both" or not alone)


def _other_formats(graph: Graph, asked: Asked, fmt: str) -> Iterator[Change]:
    for price in suitability(graph, [asked]):
        if price.format != fmt and price.fits:
            yield Change("format", f"{price.format} instead of {fmt}", 1.0, price)


Make = Callable[[float], Graph]
What = Callable[[float], str]


def _proposals(graph: Graph, groups: tuple[Group, ...]) -> Iterator[tuple[str, What, Make]]:
    """Kind, sentence and network by the factor that is kept."""

    def widths(chosen: tuple[Group, ...], factor: float) -> Mapping[str, int]:
        return {group.root: narrowed(group.channels, factor) for group in chosen}

    if groups:
        yield (
            "width",
            lambda factor: f"every layer {factor:.2f} times as wide",
            lambda factor: slim(graph, widths(groups, factor)),
        )
    if len(graph.input.shape) == 4 and min(graph.input.shape[1:3]) > 1:
        height, width = graph.input.shape[1:3]
        yield (
            "input",
            lambda factor: (
                f"input {round(height * factor)} x {round(width * factor)} "
                f"instead of {height} x {width}"
            ),
            lambda factor: slim(graph, {}, factor),
        )
    if groups and len(graph.input.shape) == 4:
        yield (
            "both",
            lambda factor: f"every layer {factor:.2f} times as wide, and the input's sides, too",
            lambda factor: slim(graph, widths(groups, factor), factor),
        )
    numbers = {node.name: number for number, node in enumerate(graph.nodes, start=1)}
    for group in _heaviest(graph, groups):
        yield (
            "layers",
            lambda factor, group=group: (  # type: ignore[misc]
                f"{narrowed(group.channels, factor)} instead of {group.channels} channels in "
                f"{_layers(group, numbers)}"
            ),
            lambda factor, group=group: slim(graph, widths((group,), factor)),  # type: ignore[misc]
        )


def _layers(group: Group, numbers: Mapping[str, int]) -> str:
    """By their numbers in the network: names of imported layers can be very long."""
    found = sorted(numbers[name] for name in group.layers)
    return f"layer{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


def _heaviest(graph: Graph, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Groups whose halving saves the most work, then the most bytes of activations."""
    macs = {layer.name: layer.macs for layer in workload(graph).layers}
    sizes = {node.name: graph.values[node.output].nbytes for node in graph.nodes}

    def weight(group: Group) -> float:
        total_macs, total_bytes = max(1, sum(macs.values())), max(1, sum(sizes.values()))
        return max(
            sum(macs[name] for name in group.layers) / total_macs,
            sum(sizes[name] for name in group.layers) / total_bytes,
        )

    return tuple(sorted(groups, key=weight, reverse=True)[:MOST_GROUPS])


def _largest(
    kind: str, what: What, make: Make, asked: Asked, fmt: str, whole: int
) -> Change | None:
    """The largest factor that fits, by halving: a smaller network takes less of everything."""
    made = [_made(make, step / SIXTEENTHS) for step in range(1, SIXTEENTHS)]
    graphs = [item for item in made if item is not None]
    low, high = -1, len(graphs)  # low fits or is none, high does not fit
    best: Change | None = None
    while high - low > 1:
        middle = (low + high) // 2
        change = _tried(kind, what, graphs[middle], asked, fmt, whole)
        if change is None:
            high = middle
        else:
            low, best = middle, change
    return best


def _made(make: Make, factor: float) -> tuple[float, Graph] | None:
    """The factor and its network, unless there is none: its windows or sums no longer fit."""
    try:
        return factor, make(factor)
    except CompileError:
        return None


def _tried(
    kind: str, what: What, made: tuple[float, Graph], asked: Asked, fmt: str, whole: int
) -> Change | None:
    """The change when it keeps every limit."""
    factor, graph = made
    price = next(item for item in suitability(graph, [asked]) if item.format == fmt)
    share = workload(graph).macs / max(1, whole)
    return Change(kind, what(factor), share, price) if price.fits else None
