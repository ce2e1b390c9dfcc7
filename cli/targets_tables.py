"""Targets as rows of text: what `edgekiln targets` prints, whatever it prints it as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekiln.targets import CostTable, Evidence, OpCost, Target

UNKNOWN = "latency not known"
COST_COLUMNS = (
    *("operator", "per call µs", "ns per MAC", "ns per byte", "ns per output"),
    *("ns per im2col byte", "ns per tail MAC"),
)
_APART = {
    "split": "models apart from the fit",
    "leave-one-out": "models, each left out once",
    "family-out": "networks apart from the fit, each family left out once",
}
LOOP_COLUMNS = ("operator", "loops of its kernels that have a price (--json lists them)")
LIST_COLUMNS = (
    *("id", "title", "class", "core", "clock", "RAM for a model", "flash for a model"),
    *("formats", "latency", "profile"),
)
EVIDENCE_COLUMNS = ("id", "tier", "source")
OPERATOR_COLUMNS = ("operator", "int8", "int16", "float32")
# What one unit of work costs: the operators that a comparison shows.


@dataclass(frozen=True, slots=True)
class Table:
    """A title, heads and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def list_table(targets: Sequence[Target], origins: Sequence[str]) -> Table:
    """One row a target; `origins` say whose profile each is."""
    rows = (
        (
            target.id,
            target.title,
            target.device_class,
            target.core,
            clock_text(target),
            size_text(target.memory.ram_available_bytes),
            size_text(target.memory.flash_available_bytes),
            " ".join(target.formats),
            latency_text(target),
            origin,
        )
        for target, origin in zip(targets, origins, strict=True)
    )
    return Table("Targets", LIST_COLUMNS, tuple(rows))


def evidence_table(evidence: Sequence[Evidence]) -> Table:
    """Where the numbers of a profile come from."""
    rows = tuple((item.id, item.tier.name, item.source) for item in evidence)
    return Table("Evidence", EVIDENCE_COLUMNS, rows)


def cost_table(costs: CostTable) -> Table:
    """The prices of one engine and dtype, one row an operator or a loop of its kernel."""
    title = f"{costs_text(costs)}, evidence {costs.evidence_id}; {held_out_text(costs)}"
    if any(cost.loops for cost in costs.ops.values()):
        return Table(title, LOOP_COLUMNS, tuple(_loop_rows(costs)))
    rows = tuple(_cost_row(op, cost) for op, cost in costs.ops.items())
    return Table(title, COST_COLUMNS, rows)


def facts_table(target: Target) -> Table:
    """What a profile states of the device itself."""
    return Table(target.title, ("what", "figure"), tuple(_facts(target)))


def comparison_table(targets: Sequence[Target]) -> Table:
    """One column a target, one row a fact, then what typical layers cost in its first engine."""
    from edgekiln.compiler.typical_layers import TYPICAL

    facts = [_facts(target) for target in targets]
    names = list(dict.fromkeys(name for column in facts for name, _ in column))
    rows = [(name, *(dict(column).get(name, "–") for column in facts)) for name in names]
    for op, layer in TYPICAL.items():
        figures = (_per_mac(target, op) for target in targets)
        rows.append((f"{op} ({layer}), ns per MAC", *figures))
    return Table("Comparison", ("", *(target.id for target in targets)), tuple(rows))


