"""`profile_text`: a target as the TOML file that `profiles.read_profile` reads back.

The standard library reads TOML and does not write it; a profile needs tables, strings, numbers and
lists of them, which is little enough to write here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable

from .errors import ProfileError
from .evidence import Budget
from .npu import Npu
from .target import CostTable, Evidence, Memory, OpCost, Runtime, Target, Tile

_DIGITS = 6  # of a cost: far finer than any fit


def profile_text(target: Target, target_id: str) -> str:
    """The whole profile under the id `target_id`, with every cost table and its evidence.

    Costs are rounded to six significant digits.

    Raises:
        ProfileError: a figure is not finite, which no profile can hold.
    """
    head: list[tuple[str, object]] = [
        ("schema", 1),
        ("id", target_id),
        ("title", target.title),
        ("class", target.device_class),
        ("core", target.core),
        ("clock_hz", target.clock_hz),
        ("formats", target.formats),
    ]
    if target.optional_formats:
        head.append(("optional_formats", target.optional_formats))
    if target.cycles_per_instruction is not None:
        head.append(("cycles_per_instruction", target.cycles_per_instruction))
    blocks = [
        _lines(head),
        _table("[memory]", _fields(target.memory)),
        _table("[runtime]", _fields(target.runtime)),
        _table("[ops]", target.ops.items()),
    ]
    if target.npu is not None:
        blocks.append(_table("[npu]", _fields(target.npu)))
    if budget := [item for item in _fields(target.budget) if item[1] is not None]:
        blocks.append(_table("[budget]", budget))
    if target.power is not None:
        power = target.power
        active = (power.low_mw, power.value_mw, power.high_mw)
        blocks.append(_table("[power]", (("active_mw", active), ("evidence", power.evidence_id))))
    blocks += [_costs(table) for table in target.costs]
    blocks += [_evidence(item) for item in target.evidence]
    return "\n\n".join(blocks) + "\n"


def instructions_text(table: CostTable, source: str) -> str:
    """A file of `instructions/`, which `profiles.read_costs` reads back."""
    head = _lines([("schema", 1), ("source", source)])
    return f"{head}\n\n{_costs(table).replace('[[costs]]', '[costs]')}\n"


def _costs(table: CostTable) -> str:
    head: list[tuple[str, object]] = [
        ("engine", table.engine),
        ("dtype", table.dtype),
        ("tier", table.tier.name),
        ("evidence", table.evidence_id),
        ("low_ratio", _rounded(table.low_ratio)),
        ("high_ratio", _rounded(table.high_ratio)),
        ("per_run_us", _rounded(table.per_run_us)),
        ("samples", table.samples),
    ]
    if table.heldout_median_ape is not None:
        head.append(("heldout_median_ape", _rounded(table.heldout_median_ape)))
    if table.heldout_ratios:
        head.append(("interval", table.interval))
        head.append(("heldout_ratios", tuple(map(_rounded, table.heldout_ratios))))
    if table.tile is not None:
        head.append(("tile", table.tile))
    ops = [f"{op} = {_inline(cost)}" for op, cost in sorted(table.ops.items())]
    return "\n".join((_table("[[costs]]", head), "", "[costs.ops]", *ops))


def _inline(cost: OpCost) -> str:
    """Costs of 0 are the schema's defaults, so they are left out."""
    names = (field.name for field in dataclasses.fields(cost) if field.name != "loops")
    figures = ((name, getattr(cost, name)) for name in names)
    parts = [f"{name} = {_value(_rounded(figure))}" for name, figure in figures if figure]
    if cost.loops:
        loops = (f"{name} = {_value(_rounded(ns))}" for name, ns in sorted(cost.loops.items()))
        parts.append(f"loops = {{ {', '.join(loops)} }}")
    return f"{{ {', '.join(parts)} }}" if parts else "{}"


def _evidence(item: Evidence) -> str:
    pairs: list[tuple[str, object]] = [
        ("id", item.id),
        ("tier", item.tier.name),
        ("source", item.source),
    ]
    return _table("[[evidence]]", [*pairs, ("note", item.note)] if item.note else pairs)


def _table(header: str, pairs: Iterable[tuple[str, object]]) -> str:
    return f"{header}\n{_lines(pairs)}"


def _lines(pairs: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"{key} = {_value(value)}" for key, value in pairs)


def _value(value: object) -> str:
    """One TOML value. JSON's escapes of a string are all valid in TOML, once DEL is one of them."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case float() if not math.isfinite(value):
            raise ProfileError(f"a profile cannot hold the figure {value}")
        case int() | float():
            return repr(value)
        case Tile():
            pairs = (f"{f.name} = {getattr(value, f.name)}" for f in dataclasses.fields(value))
            return f"{{ {', '.join(pairs)} }}"
        case tuple() | list():
            return f"[{', '.join(_value(item) for item in value)}]"
    raise ProfileError(f"a profile cannot hold a value of type {type(value).__name__}")


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _fields(part: Memory | Runtime | Npu | Budget) -> list[tuple[str, object]]:
    return [(item.name, getattr(part, item.name)) for item in dataclasses.fields(part)]
