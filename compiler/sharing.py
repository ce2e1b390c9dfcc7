"""Which values share one encoding, and where a node must requantize what it reads.

Operators that keep their input's encoding tie input and output together. Operators whose operands
share one encoding take in an operand where nobody else is hurt: where only they read it. An operand
that is read elsewhere too, that the graph takes in, or whose encoding its own operator dictates
keeps the encoding it has, and is requantized on its way in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .graph import DType, Graph, Node, QuantParams
from .quant_rules import FIXED_OUTPUTS, RULES, QuantRule

Place = tuple[str, int]
"""A node by name, and a position among its operands."""


@dataclass(frozen=True)
class Sharing:
    """`group` names the group of each value; `fixed` holds groups whose encoding is given."""

    group: Mapping[str, str]
    fixed: Mapping[str, QuantParams]
    requantized: frozenset[Place]

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", MappingProxyType(dict(self.group)))
        object.__setattr__(self, "fixed", MappingProxyType(dict(self.fixed)))


def share(graph: Graph, floating: Collection[str], dtype: DType) -> Sharing:
    """How the encodings of `graph` hang together; nodes named in `floating` have none.

    Constants that are plain operands of operators of the shared kind are members too.
    """
    nodes = [node for node in graph.nodes if node.name not in floating]
    groups = _Groups(graph)
    for node in nodes:
        if RULES[node.op] is QuantRule.FIXED:
            groups.pin(node.output, FIXED_OUTPUTS[node.op, dtype])
        if RULES[node.op] is QuantRule.KEEPS:
            groups.join(node.inputs[0], node.output)
    requantized: set[Place] = set()
    for node in nodes:
        if RULES[node.op] is QuantRule.SHARED:
            requantized |= _share_operands(graph, node, groups)
    return Sharing(groups.names(), groups.fixed(), frozenset(requantized))


def _share_operands(graph: Graph, node: Node, groups: _Groups) -> set[Place]:
    """Join the operands that can be joined; the others, by place."""
    pins = {groups.pinned(name) for name in node.inputs}
    if len(pins) == 1 and None not in pins:
        for name in node.inputs:
            groups.join(name, node.output)
        return set()
    kept = set()
    for position, name in enumerate(node.inputs):
        if groups.same(name, node.output):
            continue
        if groups.pinned(name) is None and not _read_elsewhere(graph, node, groups, name):
            groups.join(name, node.output)
        else:
            kept.add((node.name, position))
    return kept


def _read_elsewhere(graph: Graph, node: Node, groups: _Groups, operand: str) -> bool:
    """Whether anything but `node` and the group itself depends on the operand's encoding."""
    members = groups.members(operand)
    if any(name in graph.inputs or name in graph.outputs for name in members):
        return True
    return any(
        reader.name != node.name and reader.output not in members
        for name in members
        for reader in graph.consumers(name)
    )


class _Groups:
    """Disjoint sets of values."""

    def __init__(self, graph: Graph) -> None:
        self._members = {name: {name} for name in graph.values}
        self._pins: dict[str, QuantParams] = {}

    def join(self, a: str, b: str) -> None:
        """One group of both; a pin of either holds for both."""
        merged = self._members[a] | self._members[b]
        pin = self.pinned(a) or self.pinned(b)
        for name in merged:
            self._members[name] = merged
            if pin is not None:
                self._pins[name] = pin

    def pin(self, name: str, quant: QuantParams) -> None:
        """Say what the group's encoding must be."""
        for member in self._members[name]:
            self._pins[member] = quant

    def pinned(self, name: str) -> QuantParams | None:
        """What the group's encoding must be, if anything."""
        return self._pins.get(name)

    def same(self, a: str, b: str) -> bool:
        """Whether both are in one group."""
        return self._members[a] is self._members[b]

    def members(self, name: str) -> set[str]:
        """All values of the group."""
        return self._members[name]

    def names(self) -> dict[str, str]:
        """The group's name, its first member in order, by value."""
        return {name: min(self._members[name]) for name in self._members}

    def fixed(self) -> dict[str, QuantParams]:
        """Given encodings by the group's name."""
        return {min(self._members[name]): quant for name, quant in self._pins.items()}
