"""What generated C costs: what its files say by themselves, and what a run on a core has counted.

Instructions are counted and exact; cycles are these times the cycles per instruction of the
target's profile, an estimate with an interval.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekiln.targets.emulate import Emulation
from edgekiln.targets.emulate_profile import FolderCounts
from edgekiln.targets.evidence import Tier
from edgekiln.targets.target import Target

from .artifacts import c_constant_bytes

Files = Mapping[str, bytes]
Golden = tuple[bytes, ...]  # outputs that are expected, one for each sample

# What emit_c writes.
_CALL = re.compile(r"^    /\* (\w+): (.*) \*/\n    (ek_\w+)\(", re.M)
_SIZE = re.compile(r"^#define MODEL_(ARENA_SIZE|SCRATCH_SIZE|ARENA_BOUND) (\d+)$", re.M)
_OUTPUTS = re.compile(r"golden_outputs\[.*?= \{(.*)\};", re.S)
_ROW = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Cycles:
    """An estimate; the interval is that of the profile's cycles per instruction."""

    value: float
    low: float
    high: float
    tier: str


@dataclass(frozen=True, slots=True)
class LayerCost:
    """A layer's call with all that it calls, in the slowest invoke. `remark` has its shapes."""

    layer: str
    kernel: str
    remark: str
    instructions: int
    cycles_estimated: Cycles | None


@dataclass(frozen=True, slots=True)
class BitExact:
    """Golden vectors that ran, and those whose outputs differ."""

    samples: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class CFigures:
    """Generated C in numbers; without a run on its core, what only that tells is None.

    `instructions` are those of the slowest invoke; layers add up to it. Cycles are None where the
    profile has no cycles per instruction. The arena holds activations and the scratch that one call
    works in beside them, at most `scratch_bytes`; no plan in the same order needs less than
    `lower_bound_arena_bytes`. All three are None in C that does not state them.
    `ram_total_bytes` is static memory, the arena within it, and stack; `code_bytes` has the layers'
    parameters, weights are apart.
    """

    instructions: int | None
    cycles_estimated: Cycles | None
    arena_bytes: int | None
    scratch_bytes: int | None
    stack_bytes: int | None
    ram_total_bytes: int | None
    code_bytes: int | None
    weight_bytes: int
    lower_bound_arena_bytes: int | None
    per_layer: tuple[LayerCost, ...] | None
    bit_exact: BitExact | None


def planned_figures(files: Files) -> CFigures:
    """What the files say without a run."""
    sizes = _sizes(files)
    return CFigures(
        instructions=None,
        cycles_estimated=None,
        arena_bytes=sizes.get("ARENA_SIZE"),
        scratch_bytes=sizes.get("SCRATCH_SIZE"),
        stack_bytes=None,
        ram_total_bytes=None,
        code_bytes=None,
        weight_bytes=c_constant_bytes(files),
        lower_bound_arena_bytes=sizes.get("ARENA_BOUND"),
        per_layer=None,
        bit_exact=None,
    )


def counted_figures(files: Files, counts: FolderCounts, target: Target) -> CFigures:
    """What a run of `files` on the core of `target` has counted. Layers are () where model.c was
    changed and its calls are no longer those that were counted."""
    emulation, sizes = counts.emulation, _sizes(files)
    return CFigures(
        instructions=emulation.instructions,
        cycles_estimated=cycles_of(emulation.instructions, target),
        arena_bytes=sizes.get("ARENA_SIZE"),
        scratch_bytes=sizes.get("SCRATCH_SIZE"),
        stack_bytes=emulation.stack_bytes,
        ram_total_bytes=emulation.ram_total_bytes,
        code_bytes=emulation.code_bytes,
        weight_bytes=emulation.weight_bytes,
        lower_bound_arena_bytes=sizes.get("ARENA_BOUND"),
        per_layer=_layers(named_calls(files), counts.calls, target),
        bit_exact=_compare(golden_outputs(files), emulation),
    )


def cycles_of(instructions: int, target: Target) -> Cycles | None:
    """Cycles of so many instructions, where the profile says what one takes."""
    if target.cycles_per_instruction is None:
        return None
    low, value, high = (instructions * cycles for cycles in target.cycles_per_instruction)
    return Cycles(value, low, high, Tier.T2.name)


def named_calls(files: Files) -> list[tuple[str, str, str]]:
    """(layer, remark, kernel) of the calls of model.c."""
    return _CALL.findall(_text(files, "model.c"))


def golden_outputs(files: Files) -> Golden:
    """Outputs that golden.h expects, as bytes; none where it has none."""
    table = _OUTPUTS.search(_text(files, "golden.h"))
    rows = _ROW.findall(table[1]) if table else []
    return tuple(bytes(int(number) & 0xFF for number in row.split(",")) for row in rows)


def _sizes(files: Files) -> dict[str, int]:
    return {name: int(number) for name, number in _SIZE.findall(_text(files, "model.h"))}


def _layers(
    named: Sequence[tuple[str, str, str]], calls: Sequence[int], target: Target
) -> tuple[LayerCost, ...]:
    if len(named) != len(calls):
        return ()
    return tuple(
        LayerCost(layer, kernel, remark, count, cycles_of(count, target))
        for (layer, remark, kernel), count in zip(named, calls, strict=True)
    )


def _compare(expected: Golden, emulation: Emulation) -> BitExact:
    size = len(expected[0])
    printed = emulation.outputs
    found = [printed[start : start + size] for start in range(0, len(printed), size)]
    equal = sum(a == b for a, b in zip(expected, found, strict=False))
    return BitExact(len(expected), max(len(expected), len(found)) - equal)


def _text(files: Files, name: str) -> str:
    return files.get(name, b"").decode("utf-8", "replace")