def operator_table(
    target: Target, runs: Callable[[str], Sequence[tuple[str, frozenset[str]]]]
) -> Table:
    """Operators by dtype: the formats of the target that take them.

    `runs` gives (operator, dtypes) of a format.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for fmt in target.formats:
        for op, dtypes in runs(fmt):
            for dtype in dtypes:
                if not target.ops or dtype in target.ops.get(op, ()):
                    found.setdefault(op, {}).setdefault(dtype, []).append(fmt)
    rows = tuple(
        (op, *(" ".join(by_dtype.get(dtype, ())) for dtype in OPERATOR_COLUMNS[1:]))
        for op, by_dtype in found.items()
    )
    return Table("Operators, by the formats that take them", OPERATOR_COLUMNS, rows)


def _facts(target: Target) -> list[tuple[str, str]]:
    memory, runtime = target.memory, target.runtime
    facts = [
        ("class", target.device_class),
        ("core", target.core),
        ("clock", clock_text(target)),
        ("formats", " ".join(target.formats)),
        ("formats on request", " ".join(target.optional_formats) or "–"),
        ("runtime", f"{runtime.name} {runtime.version}".strip()),
        ("RAM", f"{size_text(memory.ram)}, {size_text(memory.ram_available_bytes)} for a model"),
        (
            "flash",
            f"{size_text(memory.flash)}, {size_text(memory.flash_available_bytes)} for a model "
            f"({memory.slots} slots)",
        ),
        (
            "runtime's own",
            f"{size_text(runtime.ram_overhead)} RAM, {size_text(runtime.flash_overhead)} flash",
        ),
    ]
    if target.npu is not None:
        npu = target.npu
        facts.append(("NPU", f"{npu.accelerator}, {npu.system_config}, {npu.memory_mode}"))
    if target.cycles_per_instruction is not None:
        low, value, high = target.cycles_per_instruction
        facts.append(("cycles per instruction", f"{value:g} ({low:g} to {high:g})"))
    if target.power is not None:
        power = target.power
        drawn = f"{power.value_mw:g} mW ({power.low_mw:g} to {power.high_mw:g}), {power.tier.name}"
        facts.append(("draws, active", drawn))
    return [*facts, ("latency", latency_text(target))]


def _per_mac(target: Target, op: str) -> str:
    from edgekiln.compiler.typical_layers import ns_per_mac
    from edgekiln.targets import NoCostTableError, UnsupportedOperatorError, first_engine

    try:
        figure, costs = ns_per_mac(target, op, first_engine(target))
    except (NoCostTableError, UnsupportedOperatorError):
        return "not known"
    return f"{figure:.3g} ({costs.engine} int8, {costs.tier.word} {costs.tier.name})"


def clock_text(target: Target) -> str:
    """In MHz; a host's is not read."""
    return f"{target.clock_hz / 1e6:.0f} MHz" if target.clock_hz else "–"


def latency_text(target: Target) -> str:
    """Which engines can be priced, and how well."""
    if target.costs:
        return "; ".join(costs_text(table) for table in target.costs)
    if target.device_class == "host":
        return "measured when it is needed"
    return UNKNOWN


def costs_text(costs: CostTable) -> str:
    """Engine, dtype, tier and the interval around an estimate."""
    return (
        f"{costs.engine} {costs.dtype} {costs.tier.word} ({costs.tier.name}, "
        f"-{1 - costs.low_ratio:.0%} +{costs.high_ratio - 1:.0%})"
    )


def held_out_text(costs: CostTable) -> str:
    """How many models the interval rests on, and how they were held out."""
    count = len(costs.heldout_ratios)
    if count == 0:
        return f"{costs.samples} models"
    how = _APART[costs.interval]
    error = costs.heldout_median_ape
    median = "" if error is None else f", median error {error:.1%}"
    return f"fitted to {costs.samples}; interval of n = {count} {how}{median}"


def size_text(size_bytes: int) -> str:
    """Bytes in the largest unit that leaves a figure of one or more."""
    size: float = size_bytes
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def _cost_row(op: str, cost: OpCost) -> tuple[str, ...]:
    figures = (
        *(cost.per_call_us, cost.ns_per_mac, cost.ns_per_byte, cost.ns_per_output),
        *(cost.ns_per_im2col_byte, cost.ns_per_tail_mac),
    )
    return (op, *(f"{figure:.3g}" for figure in figures))


def _loop_rows(costs: CostTable) -> Iterator[tuple[str, ...]]:
    for op, cost in costs.ops.items():
        yield op, str(len(cost.loops))
